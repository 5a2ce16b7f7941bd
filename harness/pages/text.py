"""Tables of plain text, as wide as their content: no cell is cut or folded; columns that do not fit are named."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

Rows = Sequence[Sequence[str]]
GAP = "  "
ARROWS = {True: "↑", False: "↓", None: ""}  # by ``higher_is_better``


def screen_width() -> int | None:
    """Columns of standard output: ``$COLUMNS``, else the terminal's; None for a pipe or a file, which have no limit."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns) > 0:
        return int(columns)
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def aligned(rows: Rows) -> list[str]:
    """Rows of cells as lines; each column is as wide as its widest cell, and all but the first flush right."""
    widths = _widths(rows)
    return [
        GAP.join(cell.rjust(width) if at else cell.ljust(width) for at, (cell, width) in enumerate(line)).rstrip()
        for line in (list(zip(row, widths, strict=True)) for row in rows)
    ]


def fitted(rows: Rows, width: int | None, keep: int) -> tuple[list[str], list[str]]:
    """The table in a width, as lines, and the headings of the columns left out for it, from the right.

    Args:
        rows: the headings, then rows of as many cells.
        width: in characters; None is any.
        keep: leading columns that stay. Where they are too wide, the first cell of each row, its label, stands on a
            line of its own above the others, of which the first stays.
    """
    labels, numbers = [row[0] for row in rows], [row[1:] for row in rows]
    if width is None or _width([row[:keep] for row in rows]) <= width:
        count = _fitting(rows, width, keep)
        return aligned([row[:count] for row in rows]), [cell.strip() for cell in rows[0][count:]]
    indented = [("", *row) for row in numbers]
    count = _fitting(indented, width, 2)
    below = aligned([row[:count] for row in indented])
    lines = [line for pair in zip(labels, below, strict=True) for line in (pair if any(pair) else ("",))]
    return lines, [cell.strip() for cell in rows[0][count:]]


def wrapped(lines: Iterable[str], width: int | None) -> list[str]:
    """Sentences in a width, broken between words only."""
    if width is None:
        return list(lines)
    wrap = textwrap.TextWrapper(width, break_long_words=False, break_on_hyphens=False)
    return [part for line in lines for part in wrap.wrap(line) or [""]]


def _fitting(rows: Rows, width: int | None, keep: int) -> int:
    """How many leading columns fit, ``keep`` at least."""
    counts = range(len(rows[0]), keep, -1)
    return next((count for count in counts if width is None or _width([row[:count] for row in rows]) <= width), keep)


def _widths(rows: Rows) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _width(rows: Rows) -> int:
    widths = _widths(rows)
    return sum(widths) + len(GAP) * (len(widths) - 1)
