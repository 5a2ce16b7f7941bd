"""Elements of a report: sections of remarks, tables and figures, and the formatting of numbers.

``page.py`` writes them as HTML and Markdown. A missing number is ``undefined`` or a dash, never NaN.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

UNDEFINED, NONE = "undefined", "–"
NUMERIC = re.compile(rf"[<+−-]? ?\d|\[|$|{NONE}$|{UNDEFINED}|too few|extrapolated")


@dataclass(frozen=True, slots=True)
class Remark:
    """A paragraph of plain text; ``lead``: the sentence that answers the section's question."""

    text: str
    lead: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first column names the rows; ``note`` explains the cells and gives sample sizes."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    folded: bool = False

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers, and are aligned to the right."""
        return tuple(all(NUMERIC.match(row[at]) for row in self.rows) for at in range(len(self.head)))


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart as SVG and PNG; ``name`` is the stem of its files, ``caption`` gives content and sample sizes."""

    name: str
    svg: bytes
    png: bytes
    caption: str
    alt: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Missing data, and the command that produces it."""

    what: str
    command: str


Part = Remark | Table | Figure | Missing


@dataclass(frozen=True, slots=True)
class Section:
    """One question and the answer of the stored runs; ``numbers`` are its key numbers for ``--json``.

    ``folded``: why it is opened on demand only.
    """

    name: str
    title: str
    parts: tuple[Part, ...]
    numbers: Mapping[str, Any] = field(default_factory=dict)
    folded: str = ""

    @property
    def missing(self) -> list[Missing]:
        """What of it is not stored."""
        return [part for part in self.parts if isinstance(part, Missing)]

    @property
    def empty(self) -> bool:
        """Whether it has neither a table nor a chart."""
        return not any(isinstance(part, Table | Figure) for part in self.parts)


def number(value: float | None, digits: int = 2) -> str:
    """A number, or ``undefined``."""
    return UNDEFINED if value is None else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 2) -> str:
    """A difference with its sign, or ``undefined``; no sign if it rounds to 0."""
    if value is None:
        return UNDEFINED
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def bounds(pair: Sequence[float] | None, digits: int = 2) -> str:
    """An interval in brackets, without line breaks, or ``undefined``."""
    return UNDEFINED if pair is None else f"[{number(pair[0], digits)},\u00a0{number(pair[1], digits)}]"


def p_text(value: float | None) -> str:
    """A p value, or a bound if it is small."""
    if value is None:
        return UNDEFINED
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
