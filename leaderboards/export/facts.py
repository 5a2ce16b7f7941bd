"""What every form of export says of a run: its numbers, its model and the time, fit to be published."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from harness import registry
from harness.parts import Metric, Value
from harness.runs.stored_run import StoredRun
from harness.runs.validate import is_number

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Number:
    """A computed value of a run with its 95 % interval, None without one, and its metric's row of ``scores.json``."""

    metric: Metric
    value: Value
    number: float
    interval: tuple[float, float] | None
    score: Mapping[str, Any]

    @property
    def name(self) -> str:
        """``bleu4``, or ``objects.f1`` where the metric has several values."""
        return self.metric.name if self.metric.names == ("score",) else f"{self.metric.name}.{self.value.name}"

    @property
    def controls(self) -> dict[str, float]:
        """The controls of this value, by name."""
        values = {name: control["values"].get(self.value.name) for name, control in self.score["controls"].items()}
        return {name: number for name, number in values.items() if is_number(number)}


def numbers(run: StoredRun) -> list[Number]:
    """All values that were computed, in the order of ``scores.json``; none where every caption failed."""
    computed = list[Number]()
    for name, score in run.computed.items():
        metric = registry.metric(name)
        for value in metric.values:
            number = score["values"].get(value.name)
            if is_number(number):
                computed.append(Number(metric, value, float(number), interval(score, value.name), score))
    return computed


def interval(score: Mapping[str, Any], value: str) -> tuple[float, float] | None:
    """The stored interval of a value of a score or control; None without one."""
    low, high = (score.get("ci95") or {}).get(value) or (None, None)
    return (float(low), float(high)) if is_number(low) and is_number(high) else None


def not_computed(run: StoredRun) -> list[str]:
    """Metrics without values."""
    return [name for name, score in run.scores.items() if score.get("not_computed")]


def model_id(settings: Mapping[str, Any], name: str) -> str:
    """``developer/model``: the id on the hub, or what the server calls it; ``unknown/<name>`` for anything else."""
    named = str(settings.get("checkpoint") or settings.get("model") or "")
    if HUB_ID.fullmatch(named):
        return named
    served = "model" in settings and re.fullmatch(r"[\w.:-]+", named, re.ASCII)
    return f"unknown/{named if served else name}"


def epoch(moment: object) -> str | None:
    """Seconds since 1970 of a time in a manifest, UTC where it names no zone; None if it is no time."""
    try:
        parsed = datetime.fromisoformat(str(moment))
    except ValueError:
        return None
    return str(int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()))


def package_version(run: StoredRun) -> str:
    """The harness's version that made the run."""
    return str(((run.manifest.get("made_by") or {}).get("packages") or {}).get("cim-harness", "unknown"))
