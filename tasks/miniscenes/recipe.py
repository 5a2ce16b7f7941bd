"""What decides the tiny models' weights, and the descent that all stages share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Stage:
    """Steps, batch and peak learning rate of one stage; cosine to 3 %, warm-up 20 steps, clip 1."""

    steps: int
    batch: int
    rate: float


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the weights, with the seed."""

    pool: int = 12_000
    vision: Stage = Stage(500, 128, 3e-3)
    detailed: Stage = Stage(1200, 96, 3e-3)
    base: Stage = Stage(150, 96, 1e-3)
    pixel_noise: float = 0.05
    feature_noise: float = 0.05
    seed: int = 0


def descend(
    parameters: Sequence[nn.Parameter], stage: Stage, decay: float, loss: Callable[[], Tensor]
) -> Iterator[float]:
    """AdamW over ``stage.steps`` losses; yields each loss."""
    optimiser = torch.optim.AdamW(parameters, lr=stage.rate, weight_decay=decay, betas=(0.9, 0.98))
    for step in range(stage.steps):
        rate = min(1.0, (step + 1) / 20) * (0.03 + 0.97 * (1 + math.cos(math.pi * step / stage.steps)) / 2)
        for group in optimiser.param_groups:
            group["lr"] = stage.rate * rate
        value = loss()
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        yield float(value.detach())
