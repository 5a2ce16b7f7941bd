"""``watch``: a callback that evaluates a model while any transformers or TRL trainer trains it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from harness import registry
from harness.errors import CimError
from harness.runs.sequential import ALPHA
from harness.watching import evaluations


def watch(
    task: str,
    *,
    trainer: Any,
    every: int,
    metrics: str | Sequence[str],
    folder: str | Path,
    images: int | None = 200,
    stop: Literal["worse"] | None = "worse",
    alpha: float = ALPHA,
    max_tokens: int = 256,
    batch: int = 32,
    system: str | None = None,
    caption: Callable[[Sequence[Any], Sequence[str]], Sequence[str]] | None = None,
) -> Any:
    """A ``TrainerCallback`` for ``trainer.add_callback``: greedy captions at step 0 and every so many steps, tested.

    Each evaluation is scored as ``evaluate`` does, paired per image with that of step 0, and tested one-sided against
    it, at a level that holds over the whole training (``harness/runs/sequential.py``). Values go to the trainer's
    trackers as ``cim/<metric>``, rows to ``folder/evaluations.jsonl``, runs to ``folder/<task>/step-<n>``.

    Args:
        task: a benchmark's name, ``.py`` file or ``task.toml``, such as one of images of your own.
        trainer: the trainer that the callback is added to; its ``processing_class`` is the model's processor.
        every: steps between two evaluations.
        metrics: names or ``.py`` files; none may be a reward of this trainer.
        folder: where evaluations are kept; a resumed training goes on in it.
        images: the first so many of the task; None for all.
        stop: ``"worse"`` ends training when a main value is significantly worse than at step 0; None never does.
        alpha: the highest chance of a false alarm, over all evaluations and values of the run.
        max_tokens: of a caption.
        batch: captions generated at once.
        system: system prompt.
        caption: ``f(images, prompts) -> texts``, in place of ``generate`` of the model: an engine of your own, which
            must have the weights of this step.

    Raises:
        CimError: a wrong argument, a metric that is the reward, images that are not there.
    """
    _check({"every": every, "max_tokens": max_tokens, "batch": batch, "images": images}, stop)
    rewards = getattr(trainer, "reward_func_names", [])  # only TRL's trainers with rewards have it
    names, benchmark = evaluations.names(metrics, rewards), registry.task(registry.named("tasks", task))
    evaluations.Evaluations(Path(folder), task, names, alpha=alpha)
    try:
        from harness.watching import callback
    except ImportError as error:
        raise CimError(f"watch needs {error.name}", hint="pip install cim-harness[train]") from error
    stops, place = stop is not None, Path(folder)
    how = (names, every, images, place, stops, alpha, max_tokens, batch, system, caption)
    return callback.Watch(trainer, callback.Settings(benchmark, task, *how))


def _check(counts: Mapping[str, int | None], stop: str | None) -> None:
    for name, number in counts.items():
        if number is not None and number < 1:
            raise CimError(f"{name} is {number}", hint="1 or more")
    if stop not in ("worse", None):
        raise CimError(f"stop is {stop!r}", hint='"worse", or None')
