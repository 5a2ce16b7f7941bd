"""A table as LaTeX for booktabs and hyperref; commands that fill empty cells are in comments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from leaderboards import escape
from leaderboards.tables import legend
from leaderboards.tables.legend import DIFFERENCE, INTERVAL, OURS, PUBLISHED
from leaderboards.tables.paper import Cell, Line, Table

MARKS = {"suspect": r"\ddagger", "unusual": r"\circ", "outside": "*", "apart": r"\dagger"}


def page(table: Table, source: Mapping[str, str]) -> str:
    """One table for ``\\input``; needs packages booktabs and hyperref."""
    width = 2 + len(table.columns)
    heads = [_head(column) for column in table.columns]
    notes = " ".join(map(escape.latex, legend.NOTES))
    caption = f"{escape.latex(table.title)}. {notes} {_marks()} {escape.latex(legend.credit(source))}"
    lines = [
        r"% \usepackage{booktabs,hyperref}",
        r"\begin{table*}\centering\scriptsize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{caption}}}",
        rf"\begin{{tabular}}{{ll{'r' * len(table.columns)}}}",
        r"\toprule",
        " & ".join(["", "", *(name for name, _ in heads)]) + r" \\",
        " & ".join(["", "", *(rf"\texttt{{{name}}}" for _, name in heads)]) + r" \\",
    ]
    for block in table.blocks:
        lines += [r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{\textit{{{escape.latex(block.title)}}}}} \\"]
        for line in block.lines:
            lines += _system(line, table)
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par {letter}: {escape.latex(text)}" for letter, text in table.notes]
    lines += [
        r"\end{table*}",
        *(f"% made by: {where}: {escape.one_line(line)}" for where, line in table.signatures),
    ]
    return "\n".join(lines) + "\n"


def _head(column: str) -> tuple[str, str]:
    return escape.latex(legend.heading(column)), escape.latex(legend.metric(column))


def _marks() -> str:
    return " ".join(f"$^{{{MARKS[name]}}}$: {escape.latex(text)}." for name, text in legend.LEGEND.items())


def _system(line: Line, table: Table) -> Iterator[str]:
    cells = list(line.cells.values())
    yield " & ".join([escape.latex(line.label), PUBLISHED, *map(_published, cells)]) + r" \\"
    if line.fill:
        yield f"% to fill this system's cells: {escape.one_line(table.fills[line.fill - 1])}"
    if any(cell.ours for cell in cells):
        yield " & ".join(["", OURS, *(_ours(cell, line.link) for cell in cells)]) + r" \\"
        yield " & ".join(["", escape.latex(INTERVAL), *map(_interval, cells)]) + r" \\"
        yield " & ".join(["", DIFFERENCE, *(f"${c.ours.difference:+.2f}$" if c.ours else "" for c in cells)]) + r" \\"


def _published(cell: Cell) -> str:
    if cell.published is None:
        return ""
    return bold(str(cell.published), cell.best) + raised(MARKS[name] for name in legend.states(cell))


def _ours(cell: Cell, link: str | None) -> str:
    if cell.ours is None:
        return "--" if cell.fill else ""
    text = rf"\href{{{_address(link or '')}}}{{{bold(str(cell.ours.value), cell.ours.best)}}}"
    return text + raised([*(MARKS[name] for name in legend.said(cell.ours)), *cell.ours.letter])


def _interval(cell: Cell) -> str:
    return f"[{cell.ours.ci95[0]}, {cell.ours.ci95[1]}]" if cell.ours and cell.ours.ci95 else ""


def bold(text: str, best: bool) -> str:
    """Text in bold where it is best."""
    return rf"\textbf{{{text}}}" if best else text


def raised(marks: Iterator[str] | list[str]) -> str:
    """Marks of mathematics, raised."""
    joined = "".join(marks)
    return f"$^{{{joined}}}$" if joined else ""


def _address(link: str) -> str:
    """A link escaped for hyperref inside another command."""
    return "".join(f"\\{letter}" if letter in "%#&_" else letter for letter in link)
