"""Check A-3: a share of n outcomes must be k/n for an integer k (the GRIM test), whatever was rounded.

A cell stands for an interval (``printed/sheet.py``); it is possible if an integer k has k/n, in the table's unit,
within it. Where n is so large that every printable value is some k/n the check says nothing, and says so. Source: Brown
and Heathers, "The GRIM Test", 2017.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from leaderboards.audit.record import FAILS, HOLDS, UNDEFINED, Check, listed, plain, rounded, scientific
from leaderboards.printed.finding import IMPOSSIBLE, Finding
from leaderboards.printed.sheet import Cell, Row, Sheet

LIMITS: Mapping[str, tuple[int, int | None]] = {"share": (0, 1), "net share": (-1, 1), "integers": (0, None)}
KINDS = tuple(LIMITS)  # k/n is at least and at most this
FEW = 5  # values from which on other n that fit all of them are named
LARGE = 10_000  # n above which others are not tried, and chance is not counted value by value
Ends = tuple[Fraction, Fraction]


def solutions(ends: Ends, n: int, kind: str = "share") -> range:
    """Integers k with k/n within an interval, and within the limits of the kind."""
    (low, high), (least, most) = ends, LIMITS[kind]
    first = -(-low.numerator * n // low.denominator)
    last = high.numerator * n // high.denominator
    return range(max(least * n, first), (last if most is None else min(most * n, last)) + 1)


def ends(cell: Cell, scale: int) -> Ends:
    """The interval of a cell, as a share of 1."""
    return cell.low / scale, cell.high / scale


def chance(unit: Fraction, n: int) -> Fraction:
    """Share of the printable values from 0 to 1, multiples of ``unit``, that some k/n may be rounded to."""
    steps = int(1 / unit)
    if n > LARGE or n >= steps:
        return min(Fraction(n + 1, steps + 1), Fraction(1))
    # k steps/n, rounded half up and half down
    fitting = {at for k in range(n + 1) for at in ((2 * k * steps + n) // (2 * n), -((n - 2 * k * steps) // (2 * n)))}
    return Fraction(len(fitting), steps + 1)


def count(value: Decimal, n: int) -> int | None:
    """The unique k of a percentage with two decimals; None if there is none or several."""
    ks = solutions(ends(Cell(str(value), Fraction(value), Fraction(1, 100)), 100), n)
    return ks[0] if len(ks) == 1 else None


def shares(sheet: Sheet) -> Check | None:
    """A-3 for every column of shares whose n the header says; None where there is none."""
    recomputed, details, findings = dict[str, Any](), list[str](), list[Finding]()
    for column, rows in sheet.blocks(*KINDS):
        n, kind = sheet.n(column, rows[0]), sheet.columns[column]
        if n is None or kind is None:
            continue
        place, scale = rows[0].place(column), 1 if kind.name == "integers" else sheet.hundred
        entry = recomputed[place] = _entry([row.cells[column] for row in rows], n, kind.name, scale)
        findings += _misfits(column, rows, scale, entry)
        details.append(_detail(place, entry))
    if not recomputed:
        return None
    values = sum(entry["distinct values"] for entry in recomputed.values())
    fit = sum(entry["fit"] for entry in recomputed.values())
    vacuous = all(entry["vacuous"] for entry in recomputed.values())
    return Check(
        id="A-3",
        what="Shares of n are k/n",
        inputs={name: entry["n"] for name, entry in recomputed.items()},
        formula="an integer k with k/n within the digits as printed; chance: share of printable values that fit",
        tolerance="half a unit of the last digit, exact fractions",
        claimed="every value is k/n",
        recomputed=recomputed,
        verdict=FAILS if findings else UNDEFINED if vacuous else HOLDS,
        found=f"{fit} of {values} distinct values are k/n" + " for an n that every value fits" * vacuous,
        details=(*map(str, findings), *details),
        findings=tuple(findings),
    )


def _entry(cells: Sequence[Cell], n: int, kind: str, scale: int) -> dict[str, Any]:
    """What is known of a column: k by printed value, and other n that fit all of its values."""
    intervals = {cell.value: ends(cell, scale) for cell in cells}
    unit = min(cell.unit for cell in cells) / scale
    ks = {cell.text: solutions(intervals[cell.value], n, kind) for cell in cells}
    several = len(intervals) >= FEW and n * unit < 1 and n <= LARGE
    return {
        "n": n,
        "distinct values": len(intervals),
        "fit": sum(bool(solutions(interval, n, kind)) for interval in intervals.values()),
        "k": {text: list(fitting[:3]) for text, fitting in ks.items()},
        "vacuous": n * unit >= 1,
        "chance of one": plain(min(n * unit, Fraction(1)) if kind == "integers" else chance(unit, n), 6),
        "n that fit all": [
            m for m in _other_counts(n) if several and all(solutions(x, m, kind) for x in intervals.values())
        ],
    }


def _other_counts(n: int) -> range:
    return range(max(1, n // 6), n + n // 10 + 1)


def _misfits(column: str, rows: Sequence[Row], scale: int, entry: Mapping[str, Any]) -> Iterator[Finding]:
    n, others = entry["n"], entry["n that fit all"]
    for row in rows:
        cell = row.cells[column]
        if entry["k"][cell.text]:
            continue
        k = math.floor(cell.value * n / scale)
        around = ", ".join(f"{j}/{n} = {rounded(Fraction(j * scale, n), cell.places + 2)}" for j in (k, k + 1))
        explanation = f"n = {listed(map(str, others), 5)} would fit the whole column" if others else ""
        yield row.finding(IMPOSSIBLE, column, around, explanation or "another n for this cell, or another number")


def _detail(place: str, entry: Mapping[str, Any]) -> str:
    n = entry["n"]
    if entry["vacuous"]:
        return f"{place}: every printable value is some k/{n:,}: nothing is checked; more decimals would check it"
    tried, fitting = _other_counts(n), listed(map(str, entry["n that fit all"]))
    text = (
        f"{place}: {entry['fit']} of {entry['distinct values']} distinct values are k/{n:,}; chance of one random "
        f"value {entry['chance of one']:.3f}, of all {scientific(entry['chance of one'] ** entry['distinct values'])}"
    )
    return text + f"; n from {tried[0]} to {tried[-1]} that fit all: {fitting}" * bool(fitting)
