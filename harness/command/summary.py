"""What an evaluation prints without ``--verbose``: the main values of a task's runs side by side.

A run has three columns: value, 95 % interval, and the floor (``runs/controls.py``), what the run's own captions of
another image earn, or a judge that reads none. A value that is no better than it is marked. Runs that do not fit beside
each other stand below each other; no number is ever cut.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.cells import cell_len, chop_cells

from harness import registry
from harness.calibration.stored import Calibration
from harness.errors import CimError, one_line
from harness.parts import Metric, Value
from harness.runs import compare, controls, signature, stored_run
from harness.runs.run import Run
from harness.types import Score

MARK, PLAIN_MARK = "▾", "v"
HEADER = ("value ", "95 % interval", "floor")  # of the columns of a run; the blank is where marks stand
INTERVAL = 1  # the column that is left out where a run is wider than the terminal
GAP = 2  # blanks between runs
CORRECTED = "  corrected"  # label of the row below a judged value
NARROW = 80  # columns of a table where output is a file or a pipe

Row = tuple[Metric, Value, bool]  # of a value as the judge has it, or corrected for its errors


@dataclass(frozen=True, slots=True)
class Scored:
    """A scored run: scores, what is to be said of it, whether its page was written, values corrected by labels."""

    run: Run
    scores: Sequence[Score]
    remarks: Sequence[str] = ()
    paged: bool = True
    corrected: Mapping[str, Calibration] = field(default_factory=dict)


def lines(runs: Sequence[Scored], width: int | None, encoding: str) -> Iterator[str]:
    """The lines on the runs of one task: tables, what they mean, which run is better, where the files are.

    Args:
        width: columns of the terminal; None where there is none: tables are narrow, and no sentence is broken.
        encoding: of standard output; the mark is a letter where it has no triangle.
    """
    mark = _mark(encoding)
    yield from table(runs, width or NARROW, mark)
    said = [f"floor: own captions of the next image, or a blind judge; {mark}: no better"]
    said += [line for scored in runs for line in (*_gallery(scored), *_remarks(scored, len(runs)))]
    yield from _wrapped([*said, *_absent(runs), *verdicts(runs)], width)
    yield _files(runs)  # a path is copied whole
    yield from _wrapped([_next(runs)], width)


def table(runs: Sequence[Scored], width: int, mark: str) -> Iterator[str]:
    """The main values, one per row, in blocks of as many runs as fit beside each other."""
    rows = _rows(runs)
    counts = dict.fromkeys(_count(scored.run) for scored in runs)
    task = [one_line(runs[0].run.task.name), f"n = {' and '.join(counts)}"]
    labels = [*task, *(CORRECTED if below else metric.label(value.name) for metric, value, below in rows)]
    left = max(map(cell_len, labels)) + GAP
    columns = [_columns(scored, rows, mark) for scored in runs]
    if any(left + cell_len(_beside(block)[0]) > width for block in columns):
        columns = [[*block[:INTERVAL], *block[INTERVAL + 1 :]] for block in columns]
        yield f"{HEADER[INTERVAL]}s are left out: they need more than {width} columns (-v)"
    blocks = [_named(scored, _beside(block)) for scored, block in zip(runs, columns, strict=True)]
    while blocks:
        beside = [blocks.pop(0)]
        while blocks and left + sum(_width(block) + GAP for block in [*beside, blocks[0]]) - GAP <= width:
            beside.append(blocks.pop(0))
        height = max(map(len, beside))
        parts = [[""] * (height - len(labels)) + labels, *([""] * (height - len(b)) + b for b in beside)]
        widths = [left, *(_width(block) + GAP for block in beside)]
        for cells in zip(*parts, strict=True):
            padded = (cell + " " * (room - cell_len(cell)) for cell, room in zip(cells, widths, strict=True))
            yield "".join(padded).rstrip()


def _count(run: Run) -> str:
    """How many captions, and of how many images where that is another number."""
    captions, images = len(run.samples), controls.count_images(run.samples)
    return str(captions) if captions == images else f"{captions} of {images} images"


def _wrapped(texts: Sequence[str], width: int | None) -> Iterator[str]:
    for text in dict.fromkeys(map(one_line, texts)):
        yield from textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) if width else [text]


def _rows(runs: Sequence[Scored]) -> list[Row]:
    """Main values that some run has, in the order of tables."""
    names = {score.metric for scored in runs for score in scored.scores if not score.not_computed}
    metrics = sorted(map(registry.metric, names), key=lambda metric: (metric.order, metric.name))
    judged = {(estimate.metric, estimate.value) for scored in runs for estimate in scored.corrected.values()}
    main = [(metric, value) for metric in metrics for value in metric.values if value.main]
    return [
        (metric, value, below)
        for metric, value in main
        for below in ((False, True) if (metric.name, value.name) in judged else (False,))
    ]


def _columns(scored: Scored, rows: Sequence[Row], mark: str) -> list[list[str]]:
    """The columns of a run, their headers first."""
    by_metric = {score.metric: score for score in scored.scores}
    cells = [
        _corrected(scored.corrected.get(metric.name), value)
        if below
        else _cells(by_metric.get(metric.name), value, metric.best(value.name), mark)
        for metric, value, below in rows
    ]
    return [list(column) for column in zip(HEADER, *cells, strict=True)]


def _corrected(by_labels: Calibration | None, value: Value) -> tuple[str, str, str]:
    if by_labels is None or by_labels.corrected is None:
        return "- ", "", ""
    low, high = by_labels.ci95
    return f"{by_labels.corrected:.{value.decimals}f} ", f"{low:.{value.decimals}f}..{high:.{value.decimals}f}", ""


def _cells(score: Score | None, value: Value, highest: float | None, mark: str) -> tuple[str, str, str]:
    number = score.values.get(value.name) if score else None
    if score is None or number is None:
        return "- ", "", ""
    low, high = score.ci95[value.name]
    bounds = "" if low is None or high is None else f"{low:.{value.decimals}f}..{high:.{value.decimals}f}"
    numbers = {name: row["values"].get(value.name) for name, row in score.controls.items()}
    name = controls.floor(numbers, value.higher_is_better, highest)
    floor = numbers[name] if name else None
    marked = controls.not_better(number, floor, value.higher_is_better)
    shown = "" if floor is None else f"{floor:.{value.decimals}f}"
    return f"{number:.{value.decimals}f}{mark if marked else ' '}", bounds, shown


def _beside(columns: Sequence[Sequence[str]]) -> list[str]:
    """Lines of right-aligned columns."""
    widths = [max(map(len, column)) for column in columns]
    return [
        " ".join(cell.rjust(room) for cell, room in zip(row, widths, strict=True)) for row in zip(*columns, strict=True)
    ]


def _named(scored: Scored, block: list[str]) -> list[str]:
    """A run's lines below its name, which is folded where it is longer."""
    return [*chop_cells(one_line(scored.run.model.name), len(block[0])), *block]


def _width(block: Sequence[str]) -> int:
    return max(map(cell_len, block))


def _mark(encoding: str) -> str:
    try:
        MARK.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return PLAIN_MARK
    return MARK


def _gallery(scored: Scored) -> Iterator[str]:
    """Where captions were looked up; the signature says it in full."""
    for score in scored.scores:
        how = signature.read(score.signature or "")
        if {"gallery", "rows", "self"} <= how.keys():
            name = how["gallery"].partition("@")[0]
            first = int(score.counts.get("n_own_image_first", 0))
            first_hits = f", {first} of {score.n} captions retrieve their own image first" if first else ""
            yield f"{score.metric}: gallery {name}, {how['rows']} rows, self policy {how['self']}{first_hits}"


def _remarks(scored: Scored, runs: int) -> Iterator[str]:
    for remark in scored.remarks:
        yield f"{scored.run.model.name}: {remark}" if runs > 1 else remark


def _absent(runs: Sequence[Scored]) -> Iterator[str]:
    """A line for each reason why metrics were not computed."""
    by_reason = dict[str, list[str]]()
    for score in (score for scored in runs for score in scored.scores if score.not_computed):
        by_reason.setdefault(score.not_computed or "", []).append(score.metric)
    for reason, metrics in by_reason.items():
        yield f"not computed: {', '.join(dict.fromkeys(metrics))} ({reason})"


def verdicts(runs: Sequence[Scored]) -> Iterator[str]:
    """Is another run better than the first? A sentence each."""
    stored = [stored_run.load(scored.run.folder, scored.run.files) for scored in runs]
    for other in stored[1:]:
        first = stored[0]
        try:
            rows = compare.compare(first, other)
        except CimError as error:
            yield f"no verdict on {other.model} and {first.model}: {error.what}"
            continue
        yield compare.verdict(rows, first.model, other.model, other.n_images)


def _files(runs: Sequence[Scored]) -> str:
    names = [shlex.quote(scored.run.folder.name) for scored in runs]
    parent = runs[0].run.folder.parent.absolute()
    shown = parent.relative_to(Path.cwd()) if parent.is_relative_to(Path.cwd()) else parent
    together = names[0] if len(names) == 1 else "{" + ",".join(names) + "}"
    if not all(scored.paged for scored in runs):
        return f"files: {shown}/{together}; `cim report RUN` writes the page of a run"
    return f"page{'s' * (len(names) > 1)}: {shown}/{together}/report.html (files beside)"


def _next(runs: Sequence[Scored]) -> str:
    names = [shlex.quote(scored.run.model.name) for scored in runs]
    compared = " ".join(names[:2]) if len(names) > 1 else f"{names[0]} OTHER"
    return f"next: -v (every value, control, signature); cim compare {compared}"
