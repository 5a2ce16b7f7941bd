"""Cells that follow from others: averages, sums, differences, quotients, rows of totals (A-16).

The parts are intervals, that of all numbers which are printed like them; the cell is possible if its own interval meets
the one computed. So it holds for a cell computed before rounding as for one computed from the printed parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

from leaderboards.audit.record import FAILS, HOLDS, Check, rounded
from leaderboards.printed.finding import IMPOSSIBLE, Finding
from leaderboards.printed.kinds import DERIVED, Kind
from leaderboards.printed.sheet import Cell, Row, Sheet

Interval = tuple[Fraction, Fraction]


def follows(sheet: Sheet) -> Check | None:
    """A-16; None where no column or row is said to follow from others."""
    cases = [*_columns(sheet), *_totals(sheet)]
    if not cases:
        return None
    findings = tuple(finding for finding in cases if finding is not None)
    return Check(
        id="A-16",
        what="Averages, sums, differences and quotients follow from their cells",
        inputs={"cells": len(cases)},
        formula="the cell's interval meets that of the formula over the intervals of its parts",
        tolerance="half a unit of the last digit of every cell, exact fractions",
        claimed="every such cell follows",
        recomputed={"faults": [str(finding) for finding in findings]},
        verdict=FAILS if findings else HOLDS,
        found=f"{len(cases) - len(findings)} of {len(cases)} cells follow from others",
        details=tuple(map(str, findings)),
        findings=findings,
    )


def _columns(sheet: Sheet) -> Iterator[Finding | None]:
    for column, kind in sheet.of_kind(*DERIVED).items():
        for row in sheet.rows:
            parts = _parts(sheet, row, kind)
            if column in row.cells and parts and row.system != kind.over:
                yield _compared(sheet, row, column, kind, parts)


def _parts(sheet: Sheet, row: Row, kind: Kind) -> list[Cell]:
    """The cells that a cell follows from; empty if one of them is not printed."""
    places = [(row, part) for part in kind.parts]
    if kind.over:
        base = next((other for other in sheet.rows if (other.system, other.group) == (kind.over, row.group)), None)
        places = [(row, kind.parts[0]), (base, kind.parts[0])] if base else []
    return [r.cells[c] for r, c in places] if all(c in r.cells for r, c in places) else []


def _compared(sheet: Sheet, row: Row, column: str, kind: Kind, parts: Sequence[Cell]) -> Finding | None:
    cell, formula = row.cells[column], OF[kind.name]
    interval = formula([(part.low, part.high) for part in parts])
    if interval is None or (cell.low <= interval[1] and cell.high >= interval[0]):
        return None
    exact = formula([(part.value, part.value) for part in parts])
    texts = SIGNS[kind.name].join(f"({part.text})" if part.value < 0 else part.text for part in parts)
    texts = f"({texts})/{len(parts)}" if kind.name == "average" else texts
    arithmetic = f"{texts} = {rounded(exact[0], cell.places + 2)}" if exact else texts
    explanation = _explained(sheet, row, column, kind, parts)
    return row.finding(IMPOSSIBLE, column, arithmetic, explanation)


def _average(parts: Sequence[Interval]) -> Interval:
    low, high = _sum(parts)
    return low / len(parts), high / len(parts)


def _sum(parts: Sequence[Interval]) -> Interval:
    return sum((low for low, _ in parts), Fraction(0)), sum((high for _, high in parts), Fraction(0))


def _difference(parts: Sequence[Interval]) -> Interval:
    (low, high), (low_other, high_other) = parts
    return low - high_other, high - low_other


def _quotient(parts: Sequence[Interval]) -> Interval | None:
    (low, high), (low_other, high_other) = parts
    return (low / high_other, high / low_other) if low_other > 0 and low >= 0 else None


OF: dict[str, Callable[[Sequence[Interval]], Interval | None]] = {
    "average": _average,
    "sum": _sum,
    "difference": _difference,
    "gain": _difference,
    "quotient": _quotient,
}
SIGNS = {"average": " + ", "sum": " + ", "difference": " - ", "gain": " - ", "quotient": " / "}


def _explained(sheet: Sheet, row: Row, column: str, kind: Kind, parts: Sequence[Cell]) -> str:
    """What else the cell may be: an average weighted by n, or one part with another value."""
    cell = row.cells[column]
    if kind.name == "average" and all(part in sheet.columns for part in kind.parts):
        counts = [sheet.n(part, row) or 0 for part in kind.parts]
        if all(counts) and len(set(counts)) > 1:
            ends = [sum(n * x for n, x in zip(counts, xs, strict=True)) / sum(counts) for xs in _ends(parts)]
            if cell.low <= ends[1] and cell.high >= ends[0]:
                return "it is the average weighted by n"
    if kind.name not in ("average", "sum"):
        return ""
    total = cell.value * (len(parts) if kind.name == "average" else 1)
    whole = sum(part.value for part in parts)
    needed = ((name, total - whole + part.value) for name, part in zip(kind.parts, parts, strict=True))
    fitting = [f"{name} {rounded(x, cell.places)}" for name, x in needed if 0 <= x <= 10 * sheet.hundred]
    return f"it would follow from {' or '.join(fitting)} alone" if fitting else ""


def _ends(parts: Sequence[Cell]) -> tuple[list[Fraction], list[Fraction]]:
    return [part.low for part in parts], [part.high for part in parts]


def _totals(sheet: Sheet) -> Iterator[Finding | None]:
    """Rows of totals: sums of counts, or averages of everything, over the systems of their group."""
    for row in (row for row in sheet.rows if row.system in sheet.totals):
        how = sheet.totals[row.system]
        others = [other for other in sheet.systems if other.group == row.group]
        for column in row.cells:
            kind = sheet.columns[column]
            summed = kind is not None and kind.name == "count"
            parts = [other.cells[column] for other in others if column in other.cells]
            derived = kind is not None and kind.name in DERIVED
            if 1 < len(parts) == len(others) and (summed if how == "sum" else not derived):
                yield _compared(sheet, row, column, Kind(how, parts=tuple(other.system for other in others)), parts)
