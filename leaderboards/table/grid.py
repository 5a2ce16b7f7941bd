"""Stored runs as rows, values as columns: which is best, what differs significantly, what cannot be compared.

In each column the runs of one signature are compared: with the best of them, or with the run that is named. The test
is the paired permutation over images of ``cim compare``, corrected by Holm over the comparisons of the column.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness import registry
from harness.errors import CimError
from harness.pages import scores
from harness.runs import compare, stats
from harness.runs.stored_run import SCORES, StoredRun, obstacle
from harness.runs.validate import is_number

Runs = Mapping[str, Mapping[str, StoredRun]]
"""Runs by the name of their row, then by task."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of one run, with what its column says about it.

    ``p`` is of the difference to the run of row ``compared_with``, corrected; both are None where nothing was tested.
    ``note`` is the letter of a note of the table.
    """

    run: StoredRun
    number: float
    ci95: tuple[float, float] | None
    best: bool = False
    p: float | None = None
    compared_with: str | None = None
    note: str = ""

    @property
    def differs(self) -> bool:
        """Does it differ significantly from the run that it is compared with?"""
        return self.p is not None and self.p < compare.ALPHA


@dataclass(frozen=True, slots=True)
class Column:
    """One value on one task: a cell for every row that has it."""

    task: str
    value: scores.Column
    cells: Mapping[str, Cell]

    @property
    def known(self) -> bool:
        """Is its metric installed here?"""
        return scores.order(self.value.metric)[0] != scores.UNKNOWN_LAST


@dataclass(frozen=True, slots=True)
class Table:
    """Names of the rows; columns in groups by task; texts of notes by letter.

    ``against`` is the row that others are compared with, None for the best of each column.
    """

    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    against: str | None
    letters: Mapping[str, str]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Tasks with their numbers of columns."""
        return list(Counter(column.task for column in self.columns).items())


def build(runs: Runs, metrics: Sequence[str], against: str | None, draws: int = stats.DRAWS) -> Table:
    """The table of runs.

    Args:
        metrics: columns, ``metric`` (its main values) or ``metric.value``; none: every main value.
        against: the row that others are compared with; None: the best of each column.

    Raises:
        CimError: no such value or row, or files of a run are damaged.
    """
    if against is not None and against not in runs:
        raise CimError(f"no row {against!r}", where="--against", hint=f"one of {', '.join(runs)}")
    tasks = dict.fromkeys(task for by_task in runs.values() for task in by_task)
    everything = [column for task in tasks for column in _columns(task, runs)]
    columns = _chosen(everything, metrics) if metrics else [column for column in everything if column.value.main]
    if not columns:
        raise CimError("these runs have no main values", hint=f"--metrics with some of {_names(everything)}")
    letters = dict[str, str]()
    tests = _Tests(list(dict.fromkeys(column.value.metric for column in columns if column.known)), draws)
    judged = tuple(_judged(column, against, letters, tests) for column in columns)
    return Table(tuple(runs), judged, against, {letter: text for text, letter in letters.items()})


def _columns(task: str, runs: Runs) -> list[Column]:
    cells, values = defaultdict[tuple[str, str], dict[str, Cell]](dict), dict[tuple[str, str], scores.Column]()
    for name, by_task in runs.items():
        if task in by_task:
            run = by_task[task]
            for value in scores.columns(run):
                if run.scores[value.metric]["values"][value.value] is None:
                    continue  # undefined: the share of an empty set
                values[value.metric, value.value] = value
                cells[value.metric, value.value][name] = _cell(run, value)
    ordered = sorted(values, key=lambda key: scores.order(key[0]))
    return [Column(task, values[key], cells[key]) for key in ordered]


def _cell(run: StoredRun, value: scores.Column) -> Cell:
    score = run.scores[value.metric]
    number, bounds = score["values"][value.value], score["ci95"].get(value.value)
    if not is_number(number):
        where = str(run.files.folder / SCORES)
        raise CimError(f"{value.label} is no number", where=where, hint="score the run again")
    both = isinstance(bounds, list) and len(bounds) == 2 and all(map(is_number, bounds))
    return Cell(run, number, (bounds[0], bounds[1]) if both else None)


def _chosen(columns: Sequence[Column], metrics: Sequence[str]) -> list[Column]:
    """Of each task the columns that are named, in the order of the names."""
    named = list[tuple[int, Column]]()
    for at, word in enumerate(metrics):
        metric, _, value = word.partition(".")
        of_metric = [column for column in columns if column.value.metric == metric]
        main = [column for column in of_metric if column.value.main] or of_metric
        matching = [column for column in of_metric if column.value.value == value] if value else main
        if not matching:
            raise CimError(f"no value {word!r} in these runs", where="--metrics", hint=f"they have {_names(columns)}")
        named += [(at, column) for column in matching]
    tasks = list(dict.fromkeys(column.task for column in columns))
    return [column for _, column in sorted(named, key=lambda pair: (tasks.index(pair[1].task), pair[0]))]


def _names(columns: Sequence[Column]) -> str:
    return ", ".join(dict.fromkeys(f"{column.value.metric}.{column.value.value}" for column in columns)) or "nothing"


class _Tests:
    """p values of pairs of runs; all metrics of a pair are tested at once, on the same resamples, and kept."""

    def __init__(self, metrics: Sequence[str], draws: int) -> None:
        self._metrics, self._draws = metrics, draws
        self._ps = dict[tuple[StoredRun, StoredRun], dict[tuple[str, str], float]]()

    def p(self, a: StoredRun, b: StoredRun, metric: str, value: str) -> float:
        """p of the paired permutation test, not corrected."""
        if (a, b) not in self._ps:
            both = [name for name in self._metrics if obstacle(a.scores.get(name), b.scores.get(name)) is None]
            metrics = [registry.metric(name) for name in both]
            self._ps[a, b] = {
                (known.name, name): test.p_permutation
                for known, tested in zip(metrics, compare.tests(a, b, metrics, self._draws), strict=True)
                for name, test in zip(known.names, tested, strict=True)
            }
        return self._ps[a, b][metric, value]


def _judged(column: Column, against: str | None, letters: dict[str, str], tests: _Tests) -> Column:
    """The column with its best cells, tests and notes. ``letters`` of notes, by their texts, grow."""
    cells, metric, value = dict(column.cells), column.value.metric, column.value.value
    lines = Counter(_signature(cell, metric) for cell in cells.values())
    first = against if against in cells else next(n for n, c in cells.items() if _signature(c, metric) == _most(lines))
    peers, base = dict[str, Cell](), cells[first].run.scores[metric]
    for name, cell in cells.items():
        if reason := obstacle(base, cell.run.scores[metric]):
            text = f"not compared with {first}: {reason}"
            cells[name] = replace(cell, note=letters.setdefault(text, compare.letter(len(letters))))
        else:
            peers[name] = cell
    best = _best(column.value, peers)
    for name in best:
        cells[name] = replace(cells[name], best=True)
    reference = against if against is not None else next(iter(best), None)
    if reference in peers and column.known:
        others = [name for name in peers if name != reference]
        ps = [tests.p(peers[reference].run, peers[name].run, metric, value) for name in others]
        for name, p in zip(others, stats.holm(ps), strict=True):
            cells[name] = replace(cells[name], p=p, compared_with=reference)
    return replace(column, cells=cells)


def _signature(cell: Cell, metric: str) -> str:
    return str(cell.run.scores[metric]["signature"])


def _most(lines: Counter[str]) -> str:
    """The most frequent signature, the first in case of a tie."""
    return lines.most_common(1)[0][0]


def _best(value: scores.Column, cells: Mapping[str, Cell]) -> list[str]:
    """The best of several runs, first the best to the last digit, then those that look the same with these decimals."""
    if value.higher_is_better is None or len(cells) < 2:
        return []
    sign = -1 if value.higher_is_better else 1
    ordered = sorted(cells, key=lambda name: sign * cells[name].number)
    return [name for name in ordered if value.text(cells[name].number) == value.text(cells[ordered[0]].number)]


def cells(table: Table) -> Iterator[tuple[str, Column, Cell]]:
    """Every cell that has a number, row by row."""
    for name in table.rows:
        for column in table.columns:
            if name in column.cells:
                yield name, column, column.cells[name]
