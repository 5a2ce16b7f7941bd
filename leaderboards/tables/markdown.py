"""The tables as one Markdown page; our numbers link to their runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leaderboards.markdown import code, escaped, table_lines
from leaderboards.tables import legend
from leaderboards.tables.legend import DIFFERENCE, INTERVAL, MARKS, OURS, PUBLISHED
from leaderboards.tables.paper import Cell, Line, Table


def page(tables: Sequence[Table], source: Mapping[str, str]) -> str:
    """The whole page."""
    parts = [
        "# The paper's Tables 6, 7 and 8, published and as run here",
        *legend.NOTES,
        _marks(),
        legend.credit(source),
    ]
    for table in tables:
        parts += [f"## Table {table.number}: {escaped(table.title)}", "\n".join(_table(table))]
        if table.signatures:
            lines = [f"* {escaped(where)}: {code(line)}" for where, line in table.signatures]
            parts.append("\n".join(["Signatures of the columns of this project's runs:", "", *lines]))
        if table.notes:
            parts.append("\n".join(f"* {letter}: {escaped(text)}" for letter, text in table.notes))
        if table.fills:
            lines = [f"{number}. {code(text)}" for number, text in enumerate(table.fills, start=1)]
            parts.append("\n".join([legend.MISSING, "", *lines]))
    return "\n\n".join(parts) + "\n"


def _marks() -> str:
    return "\n".join(f"* {_mark(name)} {text}" for name, text in legend.LEGEND.items())


def _table(table: Table) -> list[str]:
    head = ["system", "", *(legend.heading(column) for column in table.columns)]
    rows = [["", "", *(f"`{legend.metric(column)}`" for column in table.columns)]]
    for block in table.blocks:
        rows.append([f"**{escaped(block.title)}**", *[""] * (1 + len(table.columns))])
        rows += [row for line in block.lines for row in _system(line)]
    return table_lines(head, rows, left=2)


def _system(line: Line) -> list[list[str]]:
    cells = line.cells.values()
    rows = [[escaped(line.label), PUBLISHED, *map(_published, cells)]]
    if any(cell.ours for cell in cells):
        rows.append(["", OURS, *(_ours(cell, line.link) for cell in cells)])
        rows.append(["", INTERVAL, *(_interval(cell) for cell in cells)])
        rows.append(["", DIFFERENCE, *(f"{c.ours.difference:+.2f}" if c.ours else "" for c in cells)])
    return rows


def _published(cell: Cell) -> str:
    if cell.published is None:
        return ""
    text = f"**{cell.published}**" if cell.best else str(cell.published)
    return text + "".join(map(_mark, legend.states(cell)))


def _ours(cell: Cell, link: str | None) -> str:
    if cell.ours is None:
        return f"({cell.fill})" if cell.fill else ""
    text = f"**{cell.ours.value}**" if cell.ours.best else str(cell.ours.value)
    return f"[{text}]({escaped(link or '')})" + "".join(map(_mark, legend.said(cell.ours))) + cell.ours.letter


def _interval(cell: Cell) -> str:
    return f"{cell.ours.ci95[0]} to {cell.ours.ci95[1]}" if cell.ours and cell.ours.ci95 else ""


def _mark(name: str) -> str:
    return "\\*" if MARKS[name] == "*" else MARKS[name]
