"""The tables of a task: which runs share a table, its columns, and the content of each cell.

A column holds one value of one metric under one signature on one set of samples. The first table has the samples that
most runs share and each metric's most frequent signature; the other groups are in further tables, one for each set of
signature fields in which they differ from the first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness import registry
from harness.pages.scores import order
from harness.parts import Value
from harness.runs import controls, signature, stats
from harness.runs.stored_run import StoredRun
from harness.validity import cards
from leaderboards.board.about import About, about
from leaderboards.standings import Group, Standing, groups


@dataclass(frozen=True, slots=True)
class Column:
    """One value of one metric: its group, whether it is shown by default, its controls (minimum, maximum over runs)."""

    group: Group
    main: bool
    controls: Mapping[str, tuple[float, float]]

    @property
    def key(self) -> str:
        """``objects.f1``: identifies the column in URLs and scripts."""
        return f"{self.group.metric}.{self.group.value}"

    @property
    def label(self) -> tuple[str, str]:
        """Name of the metric, and of the value if it is shown."""
        metric = registry.metric(self.group.metric)
        return metric.name, "" if metric.label(self.group.value) == metric.name else self.group.value

    @property
    def value(self) -> Value:
        """The metric's declaration of the value."""
        return registry.metric(self.group.metric).value(self.group.value)

    @property
    def validity(self) -> str:
        """What is known of the value's agreement with people."""
        return f"{' '.join(filter(None, self.label))}: {cards.sentence(self.group.signature, self.group.value)}"

    @property
    def ranked(self) -> bool:
        """Whether the value has a direction."""
        return self.value.higher_is_better is not None

    def text(self, number: float) -> str:
        """A number with this column's decimals."""
        return f"{number:.{self.value.decimals}f}"

    def place(self, number: float) -> float:
        """Position of a number within the range of all confidence intervals of the column, 0 to 100."""
        ends = [bound for standing in self.group.standings for bound in standing.ci95]
        low, high = min(ends), max(ends)
        return 100 * (number - low) / (high - low) if high > low else 50.0


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: a value and the controls it is no better than, the number of another table, or of a note."""

    standing: Standing | None
    best: bool = False
    under: tuple[str, ...] = ()
    note: int | None = None
    elsewhere: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One run in a table; ``failed`` of its ``n`` captions failed."""

    run: StoredRun
    about: About
    n: int
    failed: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Runs that are comparable column by column; ``apart`` are signature fields that differ from the first table."""

    number: int
    n: int
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    ranking: Column | None
    apart: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def controls(self) -> list[str]:
        """Names of the control rows, the wrong-image floor first."""
        names = {name for column in self.columns for name in column.controls}
        return sorted(names, key=controls.order)


@dataclass(frozen=True, slots=True)
class TaskBoard:
    """All tables of a task, and the metrics that no run has: (metric, reason, runs; empty for all runs)."""

    task: str
    runs: tuple[StoredRun, ...]
    tables: tuple[Table, ...]
    absent: tuple[tuple[str, str, tuple[str, ...]], ...]


def rank(standing: Standing) -> str:
    """``2`` or ``2–4``."""
    low, high = standing.rank
    return f"{low}" if low == high else f"{low}–{high}"


def board(task: str, runs: Sequence[StoredRun], draws: int = stats.DRAWS) -> TaskBoard:
    """The tables of one task's runs."""
    sets = {run: frozenset(run.per_sample) for run in runs}
    together = _together(list(groups(runs, draws)), runs, sets)
    where = {
        (standing.run, group.metric): number
        for number, (_, members) in enumerate(together, start=1)
        for group in members
        for standing in group.standings
    }
    placed = {standing.run for _, members in together for group in members for standing in group.standings}
    tables = list[Table]()
    for number, (apart, members) in enumerate(together, start=1):
        in_table = {standing.run for group in members for standing in group.standings}
        shown = [run for run in runs if run in in_table or (number == 1 and run not in placed)]
        tables.append(_table(number, apart, _columns(members), shown, where))
    return TaskBoard(task, tuple(runs), tuple(tables), _absent(runs, {metric for _, metric in where}))


def _together(
    candidates: Sequence[Group], runs: Sequence[StoredRun], sets: Mapping[StoredRun, frozenset[str]]
) -> list[tuple[tuple[str, ...], list[Group]]]:
    """Groups per table with the differing signature fields; the first table first, then by size."""
    counted = Counter(sets[run] for run in runs if sets[run])
    most = max(counted, key=lambda ids: (counted[ids], len(ids)), default=frozenset[str]())
    usual = dict[str, str]()  # signature of the first table, by metric
    for group in candidates:  # largest first within a metric
        if sets[group.standings[0].run] == most:
            usual.setdefault(group.metric, group.signature)
    split = defaultdict[tuple[frozenset[str], tuple[str, ...]], list[Group]](list)
    for group in candidates:
        ids = sets[group.standings[0].run]
        apart = signature.differences(_reference(group, usual), group.signature)
        split[ids, tuple(apart if apart or ids == most else ["samples: those of the first table / others"])].append(
            group
        )
    first = split.pop((most, ()), [])
    further = sorted(
        split.items(), key=lambda item: (-max(len(g.standings) for g in item[1]), item[0][1], min(item[0][0]))
    )
    return [((), first), *((apart, below) for (_, apart), below in further)]


def _reference(group: Group, usual: Mapping[str, str]) -> str:
    """The signature to compare with; for a metric that the first table lacks, its own with that n and task."""
    if group.metric in usual or not usual:
        return usual.get(group.metric, group.signature)
    shared, fields = signature.read(next(iter(usual.values()))), signature.read(group.signature)
    merged = {name: shared.get(name, value) if name in ("n", "task") else value for name, value in fields.items()}
    del merged["metric"]
    return signature.render(group.metric, merged)


def _columns(members: Sequence[Group]) -> tuple[Column, ...]:
    return tuple(
        Column(g, registry.metric(g.metric).value(g.value).main, _controls(g))
        for g in sorted(members, key=lambda g: order(g.metric))
    )


def _controls(group: Group) -> dict[str, tuple[float, float]]:
    seen = defaultdict[str, list[float]](list)
    for standing in group.standings:
        for name, control in standing.run.scores[group.metric]["controls"].items():
            seen[name].append(control["values"][group.value])
    return {name: (min(values), max(values)) for name, values in seen.items()}


def _table(
    number: int,
    apart: tuple[str, ...],
    columns: tuple[Column, ...],
    runs: Sequence[StoredRun],
    where: Mapping[tuple[StoredRun, str], int],
) -> Table:
    ranking = min(
        (column for column in columns if column.ranked and column.main),
        key=lambda column: -len(column.group.standings),
        default=None,
    )
    at = {standing.run: place for place, standing in enumerate(ranking.group.standings)} if ranking else {}
    notes, lines = dict[str, int](), list[Line]()
    for run in sorted(runs, key=lambda run: (at.get(run, len(at)), run.model)):
        failed = max((row["n_failed"] for row in run.scores.values() if not row.get("not_computed")), default=0)
        cells = tuple(_cell(column, run, where, notes) for column in columns)
        lines.append(Line(run, about(run), len(run.per_sample), failed, cells))
    n = max((line.n for line in lines), default=0)
    return Table(number, n, columns, tuple(lines), ranking, apart, tuple(notes))


def _cell(column: Column, run: StoredRun, where: Mapping[tuple[StoredRun, str], int], notes: dict[str, int]) -> Cell:
    group = column.group
    standing = next((candidate for candidate in group.standings if candidate.run is run), None)
    if standing is not None:
        best = column.ranked and standing.rank[0] == 1 and len(group.standings) > 1
        highest = registry.metric(group.metric).best(group.value)
        under = controls.under(run.scores[group.metric], group.value, column.value.higher_is_better, highest)
        return Cell(standing, best, under)
    if (run, group.metric) in where:
        return Cell(None, elsewhere=where[run, group.metric])
    row = run.scores.get(group.metric)
    if row is not None:
        text = f"{group.metric} not computed: {row['not_computed']}"
    else:
        text = f"{group.metric} not scored: run `cim score --model RUN --task {run.task} --metrics {group.metric}`"
    return Cell(None, note=notes.setdefault(text, len(notes) + 1))


def _absent(runs: Sequence[StoredRun], computed: set[str]) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    reasons = defaultdict[tuple[str, str], list[str]](list)
    for run in runs:
        for name, row in run.scores.items():
            if row.get("not_computed") and name not in computed:
                reasons[name, str(row["not_computed"])].append(run.model)
    n = len(runs)
    return tuple(
        (name, reason, tuple(names) if len(names) < n else ())
        for (name, reason), names in sorted(reasons.items(), key=lambda item: (order(item[0][0]), item[0][1]))
    )
