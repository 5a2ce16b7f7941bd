"""A table of runs as plain text, Markdown, LaTeX, CSV, JSON and a page of HTML; names are escaped in each."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness import errors
from harness.pages import templates, text
from harness.pages.scores import MISSING
from harness.runs.compare import ALPHA
from leaderboards import escape, markdown
from leaderboards.table.grid import Cell, Column, Table, cells
from leaderboards.tables.latex import bold, raised

HERE = Path(__file__).parent
LATEX_ARROWS = {True: r"$\uparrow$", False: r"$\downarrow$", None: ""}
DAGGER = "†"


def plain(table: Table, interval: bool, width: int | None = None) -> str:
    """Text in a width; columns that do not fit are named below it."""
    columns = [[_heading(table, column), *_plain_cells(table, column, interval)] for column in table.columns]
    rows = list(zip(["run", *map(errors.one_line, table.rows)], *columns, strict=True))
    lines, left_out = text.fitted(rows, width, 2)
    missing = [f"left out for width: {', '.join(left_out)}; --wide, or --json, shows all"] if left_out else []
    notes = [*missing, *(f"{letter}: {note}" for letter, note in table.letters.items()), *caption(table, interval, "*")]
    return "\n".join([*lines, *text.wrapped(map(errors.one_line, notes), width)]) + "\n"


def _plain_cells(table: Table, column: Column, interval: bool) -> list[str]:
    """Cells whose numbers stand below each other: the marks of each are as wide as the widest."""
    shown = [column.cells.get(name) for name in table.rows]
    marks = [f"{'*' * cell.best}{DAGGER * cell.differs}{cell.note}" if cell else "" for cell in shown]
    widest = max(map(len, marks))
    return [
        f"{column.value.text(cell.number) if cell else MISSING}{mark:<{widest}}{_interval(column, cell, interval)}"
        for cell, mark in zip(shown, marks, strict=True)
    ]


def _markdown(table: Table, interval: bool) -> str:
    head = ["run", *(markdown.escaped(_heading(table, column)) for column in table.columns)]
    rows = [
        [
            markdown.escaped(name),
            *(_markdown_cell(column, column.cells.get(name), interval) for column in table.columns),
        ]
        for name in table.rows
    ]
    notes = [f"{letter}: {markdown.escaped(note)}" for letter, note in table.letters.items()]
    below = [*map(markdown.escaped, caption(table, interval, "Bold")), *notes]
    return "\n".join([*markdown.table_lines(head, rows), "", "  \n".join(below)]) + "\n"


def _markdown_cell(column: Column, cell: Cell | None, interval: bool) -> str:
    if cell is None:
        return MISSING
    number = column.value.text(cell.number)
    marks = DAGGER * cell.differs + (f"<sup>{cell.note}</sup>" if cell.note else "")
    return f"{f'**{number}**' if cell.best else number}{marks}{_interval(column, cell, interval)}"


def _latex(table: Table, interval: bool) -> str:
    """One table for ``\\input``; needs package booktabs."""
    heads = [f"{escape.latex(c.value.label)} {LATEX_ARROWS[c.value.higher_is_better]}".rstrip() for c in table.columns]
    rows = [
        " & ".join(
            [escape.latex(name), *(_latex_cell(column, column.cells.get(name), interval) for column in table.columns)]
        )
        for name in table.rows
    ]
    words = " ".join(map(escape.latex, caption(table, interval, "Bold"))).replace(DAGGER, r"$^\dagger$")
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}\centering",
        rf"\caption{{{words}}}",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        *(_latex_groups(table) if len(table.groups) > 1 else []),
        " & ".join(["", *heads]) + r" \\",
        r"\midrule",
        *(rf"{row} \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par {letter}: {escape.latex(note)}" for letter, note in table.letters.items()),
        r"\end{table}",
        *(
            f"% made by: {errors.one_line(name)}: {errors.one_line(_signature(c, cell))}"
            for name, c, cell in cells(table)
        ),
    ]
    return "\n".join(lines) + "\n"


def _latex_groups(table: Table) -> list[str]:
    heads, rules, at = [""], list[str](), 2
    for task, columns in table.groups:
        heads.append(rf"\multicolumn{{{columns}}}{{c}}{{{escape.latex(task)}}}")
        rules.append(rf"\cmidrule(lr){{{at}-{at + columns - 1}}}")
        at += columns
    return [" & ".join(heads) + r" \\", " ".join(rules)]


def _latex_cell(column: Column, cell: Cell | None, interval: bool) -> str:
    if cell is None:
        return "--"
    marks = [*[r"\dagger"] * cell.differs, *cell.note]
    between = _interval(column, cell, interval)
    number = bold(column.value.text(cell.number), cell.best) + raised(marks)
    return rf"{number}{{\scriptsize{between}}}" if between else number


def _csv(table: Table, interval: bool) -> str:
    """One row per number, in full; intervals always."""
    written = io.StringIO()
    rows = records(table)
    writer = csv.DictWriter(written, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: escape.sheet(field) if isinstance(field, str) else field for key, field in row.items()})
    return written.getvalue()


def records(table: Table) -> list[dict[str, Any]]:
    """One record per number, row by row, numbers in full."""
    return [
        {
            "row": name,
            "task": column.task,
            "run": cell.run.model,
            "metric": column.value.metric,
            "value": column.value.value,
            "score": cell.number,
            "ci95_low": cell.ci95[0] if cell.ci95 else None,
            "ci95_high": cell.ci95[1] if cell.ci95 else None,
            "n": cell.run.scores[column.value.metric]["n"],
            "n_failed": cell.run.scores[column.value.metric]["n_failed"],
            "higher_is_better": column.value.higher_is_better,
            "best": cell.best,
            "compared_with": cell.compared_with,
            "p_permutation_holm": cell.p,
            "not_compared": table.letters.get(cell.note),
            "signature": _signature(column, cell),
        }
        for name, column, cell in cells(table)
    ]


def document(table: Table) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {"rows": list(table.rows), "against": table.against, "cells": records(table)}


def _html(table: Table, interval: bool) -> str:
    """One self-contained page without scripts."""
    content = {
        "table": table,
        "caption": caption(table, interval, "Bold"),
        "arrows": text.ARROWS,
        "between": lambda column, cell: _interval(column, cell, interval),
        "signature": _signature,
        "missing": MISSING,
        "dagger": DAGGER,
    }
    return templates.page(HERE, "table.html", styles=[HERE / "table.css"], content=content)


def caption(table: Table, interval: bool, best: str) -> list[str]:
    """Sentences that say what the marks mean, on how many images, and whose captions failed."""
    shown = [cell for *_, cell in cells(table)]
    sentences = list[str]()
    if any(cell.best for cell in shown):
        sentences.append(f"{best}: best of a column.")
    if any(cell.p is not None for cell in shown):
        other = f"from {table.against}" if table.against else "from the best"
        rule = f"paired permutation test over images, p < {ALPHA:g} after Holm's correction over the column"
        sentences.append(f"{DAGGER}: significantly different {other} ({rule}).")
    if interval:
        sentences.append("In brackets: 95 % confidence interval, bootstrap over images.")
    for task, _ in table.groups:
        scored = [(name, cell.run.scores[c.value.metric]) for name, c, cell in cells(table) if c.task == task]
        sizes = sorted({run.n_images for run in {cell.run for _, c, cell in cells(table) if c.task == task}})
        sentences.append(f"{task}: n = {' or '.join(map(str, sizes))} images.")
        failed = {name: score["n_failed"] for name, score in scored if score["n_failed"]}
        sentences += [f"{name} on {task}: {count} failed captions count as empty." for name, count in failed.items()]
    return sentences


def _heading(table: Table, column: Column) -> str:
    """The label of a value with its direction, after its task where there are several."""
    task = f"{column.task}: " if len(table.groups) > 1 else ""
    return errors.one_line(f"{task}{column.value.label} {text.ARROWS[column.value.higher_is_better]}".rstrip())


def _interval(column: Column, cell: Cell | None, interval: bool) -> str:
    """The interval after a space, where it is shown."""
    if not interval or cell is None or cell.ci95 is None:
        return ""
    return f" [{', '.join(map(column.value.text, cell.ci95))}]"


def _signature(column: Column, cell: Cell) -> str:
    return str(cell.run.scores[column.value.metric]["signature"])


OF: Mapping[str, Callable[[Table, bool], str]] = {
    "text": plain,
    "markdown": _markdown,
    "latex": _latex,
    "csv": _csv,
    "html": _html,
}
