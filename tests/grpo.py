"""GRPO in plain torch, as the paper's trainer defines it: the oracle that TRL's loss is held against.

Advantages by unbiased deviation, clipped ratio with a dual clip, k3 KL, mean over tokens. Source of the formulas:
`verl-project/verl@1dda039:verl/trainer/ppo/core_algos.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Settings:
    """Clip range, dual clip, KL coefficient; ``biased_kl`` leaves the ratio out of the KL, as the official recipe."""

    clip: float = 0.2
    dual: float = 3.0
    beta: float = 0.001
    biased_kl: bool = True


def advantages(rewards: Tensor, group: int, epsilon: float) -> Tensor:
    """(B,) rewards to (B,) advantages within groups of consecutive captions: (r - mean) / (std, n - 1, + epsilon)."""
    lines = rewards.view(-1, group)
    deviation = lines.std(dim=1, unbiased=True, keepdim=True)
    return ((lines - lines.mean(dim=1, keepdim=True)) / (deviation + epsilon)).flatten()


def token_losses(policy: Tensor, old: Tensor, reference: Tensor, advantage: Tensor, settings: Settings) -> Tensor:
    """Loss of each token (B, T) from log-probabilities (B, T) and advantages (B,)."""
    ratio = torch.exp(policy - old)
    gain = advantage[:, None]
    plain, clipped = -gain * ratio, -gain * ratio.clamp(1 - settings.clip, 1 + settings.clip)
    loss = torch.maximum(plain, clipped)
    loss = torch.where(gain < 0, torch.minimum(loss, -gain * settings.dual), loss)
    gap = reference - policy
    kl = torch.exp(gap) - gap - 1
    return loss + settings.beta * (kl if settings.biased_kl else kl * ratio)


def mean_of_batch(losses: Tensor, mask: Tensor) -> Tensor:
    """Token mean of one micro-batch (TRL's ``bnpo``)."""
    return (losses * mask).sum() / mask.sum()


def mean_of_all(losses: Tensor, mask: Tensor, tokens: float) -> Tensor:
    """Sum over the tokens of an update of ``tokens`` in all (TRL's ``dapo``)."""
    return (losses * mask).sum() / tokens
