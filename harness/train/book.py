"""The rows of a training run: ``steps.jsonl``, ``completions.jsonl``, ``validation.jsonl``; alarms are judged on them.

A row of ``steps.jsonl`` is one optimiser update; the first of a step also holds what the step's captions were like. A
run that goes on drops the rows after its checkpoint, so a resumed run has the rows of one that was never stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness import store
from harness.errors import AlarmError
from harness.train import alarms, diagnostics
from harness.train.scoring import Scored

STEPS, COMPLETIONS, VALIDATION = "steps.jsonl", "completions.jsonl", "validation.jsonl"
# What TRL logs, under our names.
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


def plain(value: Any) -> Any:
    """A value as JSON takes it: numpy made plain, numbers that are none made null."""
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def drop_rows(path: Path, done: int) -> None:
    """Drop the rows of steps after the checkpoint that a run goes on from."""
    rows = store.read_rows(path)
    kept = [row for row in rows if row["step"] <= done]
    if len(kept) < len(rows):
        store.write_rows(path, kept)


class Book:
    """Writes rows as they come and stops the run on an alarm.

    Args:
        updates: optimiser updates a step.
        stops: names of the alarms that end the run.
        mark: what stands in every row, such as the gallery's sha256.
        say: told of alarms that do not stop.
    """

    def __init__(
        self,
        folder: Path,
        updates: int,
        stops: Collection[str],
        mark: Mapping[str, Any],
        say: Callable[[str], None],
        done: int = 0,
    ) -> None:
        self._folder, self._updates, self._stops, self._mark, self._say = folder, updates, stops, dict(mark), say
        for name in (STEPS, COMPLETIONS, VALIDATION):
            drop_rows(folder / name, done)
        self.validations = list[Mapping[str, Any]](store.read_rows(folder / VALIDATION))
        self._rows: list[Mapping[str, Any]] = [row for row in store.read_rows(folder / STEPS) if "reward" in row]
        self._steps = store.Appender(folder / STEPS)
        self._completions = store.Appender(folder / COMPLETIONS)
        self._scored = list[Scored]()
        self._rung = set[str]()

    def saw(self, scored: Scored) -> None:
        """Keep what was scored until its update is logged, and write its captions."""
        self._scored.append(scored)
        for row in completions(scored):
            self._completions.append({"step": scored.step // self._updates + 1, **row})

    def logged(self, update: int, logs: Mapping[str, float], facts: Mapping[str, Any]) -> dict[str, Any]:
        """Write the row of an update; ``logs`` are TRL's numbers, ``facts`` seconds and memory.

        Raises:
            AlarmError: a stopping alarm rings and the preset has guards.
        """
        row: dict[str, Any] = {"step": (update - 1) // self._updates + 1, "update": update}
        row |= {ours: float(logs[theirs]) for theirs, ours in LOGGED.items() if logs.get(theirs) is not None}
        scored, self._scored = self._scored, []
        for one in scored:
            captions = len(one.captions)
            row |= {"captions": captions, "images": captions // one.group, **diagnostics.summary(one)}
        rung = self._ring(row)
        self._steps.append(plain({**row, **facts, "alarms": rung, **self._mark}))
        self._stop(rung)
        return row

    def _ring(self, row: Mapping[str, Any]) -> dict[str, str]:
        if "reward" not in row:
            bad = alarms.STOPPING["nan"]([row], [])
            return {"nan": bad} if bad else {}
        self._rows.append(row)
        return alarms.check(self._rows, self.validations)

    def _stop(self, rung: Mapping[str, str]) -> None:
        if stopping := [name for name in rung if name in self._stops]:
            hint = "the last checkpoint before it is kept; steps.jsonl and completions.jsonl show what happened"
            raise AlarmError(stopping[0], rung[stopping[0]], hint=hint)
        for name, reason in rung.items():
            if name not in self._rung:
                self._rung.add(name)
                self._say(f"alarm {name}: {reason}")

    def validated(self, step: int, values: Mapping[str, float | None]) -> None:
        """Write what the captions of the validation images were worth after a step; 0 is the start model.

        Raises:
            AlarmError: reward rose while precision fell, or all images get one caption, and the preset has guards.
        """
        row = plain({"step": step, **values})
        with store.Appender(self._folder / VALIDATION) as appender:
            appender.append(row)
        self.validations.append(row)
        found = {name: alarms.STOPPING[name]([], self.validations) for name in ("precision", "distinct")}
        self._stop({name: reason for name, reason in found.items() if reason is not None})

    def close(self) -> None:
        """Bring the rows to the disk."""
        for appender in (self._steps, self._completions):
            appender.__exit__()


def completions(scored: Scored) -> list[dict[str, Any]]:
    """One row a caption: text, tokens, what it was worth and what it retrieved."""
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
