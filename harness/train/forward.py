"""The trainer's model on prompts with images, by TRL's own calls: log-probabilities, greedy captions, start-up check.

The check (``probe``): does the rollout policy see the image, and is it the policy that is trained? A few captions are
written by the rollout engine and their log-probabilities computed by the trainer. Required: prompt ids agree
(``fixes.py`` compares them), the two log-probabilities of each token agree, a grey image changes them, and the
reference policy is the start model. RNG states are restored. Runs before the first step.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from harness.errors import AlarmError

GREY = (127, 127, 127)


@dataclass(frozen=True, slots=True)
class Inputs:
    """Prompts as token ids (image tokens expanded), their images, and the processor's further fields."""

    ids: list[list[int]]
    images: list[Any]
    fields: dict[str, Any]


@contextmanager
def same_randomness() -> Iterator[None]:
    """Restore all RNG states (Python, NumPy, torch) on exit."""
    python, numbers = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count()))):
        yield
    random.setstate(python)
    np.random.set_state(numbers)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """No gradients, no dropout; restores the model's mode on exit."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def generating(trainer: Any) -> Any:
    """The trainer's model as one that can generate: gathered if it is sharded over processes (never run)."""
    from trl.models import unwrap_model_for_generation

    return unwrap_model_for_generation(
        trainer.model_wrapped,
        trainer.accelerator,
        gather_deepspeed3_params=trainer.args.ds3_gather_for_generation,
        gradient_checkpointing_kwargs=trainer.args.gradient_checkpointing_kwargs,
    )


def inputs(trainer: Any, prompts: Sequence[Any], images: Sequence[Any]) -> Inputs:
    """Prompt ids and model inputs, one image per prompt."""
    from trl.data_utils import prepare_multimodal_messages

    ready = [prepare_multimodal_messages(prompt, images=[image]) for prompt, image in zip(prompts, images, strict=True)]
    return Inputs(*trainer._tokenize_prompts(ready))


def tensors(trainer: Any, prompts: Inputs, completions: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Left-padded prompts with right-padded completions as model inputs."""
    longest = max(map(len, prompts.ids))
    width = max((len(line) for line in completions), default=0)
    filler = trainer._tokenizer.pad_token_id
    rows, mask = [], []
    for prompt, line in zip(prompts.ids, completions, strict=True):
        before, after = longest - len(prompt), width - len(line)
        rows.append([filler] * before + list(prompt) + list(line) + [filler] * after)
        mask.append([0] * before + [1] * (len(prompt) + len(line)) + [0] * after)
    batch = {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(mask)}
    for name, value in prompts.fields.items():
        if isinstance(value, torch.Tensor):
            batch[name] = value
        elif isinstance(value[0], list):  # one number per prompt token, such as mm_token_type_ids
            batch[name] = torch.tensor([[0] * (longest - len(v)) + list(v) + [0] * width for v in value])
    return {name: value.to(trainer.accelerator.device) for name, value in batch.items()}


def log_probabilities(
    trainer: Any, model: Any, prompts: Inputs, completions: Sequence[Sequence[int]]
) -> list[list[float]]:
    """Log-probabilities of the completions' tokens by the function that the loss uses."""
    batch = tensors(trainer, prompts, completions)
    values, _, _ = trainer._get_per_token_logps_and_entropies(
        model,
        batch.pop("input_ids"),
        batch.pop("attention_mask"),
        max(map(len, completions)),
        num_images=[1] * len(completions),
        **batch,
    )
    return [line[: len(ids)] for line, ids in zip(values.float().tolist(), completions, strict=True)]


def length(ids: Sequence[int], ends: Sequence[int]) -> int:
    """Number of tokens of a caption up to and including the first end token."""
    return next((at + 1 for at, token in enumerate(ids) if token in ends), len(ids))


def greedy(trainer: Any, rows: Any, banned: Sequence[int], size: int) -> list[str]:
    """Greedy captions of data set rows, ``size`` at a time; each process writes its share and gets all."""
    import transformers
    from accelerate.utils import gather_object

    world, rank = trainer.accelerator.num_processes, trainer.accelerator.process_index
    settings = transformers.GenerationConfig(
        do_sample=False,
        max_new_tokens=trainer.max_completion_length,
        eos_token_id=list(trainer.eos_token_ids),
        pad_token_id=trainer._tokenizer.pad_token_id,
        suppress_tokens=list(banned) or None,
        disable_compile=True,
    )
    mine = list(range(rank, len(rows), world))
    written: list[tuple[int, str]] = []
    with evaluating(trainer.model), same_randomness(), generating(trainer) as model:
        for start in range(0, len(mine), size):
            places = mine[start : start + size]
            batch_rows = [rows[at] for at in places]
            prompts = inputs(trainer, [row["prompt"] for row in batch_rows], [row["image"] for row in batch_rows])
            batch = tensors(trainer, prompts, [[] for _ in batch_rows])
            tokens = model.generate(**batch, generation_config=settings)[:, batch["input_ids"].shape[1] :].tolist()
            texts = trainer._tokenizer.batch_decode(
                [line[: length(line, trainer.eos_token_ids)] for line in tokens], skip_special_tokens=True
            )
            written += zip(places, texts, strict=True)
    return [text for _, text in sorted(gather_object(written))]


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
    with evaluating(trainer.model), same_randomness():
        prompts, images = [row["prompt"] for row in rows], [row["image"] for row in rows]
        sighted = inputs(trainer, prompts, images)
        completions, rollout = _write(trainer, sighted)
        trained = log_probabilities(trainer, trainer.model, sighted, completions)
        grey = inputs(trainer, prompts, [Image.new("RGB", image.size, GREY) for image in images])
        blind = log_probabilities(trainer, trainer.model, grey, completions)
        reference = None
        if fresh and trainer.ref_model is not None:
            start = log_probabilities(trainer, trainer.ref_model, sighted, completions)
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


def _write(trainer: Any, prompts: Inputs) -> tuple[list[list[int]], list[list[float]]]:
    """Sampled completions and the log-probability of each token, by the rollout engine."""
    if trainer.use_vllm:
        completions, log_probabilities = trainer._generate_single_turn(prompts.ids, prompts.images, prompts.fields, 1)
        return [list(line) for line in completions], [[float(value) for value in line] for line in log_probabilities]
    batch = tensors(trainer, prompts, [[] for _ in prompts.ids])
    with generating(trainer) as model:
        generated = model.generate(
            **batch, generation_config=trainer.generation_config, output_logits=True, return_dict_in_generate=True
        )
    written = generated.sequences[:, batch["input_ids"].shape[1] :]
    logits = torch.stack(generated.logits, dim=1).float() / trainer.temperature
    chosen = logits.log_softmax(-1).gather(-1, written[..., None])[..., 0].tolist()
    lines = [line[: length(line, trainer.eos_token_ids)] for line in written.tolist()]
    return lines, [values[: len(line)] for values, line in zip(chosen, lines, strict=True)]


def _mean_distance(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> float:
    a, b = (np.concatenate([np.asarray(line, dtype=float) for line in lines]) for lines in (first, second))
    return float(np.abs(a - b).mean())
