"""The record of a check, and exact arithmetic: fractions and decimals, since floats are wrong at rounding boundaries.

``HALF`` is the largest rounding error of a number printed with two decimals.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from leaderboards.printed.finding import Finding

HOLDS, PARTLY, FAILS, LISTED, UNDEFINED = "holds", "holds in part", "does not hold", "listed", "undefined"
HALF = Fraction(1, 200)
Number = Fraction | Decimal | int


@dataclass(frozen=True, slots=True)
class Check:
    """One check: inputs, formula, tolerance, claim and outcome.

    ``claimed`` and ``recomputed`` are JSON values; ``found`` is the outcome in a sentence or two, ``details`` are lines
    of the Markdown summary. ``run`` is the checked run, for stored runs; ``findings`` are those in a printed table.
    """

    id: str
    what: str
    inputs: Any
    formula: str
    tolerance: str
    claimed: Any
    recomputed: Any
    verdict: str
    found: str
    details: tuple[str, ...] = ()
    run: str | None = None
    findings: tuple[Finding, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The stored record, without ``details``, which repeat ``recomputed``."""
        fields = ("id", "what", "inputs", "formula", "tolerance", "claimed", "recomputed", "verdict", "found")
        named = {} if self.run is None else {"run": self.run}
        return named | {name: getattr(self, name) for name in fields}


def verdict(right: int, wrong: int) -> str:
    """``holds`` if nothing is wrong, ``holds in part`` if something is right; ``undefined`` without cases."""
    if not right and not wrong:
        return UNDEFINED
    return HOLDS if not wrong else PARTLY if right else FAILS


def rounded(number: Number, places: int = 2) -> Decimal:
    """A number rounded to ``places`` decimals, half to even."""
    exact = Fraction(number)
    scaled = round(exact * 10**places)
    return Decimal(scaled).scaleb(-places)


def plain(number: Number, places: int = 4) -> float:
    """The rounded number for JSON: the float whose shortest representation is that decimal."""
    return float(rounded(number, places))


def signed(number: Number, places: int = 2) -> str:
    """The rounded number as text, with its sign."""
    return f"{rounded(number, places):+.{places}f}"


def average(numbers: Iterable[Number]) -> Fraction:
    """Exact mean of at least one number."""
    exact = [Fraction(number) for number in numbers]
    return sum(exact, Fraction(0)) / len(exact)


def median(numbers: Sequence[Fraction]) -> Fraction:
    """Exact median of at least one number."""
    ordered, half = sorted(numbers), len(numbers) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def harmonic(a: Fraction, b: Fraction) -> Fraction:
    """H(P, R) = 2 P R / (P + R); 0 if both are 0."""
    return 2 * a * b / (a + b) if a + b else Fraction(0)


def listed(names: Iterable[str], most: int = 12) -> str:
    """Names in a row, the rest counted."""
    all_names = list(names)
    return ", ".join(all_names[:most]) + (f" and {len(all_names) - most} more" if len(all_names) > most else "")


def scientific(number: float) -> str:
    """A small probability as text: ``3.2e-15``."""
    return "0" if number == 0 else f"{number:.1e}" if math.fabs(number) < 1e-3 else f"{number:.3f}"
