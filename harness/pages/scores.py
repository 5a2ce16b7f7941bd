"""The score table of a run's page: a row per value with its interval on the metric's scale, controls below it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import registry
from harness.calibration.stored import calibrations
from harness.parts import Metric
from harness.runs import controls
from harness.runs.stored_run import StoredRun
from harness.runs.validate import is_number
from harness.validity import cards

UNKNOWN_LAST = 10_000
MISSING = "–"


@dataclass(frozen=True, slots=True)
class Column:
    """One value of a computed metric; metrics that are not known here have two decimals and no direction.

    ``best`` is the best possible number, None where there is none.
    """

    metric: str
    value: str
    label: str
    decimals: int
    scale: float | None
    higher_is_better: bool | None
    main: bool
    best: float | None = None

    def text(self, number: float | None) -> str:
        """A number with this column's decimals, or a dash."""
        return MISSING if number is None else f"{number:.{self.decimals}f}"


@dataclass(frozen=True, slots=True)
class Placing:
    """A value among the comparable runs of a leaderboard: its rank and paired differences, as texts."""

    rank: str
    to_best: str
    to_base: str


@dataclass(frozen=True, slots=True)
class Bar:
    """Value and interval as positions 0 to 100 on a metric's scale, from 0 to ``end``."""

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
    """The table: every value with its controls below it."""
    corrected = calibrations(run)
    for column in columns(run):
        score = run.scores[column.metric]
        text, interval, bar = _shown(column, numbers(score, column.value))
        placing = placings.get((column.metric, column.value))
        yield Row(column.label, text, interval, str(score["n"]), str(score["n_failed"]), bar, placing)
        for name, control in control_numbers(run, column).items():
            text, interval, bar = _shown(column, control)
            yield Row(controls.label(name), text, interval, bar=bar, control=True)
        by_labels = corrected.get(column.metric)
        if by_labels and by_labels.value == column.value and by_labels.corrected is not None:
            numbers_ = [by_labels.corrected, *(bound for bound in by_labels.ci95 if bound is not None)]
            text, interval, bar = _shown(column, numbers_)
            yield Row(f"corrected by {by_labels.n_labels} labels", text, interval, bar=bar, control=True)


def absent(run: StoredRun) -> list[tuple[str, str]]:
    """What was not computed, and why."""
    missing = sorted(run.scores.keys() - run.computed.keys(), key=order)
    return [(name, str(run.scores[name]["not_computed"])) for name in missing]


def control_numbers(run: StoredRun, column: Column) -> dict[str, tuple[float, ...]]:
    """Value, low and high of each control of a value, in order; none for further values of a metric of many."""
    score, values = run.scores[column.metric], _values(run, column.metric)
    if values.index(column.value) > 0 and len(values) > controls.CONTROLLED:
        return {}
    by_name = {
        name: numbers(score["controls"][name], column.value) for name in sorted(score["controls"], key=controls.order)
    }
    return {name: control for name, control in by_name.items() if control}


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


def validity(run: StoredRun) -> list[tuple[str, str]]:
    """What is known of each main value's agreement with people; values without a card come together, last."""
    said = [
        (column.label, cards.sentence(run.scores[column.metric]["signature"] or "", column.value))
        for column in columns(run)
        if column.main
    ]
    without = ", ".join(label for label, sentence in said if sentence == cards.NONE)
    return [row for row in said if row[1] != cards.NONE] + ([(without, cards.NONE)] if without else [])


def _known(name: str) -> Metric | None:
    """A metric that is known here; a run from elsewhere may have others."""
    stem, variant, _ = name.partition("@")
    if stem not in registry.names("metrics") or (variant and name not in registry.variants("metrics", stem)):
        return None
    return registry.metric(name)


def _values(run: StoredRun, name: str) -> list[str]:
    return list(run.scores[name]["values"])


def _column(name: str, value: str, metric: Metric | None) -> Column:
    if metric is None or value not in metric.names:
        return Column(name, value, f"{name} {value}", 2, None, None, False)
    known = metric.value(value)
    direction, best = known.higher_is_better, metric.best(value)
    return Column(name, value, metric.label(value), known.decimals, metric.scale, direction, known.main, best)


def numbers(score: object, value: str) -> tuple[float, ...]:
    """Value, low and high of a score or a control; only what is a number, since nobody has checked a control."""
    number, bounds = _cell(score, "values", value), _cell(score, "ci95", value)
    pair = bounds if isinstance(bounds, list | tuple) and len(bounds) == 2 and all(map(is_number, bounds)) else ()
    return (number, *pair) if is_number(number) else ()


def _cell(score: object, field: str, value: str) -> Any:
    cells = score.get(field) if isinstance(score, Mapping) else None
    return cells.get(value) if isinstance(cells, Mapping) else None


def _shown(column: Column, numbers: Sequence[float]) -> tuple[str, str, Bar | None]:
    """Value, interval and bar; a value without a scale has no bar, whose length would mean something else per run."""
    if not numbers:
        return MISSING, "", None
    value, *bounds = numbers
    text, interval = column.text(value), " to ".join(map(column.text, bounds))
    if column.scale is None:
        return text, interval, None
    low, high = [_place(bound, column.scale) for bound in bounds] or (None, None)
    return text, interval, Bar(_place(value, column.scale), low, high, f"{column.scale:g}")


def _place(number: float, scale: float) -> float:
    return 100 * min(1.0, max(0.0, number / scale))
