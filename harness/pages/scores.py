"""The score table of a run's page: a row per value with its interval on the metric's scale, controls below it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import registry
from harness.parts import Metric
from harness.runs.stored_run import StoredRun
from harness.runs.validate import is_number
from harness.types import CONTROLLED

UNKNOWN_LAST = 10_000
MISSING = "–"


@dataclass(frozen=True, slots=True)
class Column:
    """One value of a computed metric; metrics that are not known here have two decimals and no direction."""

    metric: str
    value: str
    label: str
    decimals: int
    scale: float | None
    higher_is_better: bool | None
    main: bool

    def text(self, number: float | None) -> str:
        """A number with this column's decimals, or a dash."""
        return MISSING if number is None else f"{number:.{self.decimals}f}"


@dataclass(frozen=True, slots=True)
class Placing:
    """A value among the comparable runs of a leaderboard: its rank and paired differences, as texts."""

    rank: str
    to_first: str
    to_base: str


@dataclass(frozen=True, slots=True)
class Bar:
    """Value and interval as positions 0 to 100 between the ends of a metric's scale."""

    value: float
    low: float | None
    high: float | None
    end: str


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table; ``control`` is set below the value that it is a control of."""

    label: str
    value: str = ""
    interval: str = ""
    n: str = ""
    failed: str = ""
    bar: Bar | None = None
    placing: Placing | None = None
    control: bool = False
    not_computed: str = ""


def order(metric: str) -> tuple[int, str]:
    """Sort key of a metric's columns; metrics that are not known here come last."""
    known = _known(metric)
    return known.order if known else UNKNOWN_LAST, metric


def columns(run: StoredRun) -> list[Column]:
    """Every number that each sample of a run has."""
    return [
        _column(name, value, _known(name)) for name in sorted(run.computed, key=order) for value in _values(run, name)
    ]


def rows(run: StoredRun, placings: Mapping[tuple[str, str], Placing]) -> Iterator[Row]:
    """The table: values with their controls, then what was not computed and why."""
    for column in columns(run):
        score = run.scores[column.metric]
        values = _values(run, column.metric)
        shown = values.index(column.value) == 0 or len(values) <= CONTROLLED
        controls = {name: _numbers(control, column.value) for name, control in score["controls"].items() if shown}
        value = _numbers(score, column.value)
        ends = _ends(column.scale, [number for numbers in (value, *controls.values()) for number in numbers])
        text, interval, bar = _shown(column, value, ends)
        placing = placings.get((column.metric, column.value))
        yield Row(column.label, text, interval, str(score["n"]), str(score["n_failed"]), bar, placing)
        for name, numbers in controls.items():
            text, interval, bar = _shown(column, numbers, ends)
            yield Row(name.replace("_", " "), text, interval, bar=bar, control=True)
    for name in sorted(run.scores.keys() - run.computed.keys(), key=order):
        yield Row(name, not_computed=str(run.scores[name]["not_computed"]))


def counts(run: StoredRun) -> list[tuple[str, str]]:
    """Counts that metrics keep of the whole run."""
    return [
        (f"{name} {what}", f"{number:g}" if is_number(number) else str(number))
        for name, score in sorted(run.scores.items(), key=lambda pair: order(pair[0]))
        if isinstance(score.get("counts"), dict)
        for what, number in sorted(score["counts"].items())
    ]


def signatures(run: StoredRun) -> list[str]:
    """Signatures of the computed metrics."""
    lines = (run.scores[name]["signature"] for name in sorted(run.computed, key=order))
    return [line for line in lines if line]


def _known(name: str) -> Metric | None:
    """A metric that is known here; a run from elsewhere may have others."""
    stem = name.partition("@")[0]
    here = stem in registry.names("metrics") and name in (stem, *registry.variants("metrics", stem))
    return registry.metric(name) if here else None


def _values(run: StoredRun, name: str) -> list[str]:
    return list(run.scores[name]["values"])


def _column(name: str, value: str, metric: Metric | None) -> Column:
    if metric is None or value not in metric.names:
        return Column(name, value, f"{name} {value}", 2, None, None, False)
    known = metric.value(value)
    return Column(name, value, metric.label(value), known.decimals, metric.scale, known.higher_is_better, known.main)


def _numbers(score: object, value: str) -> tuple[float, ...]:
    """Value, low and high of a score or a control; only what is a number, since nobody has checked a control."""
    number, bounds = _cell(score, "values", value), _cell(score, "ci95", value)
    pair = bounds if isinstance(bounds, list | tuple) and len(bounds) == 2 and all(map(is_number, bounds)) else ()
    return (number, *pair) if is_number(number) else ()


def _cell(score: object, field: str, value: str) -> Any:
    cells = score.get(field) if isinstance(score, Mapping) else None
    return cells.get(value) if isinstance(cells, Mapping) else None


def _shown(column: Column, numbers: Sequence[float], ends: tuple[float, float]) -> tuple[str, str, Bar | None]:
    if not numbers:
        return MISSING, "", None
    value, *bounds = numbers
    low, high = [_place(bound, ends) for bound in bounds] or (None, None)
    return (
        column.text(value),
        " to ".join(map(column.text, bounds)),
        Bar(_place(value, ends), low, high, f"{ends[1]:g}"),
    )


def _place(number: float, ends: tuple[float, float]) -> float:
    return 100 * min(1.0, max(0.0, (number - ends[0]) / (ends[1] - ends[0])))


def _ends(scale: float | None, numbers: Sequence[float]) -> tuple[float, float]:
    """Where a bar begins and ends: the metric's scale, or a round number beyond all that is shown."""
    low = min(0.0, *numbers, 0.0)
    if scale is not None:
        return (-scale if low < 0 else 0.0, scale)
    widest = max(abs(number) for number in (*numbers, 1e-9))
    step = 10.0 ** (len(f"{widest:.0f}") - 1)
    end = step * (widest // step + 1)
    return (-end if low < 0 else 0.0, end)
