"""The training log: ``steps.jsonl``, ``completions.jsonl``, ``validation.jsonl``, ``greedy.jsonl``, and its alarms.

``greedy.jsonl`` holds the greedy captions of validation, one row per image and step: 256 images at eight checkpoints of
1,000 characters are 2 MB. A row of ``steps.jsonl`` is one optimiser update; the first of a step also holds diagnostics
of its captions. A resumed run drops the rows after its checkpoint, so its log equals that of a run that was never
stopped. The seconds of a row are measured per phase here: TRL hands its own timers to wandb, MLflow and Trackio alone.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness import store
from harness.errors import AlarmError
from harness.runs.form import training_rows
from harness.train import alarms, diagnostics
from harness.train.reward import Scored

FILES = STEPS, COMPLETIONS, VALIDATION, GREEDY = "steps.jsonl", "completions.jsonl", "validation.jsonl", "greedy.jsonl"
# Stored field by the name under which TRL logs it.
LOGGED = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "kl": "kl",
    "entropy": "entropy",
    "clip_ratio/region_mean": "clip_ratio",
    "learning_rate": "learning_rate",
    "sampling/sampling_logp_difference/mean": "logp_difference",
    "sampling/sampling_logp_difference/max": "logp_difference_max",
}

# Phase by method of TRL's trainer; methods nest, so `take` subtracts the inner ones.
METHODS = {
    "_tokenize_prompts": "process",
    "_generate_single_turn": "generate",
    "_calculate_rewards": "reward",
    "_generate_and_score_completions": "rollout",
    "training_step": "step",
}


def plain(value: Any) -> Any:
    """A value converted to JSON types: numpy to Python, NaN and infinities to null."""
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


class TrainingLog:
    """Appends rows as they arrive and stops the run on an alarm.

    Args:
        updates: optimiser updates per step.
        stops: names of the alarms that end the run.
        provenance: fields added to every row of ``log_update``, such as the gallery's sha256.
        say: receives a line for each alarm that does not stop the run.
        done: steps before the checkpoint that a run resumes from; rows of later steps are dropped. -1 keeps none.
    """

    def __init__(
        self,
        folder: Path,
        updates: int,
        stops: Collection[str],
        provenance: Mapping[str, Any],
        say: Callable[[str], None],
        done: int = 0,
    ) -> None:
        self._folder, self._updates, self._stops, self._say = folder, updates, stops, say
        self._provenance = dict(provenance)
        for name in FILES:
            _drop_rows(folder / name, done)
        self.validations = list[Mapping[str, Any]](training_rows(folder / VALIDATION))
        self._rows: list[Mapping[str, Any]] = [row for row in training_rows(folder / STEPS) if "reward" in row]
        self._steps = store.Appender(folder / STEPS)
        self.last: Mapping[str, Any] = {}  # row of steps.jsonl
        self.captions = list[dict[str, Any]]()  # of the last batch
        self._batches = list[Scored]()
        self._reported = set[str]()

    def add_batch(self, scored: Scored) -> None:
        """Keep a scored batch until its update is logged, and write its captions."""
        self._batches.append(scored)
        with store.Appender(self._folder / COMPLETIONS) as appender:
            self.captions = completions(scored)
            for row in self.captions:
                appender.append({"step": scored.step // self._updates + 1, **row})

    def log_update(self, update: int, logs: Mapping[str, float], resources: Mapping[str, Any]) -> None:
        """Write the row of an update; ``logs`` are TRL's numbers, ``resources`` seconds and memory.

        Raises:
            AlarmError: a stopping alarm fires and the preset has guards.
        """
        row: dict[str, Any] = {"step": (update - 1) // self._updates + 1, "update": update}
        row |= {field: float(logs[trl_name]) for trl_name, field in LOGGED.items() if logs.get(trl_name) is not None}
        batches, self._batches = self._batches, []
        for batch in batches:
            captions = len(batch.captions)
            row |= {"captions": captions, "images": captions // batch.group, **diagnostics.summary(batch)}
        fired = self._alarms(row)
        self.append({**row, **resources, "alarms": fired, **self._provenance})
        self._stop(fired)

    def append(self, row: Mapping[str, Any]) -> None:
        """Write a row of ``steps.jsonl``."""
        self.last = plain(row)
        self._steps.append(self.last)

    def _alarms(self, row: Mapping[str, Any]) -> dict[str, str]:
        if "reward" not in row:
            reason = alarms.STOPPING["nan"]([row], [])
            return {"nan": reason} if reason else {}
        self._rows.append(row)
        return alarms.check(self._rows, self.validations)

    def _stop(self, fired: Mapping[str, str]) -> None:
        if stopping := [name for name in fired if name in self._stops]:
            hint = "the last checkpoint before it is kept; steps.jsonl and completions.jsonl show what happened"
            raise AlarmError(stopping[0], fired[stopping[0]], hint=hint)
        for name, reason in fired.items():
            if name not in self._reported:
                self._reported.add(name)
                self._say(f"alarm {name}: {reason}")

    def greedy(self, step: int) -> dict[str, str]:
        """The greedy captions of a step by image."""
        rows = training_rows(self._folder / GREEDY)
        return {row["image"]: row["caption"] for row in rows if row["step"] == step}

    def log_validation(self, step: int, values: Mapping[str, Any], captions: Mapping[str, str] | None = None) -> None:
        """Write the validation captions by image, and their scores, after a step; 0 is the start model.

        Raises:
            AlarmError: the preset has guards, and alarm ``truth``, ``references`` or ``distinct`` fires.
        """
        if captions and not self.greedy(step):  # a kill may have come between them and their scores
            with store.Appender(self._folder / GREEDY) as appender:
                for image, caption in captions.items():
                    appender.append({"step": step, "image": image, "caption": caption})
        row = plain({"step": step, **values})
        with store.Appender(self._folder / VALIDATION) as appender:
            appender.append(row)
        self.validations.append(row)
        fired = {name: alarms.STOPPING[name]([], self.validations) for name in alarms.OF_VALIDATION}
        self._stop({name: reason for name, reason in fired.items() if reason is not None})

    def close(self) -> None:
        """Flush the rows to disk."""
        self._steps.__exit__()


def _drop_rows(path: Path, done: int) -> None:
    rows = training_rows(path)
    kept = [row for row in rows if row["step"] <= done]
    if len(kept) < len(rows):
        store.write_rows(path, kept, sealed=True)


def completions(scored: Scored) -> list[dict[str, Any]]:
    """One row per caption: text, tokens, rewards and retrieved rows."""
    batch, reward = scored.batch, scored.reward
    return [
        plain(
            {
                "source_id": scored.source_ids[at],
                "caption": scored.captions[at],
                "tokens": len(scored.ids[at]),
                "clipped": bool(scored.clipped[at]),
                "reward": reward[at],
                **{name: values[at] for name, values in scored.terms.items()},
                "rows": batch.rows[at],
                "similarities": batch.similarities[at],
            }
        )
        for at in range(len(scored.captions))
    ]


class Clock:
    """Accumulates seconds per phase since the last ``take``."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._since = time.perf_counter()

    def wrap(self, owner: Any, method: str, phase: str) -> None:
        """Add the time spent in a method of ``owner`` to a phase."""
        inner = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self._seconds[phase] += time.perf_counter() - start

        setattr(owner, method, timed)

    def watch(self, trainer: Any) -> None:
        """Wrap the methods of a trainer, and the weight updates of its vLLM."""
        for method, phase in METHODS.items():
            self.wrap(trainer, method, phase)
        if trainer.use_vllm:
            self.wrap(trainer.vllm_generation, "sync_weights", "sync")

    def take(self) -> dict[str, float]:
        """Seconds per phase: ``logp`` and ``update`` are the rest of rollout and step, ``total`` is wall-clock time."""
        now = time.perf_counter()
        phases, self._seconds = dict(self._seconds), defaultdict(float)
        rollout, step = phases.pop("rollout", 0.0), phases.pop("step", 0.0)
        parts = sum(phases.get(name, 0.0) for name in ("process", "generate", "reward"))
        if "sync" in phases:
            phases["generate"] -= phases["sync"]
        phases |= {"logp": max(0.0, rollout - parts), "update": max(0.0, step - rollout), "total": now - self._since}
        self._since = now
        return {name: round(seconds, 4) for name, seconds in phases.items()}


def memory_mb() -> int:
    """Peak resident memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1 << 20) if sys.platform == "darwin" else peak // 1024


def device_memory_mb() -> int | None:
    """Peak memory on the device, None on a CPU."""
    import torch

    return int(torch.cuda.max_memory_allocated() // (1 << 20)) if torch.cuda.is_available() else None
