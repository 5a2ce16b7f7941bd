"""A table as CSV in the paper's layout: per system a published line, then lines of the run's numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

from leaderboards import escape
from leaderboards.published import KEYS
from leaderboards.tables import legend
from leaderboards.tables.paper import Cell, Line, Ours, Table

Shown = Callable[[Cell], str]


def page(table: Table) -> str:
    """Header, then lines; empty lines of a system are left out."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*KEYS, "line", *table.columns])
    writer.writerow(["", "", "", "", "metric", *(legend.metric(column) for column in table.columns)])
    for block in table.blocks:
        for line in block.lines:
            row = line.row
            keys = [str(row.table), row.base, row.benchmark, row.method]
            for name, shown in _lines(line, table).items():
                cells = [shown(cell) for cell in line.cells.values()]
                if any(cells):
                    writer.writerow([*map(escape.sheet, keys), name, *cells])
    return text.getvalue()


def _lines(line: Line, table: Table) -> dict[str, Shown]:
    return {
        "published": lambda cell: "" if cell.published is None else str(cell.published),
        "published marks": lambda cell: " ".join(legend.states(cell)),
        legend.OURS: _of_ours(lambda ours: str(ours.value)),
        "low": _of_ours(lambda ours: str(ours.ci95[0]) if ours.ci95 else ""),
        "high": _of_ours(lambda ours: str(ours.ci95[1]) if ours.ci95 else ""),
        "difference": _of_ours(lambda ours: str(ours.difference)),
        "published outside interval": _of_ours(lambda ours: "yes" if ours.outside else "no"),
        "p to first row, Holm": _of_ours(lambda ours: "" if ours.p is None else f"{ours.p:.4g}"),
        "best": lambda cell: " ".join(
            ["published"] * cell.best + [legend.OURS] * bool(cell.ours and cell.ours.best),
        ),
        "signature": _of_ours(lambda ours: escape.sheet(ours.signature)),
        "run": _of_ours(lambda _: escape.sheet(line.link or "")),
        "command": lambda cell: escape.sheet(table.fills[cell.fill - 1]) if cell.fill else "",
    }


def _of_ours(shown: Callable[[Ours], str]) -> Shown:
    return lambda cell: shown(cell.ours) if cell.ours else ""
