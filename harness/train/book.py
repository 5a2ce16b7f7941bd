"""The training log: ``steps.jsonl``, ``completions.jsonl``, ``validation.jsonl``; alarms are computed from its rows.

A row of ``steps.jsonl`` is one optimiser update; the first of a step also holds diagnostics of its captions. A
resumed run drops the rows after its checkpoint, so its log equals that of a run that was never stopped.
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


def plain(value: Any) -> Any:
    """A value converted to JSON types: numpy to Python, NaN and infinities to null."""
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def drop_rows(path: Path, done: int) -> None:
    """Drop the rows of steps after the checkpoint that a run resumes from."""
    rows = store.read_rows(path)
    kept = [row for row in rows if row["step"] <= done]
    if len(kept) < len(rows):
        store.write_rows(path, kept)


class Book:
    """The training log: appends rows as they arrive and stops the run on an alarm.

    Args:
        updates: optimiser updates per step.
        stops: names of the alarms that end the run.
        mark: fields added to every row, such as the gallery's sha256.
        say: receives a line for each alarm that does not stop the run.
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
        """Keep a scored batch until its update is logged, and write its captions."""
        self._scored.append(scored)
        for row in completions(scored):
            self._completions.append({"step": scored.step // self._updates + 1, **row})

    def logged(self, update: int, logs: Mapping[str, float], facts: Mapping[str, Any]) -> dict[str, Any]:
        """Write the row of an update; ``logs`` are TRL's numbers, ``facts`` seconds and memory.

        Raises:
            AlarmError: a stopping alarm fires and the preset has guards.
        """
        row: dict[str, Any] = {"step": (update - 1) // self._updates + 1, "update": update}
        row |= {field: float(logs[trl_name]) for trl_name, field in LOGGED.items() if logs.get(trl_name) is not None}
        scored, self._scored = self._scored, []
        for batch in scored:
            captions = len(batch.captions)
            row |= {"captions": captions, "images": captions // batch.group, **diagnostics.summary(batch)}
        fired = self._ring(row)
        self._steps.append(plain({**row, **facts, "alarms": fired, **self._mark}))
        self._stop(fired)
        return row

    def _ring(self, row: Mapping[str, Any]) -> dict[str, str]:
        if "reward" not in row:
            bad = alarms.STOPPING["nan"]([row], [])
            return {"nan": bad} if bad else {}
        self._rows.append(row)
        return alarms.check(self._rows, self.validations)

    def _stop(self, fired: Mapping[str, str]) -> None:
        if stopping := [name for name in fired if name in self._stops]:
            hint = "the last checkpoint before it is kept; steps.jsonl and completions.jsonl show what happened"
            raise AlarmError(stopping[0], fired[stopping[0]], hint=hint)
        for name, reason in fired.items():
            if name not in self._rung:
                self._rung.add(name)
                self._say(f"alarm {name}: {reason}")

    def validated(self, step: int, values: Mapping[str, float | None]) -> None:
        """Write the scores of the validation captions after a step; 0 is the start model.

        Raises:
            AlarmError: the preset has guards, and alarm ``precision`` or ``distinct`` fires.
        """
        row = plain({"step": step, **values})
        with store.Appender(self._folder / VALIDATION) as appender:
            appender.append(row)
        self.validations.append(row)
        fired = {name: alarms.STOPPING[name]([], self.validations) for name in ("precision", "distinct")}
        self._stop({name: reason for name, reason in fired.items() if reason is not None})

    def close(self) -> None:
        """Flush the rows to disk."""
        for appender in (self._steps, self._completions):
            appender.__exit__()


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
