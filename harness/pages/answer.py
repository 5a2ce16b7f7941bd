"""The first screen of a run's page: each main value beside its controls, and one sentence that sums them up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.pages import scores
from harness.pages.scores import Placing
from harness.runs import controls
from harness.runs.stored_run import StoredRun


@dataclass(frozen=True, slots=True)
class MainValue:
    """One main value: ``controls`` are texts by heading, ``under`` its floor where it is no better than that."""

    label: str
    value: str
    interval: str
    n: str
    controls: Mapping[str, str]
    under: tuple[str, ...]
    placing: Placing | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reader wants first: headings of the control columns, main values, verdict."""

    headings: Sequence[str]
    values: Sequence[MainValue]
    verdict: str


OTHER = "blind judge"


def answer(run: StoredRun, placings: Mapping[tuple[str, str], Placing]) -> Answer:
    """The main values of a run; all values where no metric of it declares a main one."""
    columns = scores.columns(run)
    columns = [column for column in columns if column.main] or columns
    values, headings, compared = list[MainValue](), dict[str, None](), 0
    for column in columns:
        value, *bounds = scores.numbers(run.scores[column.metric], column.value) or (None,)
        texts = dict[str, str]()
        numbers = scores.control_numbers(run, column)
        for name, (control, *_) in numbers.items():
            if name in controls.LABELS:
                texts[controls.label(name)] = column.text(control)
        under = controls.under(run.scores[column.metric], column.value, column.higher_is_better, column.best)
        others = {name: control for name, (control, *_) in numbers.items() if name not in controls.LABELS}
        if judge := controls.floor(others, column.higher_is_better, column.best):
            texts[OTHER] = f"{column.text(others[judge])} ({controls.label(judge)})"
        headings |= dict.fromkeys(texts)
        compared += bool(numbers) and value is not None and column.higher_is_better is not None
        interval = " to ".join(map(column.text, bounds))
        n = str(run.scores[column.metric]["n"])
        placing = placings.get((column.metric, column.value))
        labels = tuple(map(controls.label, under))
        values.append(MainValue(column.label, column.text(value), interval, n, texts, labels, placing))
    known = [*map(controls.label, controls.LABELS), OTHER]
    return Answer(sorted(headings, key=known.index), values, _verdict(values, compared))


def _verdict(values: Sequence[MainValue], compared: int) -> str:
    """``compared`` values have a direction and a control."""
    if not compared:
        return "No main value has a control to be compared with."
    under = [value.label for value in values if value.under]
    if not under:
        subject = "The one main value with controls is" if compared == 1 else f"All {compared} main values are"
        return f"{subject} better than the floor: the run's own captions of another image, or a judge that reads none."
    listed = ", ".join(under)
    better = f"{compared - len(under)} of {compared} main values are better than their floor"
    return f"{better}; no better (▾): {listed}."
