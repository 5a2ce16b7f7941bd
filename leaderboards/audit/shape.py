"""Checks of single cells and of cells that repeat: range (A-1), one system in several rows (A-2), equal cells (A-6)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import combinations

from leaderboards.audit.record import FAILS, HOLDS, LISTED, Check, scientific, verdict
from leaderboards.printed.finding import IMPOSSIBLE, IMPROBABLE, Finding
from leaderboards.printed.kinds import DERIVED, METRICS, Kind
from leaderboards.printed.sheet import Cell, Row, Sheet

Bounds = tuple[Fraction | None, Fraction | None]
RARE = 1e-3  # expected number of such pairs of rows, below which their equal cells are no coincidence


def ranges(sheet: Sheet) -> Check:
    """A-1: every cell is a number that its kind allows."""
    findings = tuple(_out_of_range(sheet))
    cells = sum(len(row.cells) for row in sheet.rows)
    return Check(
        id="A-1",
        what="Every cell is a value that its column can have",
        inputs={"rows": len(sheet.rows), "cells": cells},
        formula="shares, P, R, F1, most metrics: 0 to the unit; correlations: both signs of it; counts: integers",
        tolerance="half a unit of the last digit",
        claimed=None,
        recomputed={"faults": [str(finding) for finding in findings]},
        verdict=FAILS if findings else HOLDS,
        found=f"{len(sheet.rows)} rows, {cells} cells, " + (f"{len(findings)} faults" if findings else "no fault"),
        details=tuple(map(str, findings)),
        findings=findings,
    )


def bounds(kind: Kind, hundred: int) -> Bounds:
    """The lowest and highest value of a kind, in the table's unit; None where there is none."""
    if kind.bounds:
        return kind.bounds
    if kind.name in ("net share", "correlation"):
        return Fraction(-hundred), Fraction(hundred)
    if kind.name in ("number", *DERIVED):
        return None, None
    if kind.name in ("count", "integers"):
        return Fraction(0), None
    most = METRICS.get(kind.name, 1)
    return Fraction(0), None if most is None else Fraction(most * hundred)


def _out_of_range(sheet: Sheet) -> Iterator[Finding]:
    for row in sheet.rows:
        for column, cell in row.cells.items():
            kind = sheet.columns[column]
            if kind is None:
                continue
            low, high = bounds(kind, sheet.hundred)
            if low is not None and cell.high < low:
                yield row.finding(IMPOSSIBLE, column, f"{kind.name} is at least {low}")
            elif high is not None and cell.low > high:
                yield row.finding(IMPOSSIBLE, column, f"{kind.name} is at most {high}")
            elif kind.name == "count" and cell.value.denominator != 1:
                yield row.finding(IMPOSSIBLE, column, "a count is an integer")


def agreement(sheet: Sheet) -> Check | None:
    """A-2: cells of one system and group that stand in several rows; None where each has one row."""
    places = defaultdict[str, list[Row]](list)
    for row in sheet.systems:
        places[row.label].append(row)
    pairs = [pair for same in places.values() for pair in combinations(same, 2)]
    if not pairs:
        return None
    findings, details, equal, agreeing = list[Finding](), list[str](), 0, 0
    for first, second in pairs:
        shared = [column for column in first.cells if column in second.cells]
        unequal = [column for column in shared if first.cells[column].value != second.cells[column].value]
        equal, agreeing = equal + len(shared) - len(unequal), agreeing + (not unequal)
        findings += [second.finding(IMPROBABLE, c, f"{first.cells[c].text} in line {first.line}") for c in unequal]
        texts = "".join(f"; {c} {first.cells[c].text} and {second.cells[c].text}" for c in unequal)
        details.append(
            f"{first.label}, lines {first.line} and {second.line}: {len(shared) - len(unequal)} cells equal{texts}"
        )
    return Check(
        id="A-2",
        what="Cells of one system that stand in several rows",
        inputs={"pairs": len(pairs), "shared cells": equal + len(findings)},
        formula="equal as decimals, per system and group",
        tolerance="none",
        claimed="one system has one value",
        recomputed={"details": details},
        verdict=verdict(agreeing, len(pairs) - agreeing),
        found=f"{equal} shared cells are equal, {len(findings)} differ",
        details=tuple(details),
        findings=tuple(findings),
    )


def distinct(rows: Sequence[Row]) -> list[Row]:
    """Rows, without those whose cells all repeat another row of the same system and group."""
    kept = list[Row]()
    for row in sorted(rows, key=lambda row: -len(row.cells)):
        values = _values(row).items()
        if not any(values <= _values(known).items() for known in kept if known.label == row.label):
            kept.append(row)
    return [row for row in rows if any(row is known for known in kept)]


def _values(row: Row) -> dict[str, Fraction]:
    return {column: cell.value for column, cell in row.cells.items()}


def repeated(sheet: Sheet, states: Mapping[tuple[str, str, str, Fraction], Sequence[str]]) -> Check:
    """A-6: equal cells of one system in two groups, and of different systems in one column of a group.

    Two such rows that share so many cells that chance would give under ``RARE`` such pairs are improbable.
    Chance: each column's values spread evenly over its range, and independent; real systems are closer than that.

    Args:
        states: marks of cells by A-4 and A-5.
    """
    alone = distinct(sheet.systems)
    spread = {column: _spread(alone, column) for column in sheet.columns}
    across, within, copies = list[str](), list[str](), list[Finding]()
    for first, second in combinations(alone, 2):
        same = [c for c in first.cells if c in second.cells and first.cells[c].value == second.cells[c].value]
        if first.group == second.group and first.system != second.system:
            within += [_equal(first, second, c, states) for c in same]
        elif first.system == second.system and first.group != second.group:
            across += [_equal(first, second, c, states) for c in same]
        else:
            continue
        copies += _copied(sheet, alone, first, second, same, spread)
    return Check(
        id="A-6",
        what="Repeated values",
        inputs={"distinct rows": len(alone), "columns": list(sheet.columns)},
        formula="pairs of equal cells in a column; with their marks by A-4 and A-5",
        tolerance="none: digits as printed",
        claimed=None,
        recomputed={"one system in two groups": across, "different systems of one group": within},
        verdict=LISTED,
        found=f"{len(across)} cells of one system are equal in two groups, {len(within)} pairs of different systems in "
        "a column of one group; some printed numbers are equal by chance"
        + f"; {len(copies)} pairs of rows are not"
        * bool(copies),
        details=(*map(str, copies), *across, *within),
        findings=tuple(copies),
    )


def _spread(rows: Sequence[Row], column: str) -> float:
    """Chance that two random cells of a column are equal."""
    cells = [row.cells[column] for row in rows if column in row.cells]
    if not cells:
        return 1.0
    extent = max(cell.value for cell in cells) - min(cell.value for cell in cells)
    return 1 / (1 + float(extent / (min(cell.unit for cell in cells) or 1)))


def _copied(
    sheet: Sheet, rows: Sequence[Row], first: Row, second: Row, same: Sequence[str], spread: Mapping[str, float]
) -> Iterator[Finding]:
    free = [c for c in same if (kind := sheet.columns[c]) is None or kind.name not in (*DERIVED, "count")]
    shared = [c for c in first.cells if c in second.cells]
    pairs = math.comb(len(rows), 2) * math.comb(len(shared), len(free))
    expected = pairs * math.prod(spread[c] for c in free)
    if len(free) >= min(3, len(shared)) and len(free) > 1 and expected < RARE:
        cells = ", ".join(f"{c} {first.cells[c].text}" for c in free)
        yield Finding(
            severity=IMPROBABLE,
            row=second.label,
            column="",
            printed="",
            arithmetic=f"{len(free)} of {len(shared)} cells equal those of {first.label} ({cells}); "
            f"{scientific(expected)} such pairs by chance",
            explanation="a row copied, or one system under two names",
            line=second.line,
        )


def _equal(first: Row, second: Row, column: str, states: Mapping[tuple[str, str, str, Fraction], Sequence[str]]) -> str:
    cell: Cell = first.cells[column]
    named = (
        row.label + "".join(f" ({state})" for state in states.get((row.system, row.group, column, cell.value), ()))
        for row in (first, second)
    )
    return f"{column} {cell.text}: {' and '.join(named)}"
