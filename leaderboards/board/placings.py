"""Where a run stands in each value: its rank, and its paired differences to the best run and to its base."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.pages.scores import Placing
from harness.runs import stats
from harness.runs.stored_run import StoredRun
from leaderboards.board.tables import Column, TaskBoard, rank
from leaderboards.standings import Standing


@dataclass(frozen=True, slots=True)
class Lead:
    """The best run of a column, the next one, and the paired difference between them as text."""

    best: Standing
    next: Standing | None
    gap: str
    significant: bool


def lead(column: Column) -> Lead:
    """Who is first, and by how much; the next run's rank begins with 2 where the first is significantly better."""
    best, *others = column.group.standings
    if not others:
        return Lead(best, None, "", False)
    return Lead(best, others[0], _difference(column, best, others[0]), others[0].rank[0] > 1)


def placings(board: TaskBoard, run: StoredRun, base: StoredRun | None) -> dict[tuple[str, str], Placing]:
    """By metric and value."""
    return {
        (column.group.metric, column.group.value): _placing(column, standing, base)
        for column, standing in _standings(board, run)
    }


def _standings(board: TaskBoard, run: StoredRun) -> Iterator[tuple[Column, Standing]]:
    for table in board.tables:
        for line in table.lines:
            for column, cell in zip(table.columns, line.cells, strict=True):
                if line.run is run and cell.standing is not None:
                    yield column, cell.standing


def _placing(column: Column, standing: Standing, base: StoredRun | None) -> Placing:
    standings = column.group.standings
    first = standings[0]
    of_base = next((candidate for candidate in standings if candidate.run is base), None)
    alone = not column.ranked or len(standings) == 1
    return Placing(
        rank=f"{rank(standing)} of {len(standings)}" if column.ranked else "",
        to_best="" if alone else "best" if standing is first else _difference(column, standing, first),
        to_base=_difference(column, standing, of_base) if of_base else "",
    )


def _difference(column: Column, standing: Standing, other: Standing) -> str:
    """Paired difference to another run with its confidence interval, on the group's shared resamples."""
    low, high = stats.interval(standing.resamples - other.resamples)
    difference, low, high = (
        f"{'' if number < 0 else '+'}{column.text(number)}" for number in (standing.point - other.point, low, high)
    )
    return f"{difference} ({low} to {high})"
