"""Tables 6, 7 and 8 in the paper's layout, published cells with ours: the model that every format is written from.

Marks of a cell are computed, never set by hand: best of its block, suspect or unusual as printed (audit checks A-4 and
A-5), published outside our confidence interval, significantly different from the block's first row, other signature.
"""

from __future__ import annotations

import os
import string
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from urllib.parse import quote

from harness.runs import signature, stats, stored_run
from harness.runs.stored_run import StoredRun
from leaderboards import published
from leaderboards.audit import triples
from leaderboards.audit.triples import Place
from leaderboards.published import COLUMNS, TASKS, PaperRow
from leaderboards.standings import ALPHA
from leaderboards.tables import systems
from leaderboards.tables.cells import METRICS, Number, Numbers, usual
from leaderboards.tables.systems import System

REPORT = "report.html"  # of ``cim report``
TWO = Decimal("0.01")
HALF = Decimal("0.005")
TITLES = {
    6: "Open and closed captioners on DOCCI500",
    7: "Backbones before and after training by CIM, and their larger siblings",
    8: "Base, supervised fine-tuning, SC-Captioner and CIM",
}


@dataclass(frozen=True, slots=True)
class Ours:
    """Our number for a cell, rounded to two decimals, and its marks.

    ``difference`` is ours minus published; ``outside``: the published value, however it was rounded, lies outside our
    interval; ``p`` of the difference to the block's first row, Holm over the table. ``letter`` names a note if the
    signature differs from the column's.
    """

    value: Decimal
    ci95: tuple[Decimal, Decimal] | None
    difference: Decimal
    outside: bool
    p: float | None
    signature: str
    letter: str = ""
    best: bool = False

    @property
    def significant(self) -> bool:
        """Whether it differs significantly from the block's first row."""
        return self.p is not None and self.p < ALPHA


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: published (None if the table has none), marks, and ours or the number of the command that fills it."""

    published: Decimal | None
    best: bool = False
    states: tuple[str, ...] = ()
    ours: Ours | None = None
    fill: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One system in a block: cells by column, link to its stored run, number of the command for empty cells."""

    row: PaperRow
    label: str
    cells: Mapping[str, Cell]
    link: str | None
    fill: int | None


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that the paper compares: one backbone on one benchmark."""

    title: str
    benchmark: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """One table; ``fills`` are commands, numbered from 1, ``notes`` deviating signatures by letter.

    ``signatures`` are pairs of benchmark with columns, and their signature.
    """

    number: int
    title: str
    columns: tuple[str, ...]
    blocks: tuple[Block, ...]
    fills: tuple[str, ...]
    notes: tuple[tuple[str, str], ...]
    signatures: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """Data to fill the tables with.

    ``numbers`` by task, ``runs`` by task and name, ``systems`` by row, ``models`` that can be run here; links are
    relative to the folder ``out``.
    """

    numbers: Mapping[str, Numbers]
    runs: Mapping[tuple[str, str], StoredRun]
    systems: Mapping[str, System]
    models: Collection[str]
    out: Path


Key = tuple[int, str]
"""A cell of a table: the position of its row, its column."""


def tables(rows: Sequence[PaperRow], stored: Stored) -> list[Table]:
    """The three tables."""
    states = triples.suspects(published.sheet())
    return [_table(n, title, [row for row in rows if row.table == n], states, stored) for n, title in TITLES.items()]


def _table(
    number: int, title: str, rows: Sequence[PaperRow], states: Mapping[Place, Sequence[str]], stored: Stored
) -> Table:
    columns = tuple(c for c in COLUMNS if any(c in row.printed for row in rows))
    numbers = dict(_filled(rows, columns, stored))
    lines, letters = _signatures(rows, numbers)
    ours = _compared(rows, numbers, letters)
    fills = list[str]()
    blocks = list[Block]()
    for places in _blocks(rows).values():
        block_lines = list[Line]()
        for at in places:
            row, run = rows[at], stored.runs.get(_run(rows[at], stored))
            missing = [c for c in columns if (at, c) not in ours]
            fill = None
            if missing:
                fills.append(_fill(row, missing, stored, run is not None))
                fill = len(fills)
            cells = {c: _cell(row, c, states, ours.get((at, c)), fill) for c in columns}
            place = link(run, stored.out) if run else None
            block_lines.append(Line(row, row.base if number == 6 else row.method, cells, place, fill))
        first = rows[places[0]]
        heading = first.benchmark if number == 6 else f"{first.base}, {first.benchmark}"
        blocks.append(Block(heading, first.benchmark, tuple(_with_best(block_lines))))
    notes = tuple((letter, _differing(lines, key)) for key, letter in letters.items())
    return Table(number, title, columns, tuple(blocks), tuple(fills), notes, _by_signature(lines))


def _blocks(rows: Sequence[PaperRow]) -> dict[tuple[str, str], list[int]]:
    """Row positions by block: a benchmark in Table 6, elsewhere a backbone on a benchmark."""
    blocks = dict[tuple[str, str], list[int]]()
    for at, row in enumerate(rows):
        blocks.setdefault(("" if row.table == 6 else row.base, row.benchmark), []).append(at)
    return blocks


def _run(row: PaperRow, stored: Stored) -> tuple[str, str]:
    """Task and name of the run that fills a row."""
    return TASKS[row.benchmark], stored.systems[row.system].run


def _filled(rows: Sequence[PaperRow], columns: Sequence[str], stored: Stored) -> Iterator[tuple[Key, Number]]:
    for at, row in enumerate(rows):
        task, run = _run(row, stored)
        for column in columns:
            if (number := stored.numbers.get(task, {}).get((run, column))) and column in row.printed:
                yield (at, column), number


def _signatures(
    rows: Sequence[PaperRow], numbers: Mapping[Key, Number]
) -> tuple[dict[tuple[str, str], str], dict[tuple[str, str, str], str]]:
    """Most frequent signature by benchmark and column; a letter per other (benchmark, metric, signature)."""
    usuals, letters = dict[tuple[str, str], str](), dict[tuple[str, str, str], str]()
    for benchmark in dict.fromkeys(row.benchmark for row in rows):
        for column, (metric, _) in METRICS.items():
            cells = [number for (at, c), number in numbers.items() if c == column and rows[at].benchmark == benchmark]
            if line := usual(cells):
                usuals[benchmark, column] = line
            for number in cells:
                if number.signature != line:
                    key = benchmark, metric, number.signature
                    letters.setdefault(key, string.ascii_lowercase[len(letters) % 26] * (1 + len(letters) // 26))
    return usuals, letters


def _differing(usuals: Mapping[tuple[str, str], str], key: tuple[str, str, str]) -> str:
    """The note of a letter: fields that differ from the column's signature, and the full signature."""
    benchmark, metric, line = key
    expected = next(
        usuals[benchmark, c] for c, (name, _) in METRICS.items() if name == metric and (benchmark, c) in usuals
    )
    fields = "; ".join(signature.differences(expected, line))
    return f"{benchmark}, {metric}: differs from the column in {fields}. {line}"


def _compared(
    rows: Sequence[PaperRow], numbers: Mapping[Key, Number], letters: Mapping[tuple[str, str, str], str]
) -> dict[Key, Ours]:
    tests = dict[Key, float]()
    for first, *further in _blocks(rows).values():
        for at in further:
            for column in METRICS:
                number, base = numbers.get((at, column)), numbers.get((first, column))
                if number and base and (p := number.p(base)) is not None:
                    tests[at, column] = p
    corrected = dict(zip(tests, stats.holm(list(tests.values())), strict=True))
    cells = dict[Key, Ours]()
    for (at, column), number in numbers.items():
        letter = letters.get((rows[at].benchmark, METRICS[column][0], number.signature), "")
        cells[at, column] = _ours(number, rows[at].values[column], corrected.get((at, column)), letter)
    return cells


def _ours(number: Number, printed: Decimal, p: float | None, letter: str) -> Ours:
    value = Decimal(number.point).quantize(TWO)
    bounds = None if number.ci95 is None else (Decimal(number.ci95[0]), Decimal(number.ci95[1]))
    outside = bounds is not None and (printed + HALF < bounds[0] or printed - HALF > bounds[1])
    shown = None if bounds is None else (bounds[0].quantize(TWO), bounds[1].quantize(TWO))
    return Ours(value, shown, value - printed, outside, p, number.signature, letter)


def _cell(
    row: PaperRow, column: str, states: Mapping[Place, Sequence[str]], ours: Ours | None, fill: int | None
) -> Cell:
    if column not in row.printed:
        return Cell(None)
    marks = tuple(states.get((row.system, row.benchmark, column, Fraction(row.values[column])), ()))
    return Cell(row.values[column].quantize(TWO), states=marks, ours=ours, fill=None if ours else fill)


def _with_best(lines: Sequence[Line]) -> list[Line]:
    """Lines of one block with the best cells marked: published, and ours with the column's signature."""
    best = dict[str, tuple[Decimal | None, Decimal | None]]()
    for column in lines[0].cells:
        cells = [line.cells[column] for line in lines]
        ours = [cell.ours.value for cell in cells if cell.ours and not cell.ours.letter]
        best[column] = (
            max((cell.published for cell in cells if cell.published is not None), default=None),
            max(ours) if len(ours) > 1 else None,
        )
    return [replace(line, cells={c: _marked(cell, *best[c]) for c, cell in line.cells.items()}) for line in lines]


def _marked(cell: Cell, published: Decimal | None, ours: Decimal | None) -> Cell:
    marked = cell.ours and replace(cell.ours, best=cell.ours.value == ours and not cell.ours.letter)
    return replace(cell, best=cell.published is not None and cell.published == published, ours=marked)


def _fill(row: PaperRow, missing: Sequence[str], stored: Stored, is_stored: bool) -> str:
    metrics = list(dict.fromkeys(METRICS[column][0] for column in missing if column in row.printed))
    system = stored.systems[row.system]
    return systems.command(system, TASKS[row.benchmark], metrics, stored.models, stored=is_stored)


def _by_signature(usuals: Mapping[tuple[str, str], str]) -> tuple[tuple[str, str], ...]:
    """``("COCO-LN500, Objects P, Objects R", signature)`` for each signature of a column."""
    where = dict[tuple[str, str], list[str]]()
    for (benchmark, column), line in usuals.items():
        where.setdefault((benchmark, line), []).append(published.TITLES[column])
    return tuple((f"{benchmark}, {', '.join(titles)}", line) for (benchmark, line), titles in where.items())


def link(run: StoredRun, out: Path) -> str:
    """Relative link from the folder of the tables to a run's report, or to its scores without one."""
    pages = [run.files.folder / name for name in (REPORT, stored_run.SCORES)]
    page = next(path for path in pages if path.is_file())
    return quote(os.path.relpath(page.resolve(), out.resolve()))
