"""The start-up check: does the rollout policy see the image, and is it the policy that is trained?

A few captions are written by the rollout engine and their log-probabilities computed by the trainer. Required: prompt
ids agree (``fixes.py`` compares them), the two log-probabilities of each token agree, a grey image changes them, and
the reference policy is the start model. RNG states are restored. Runs before the first step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from harness.errors import AlarmError
from harness.train import forward

GREY = (127, 127, 127)


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds of the check; not yet calibrated on a GPU run.

    ``difference``: mean distance of a token's two log-probabilities. ``seen``: least change of a token's
    log-probability by a grey image. ``reference``: largest distance of policy and reference before the first step.
    """

    difference: float = 0.05
    seen: float = 1e-3
    reference: float = 1e-3


@dataclass(frozen=True, slots=True)
class Report:
    """Mean absolute log-probability differences per token; ``reference`` is None without a KL or after a resume."""

    captions: int
    tokens: int
    difference: float
    seen: float
    reference: float | None


def probe(trainer: Any, rows: Sequence[dict[str, Any]], *, fresh: bool) -> Report:
    """Sample captions for a few rows of the data set and compare their log-probabilities.

    Args:
        fresh: is this the start of a run (the reference policy must then equal the policy)?
    """
    with forward.evaluating(trainer.model), forward.same_randomness():
        prompts, images = [row["prompt"] for row in rows], [row["image"] for row in rows]
        inputs = forward.inputs(trainer, prompts, images)
        completions, rollout = _write(trainer, inputs)
        trained = forward.log_probabilities(trainer, trainer.model, inputs, completions)
        grey = forward.inputs(trainer, prompts, [Image.new("RGB", image.size, GREY) for image in images])
        blind = forward.log_probabilities(trainer, trainer.model, grey, completions)
        reference = None
        if fresh and trainer.ref_model is not None:
            start = forward.log_probabilities(trainer, trainer.ref_model, inputs, completions)
            reference = _mean_distance(trained, start)
    tokens = sum(map(len, completions))
    return Report(len(rows), tokens, _mean_distance(trained, rollout), _mean_distance(trained, blind), reference)


def require(report: Report, limits: Limits) -> None:
    """AlarmError ``probe`` if the report exceeds the limits."""
    if not report.difference <= limits.difference:
        what = f"rollout engine and trainer differ by {report.difference:.4f} nats per token, over {limits.difference}"
        raise AlarmError("probe", what, hint="they do not run the same model on the same prompt")
    if not report.seen >= limits.seen:
        what = f"a grey image changes log-probabilities by {report.seen:.2g} nats per token, under {limits.seen:.2g}"
        raise AlarmError("probe", what, hint="the policy ignores its image")
    if report.reference is not None and not report.reference <= limits.reference:
        what = f"policy and reference policy differ by {report.reference:.4f} nats per token before the first step"
        raise AlarmError("probe", what, hint="the reference is not the start model")


def _write(trainer: Any, prompts: forward.Inputs) -> tuple[list[list[int]], list[list[float]]]:
    """Sampled completions and the log-probability of each token, by the rollout engine."""
    if trainer.use_vllm:
        completions, log_probabilities = trainer._generate_single_turn(prompts.ids, prompts.images, prompts.fields, 1)
        return [list(line) for line in completions], [[float(value) for value in line] for line in log_probabilities]
    batch = forward.tensors(trainer, prompts, [[] for _ in prompts.ids])
    with forward.generating(trainer) as model:
        generated = model.generate(
            **batch, generation_config=trainer.generation_config, output_logits=True, return_dict_in_generate=True
        )
    written = generated.sequences[:, batch["input_ids"].shape[1] :]
    logits = torch.stack(generated.logits, dim=1).float() / trainer.temperature
    chosen = logits.log_softmax(-1).gather(-1, written[..., None])[..., 0].tolist()
    lines = [line[: forward.length(line, trainer.eos_token_ids)] for line in written.tolist()]
    return lines, [values[: len(line)] for values, line in zip(chosen, lines, strict=True)]


def _mean_distance(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> float:
    a, b = (np.concatenate([np.asarray(line, dtype=float) for line in lines]) for lines in (first, second))
    return float(np.abs(a - b).mean())
