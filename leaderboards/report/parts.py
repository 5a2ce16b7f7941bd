"""What a report is made of: sections of remarks, tables and figures, and how a number stands in them.

Statistics fill these, ``page.py`` writes them as HTML and Markdown. A number that does not exist is ``undefined`` or
a dash, never NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

UNDEFINED, NONE = "undefined", "–"


@dataclass(frozen=True, slots=True)
class Remark:
    """A paragraph of plain text."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first column names its rows; ``note`` says what the cells are and how many things they stand on."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture as SVG and PNG; ``name`` is the stem of its files, ``caption`` says what and of how many."""

    name: str
    svg: bytes
    png: bytes
    caption: str
    alt: str


@dataclass(frozen=True, slots=True)
class Missing:
    """What a section lacks, and the command that makes it."""

    what: str
    command: str


Part = Remark | Table | Figure | Missing


@dataclass(frozen=True, slots=True)
class Section:
    """One question and what the stored runs say to it; ``numbers`` are its key numbers for ``--json``."""

    name: str
    title: str
    parts: tuple[Part, ...]
    numbers: Mapping[str, Any] = field(default_factory=dict)


def number(value: float | None, digits: int = 2) -> str:
    """A number, or ``undefined``."""
    return UNDEFINED if value is None else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 2) -> str:
    """A difference with its sign, or ``undefined``; one that rounds to 0 has none."""
    if value is None:
        return UNDEFINED
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def bounds(pair: Sequence[float] | None, digits: int = 2) -> str:
    """An interval in brackets, never broken over lines, or ``undefined``."""
    return UNDEFINED if pair is None else f"[{number(pair[0], digits)},\u00a0{number(pair[1], digits)}]"


def p_text(value: float | None) -> str:
    """A p value; a small one as a bound."""
    if value is None:
        return UNDEFINED
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
