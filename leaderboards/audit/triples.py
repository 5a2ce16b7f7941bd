"""Checks of precision, recall and F1 of one row: F1 within its bounds (A-4), unusual gaps (A-5).

All three are means over the same images, with p, r in [0, 1] and f = H(p, r) = 2pr/(p + r), H(0, 0) = 0, per image.
For every distribution of (p, r), with P and R the means:

* ``mean f <= H(P, R)``: H is concave on the quadrant p, r >= 0 (its Hessian there is a negative multiple of v v' with
  v = (r, -p)), so this is Jensen's inequality.
* ``mean f >= P + R - 1``: f - (p + r - 1) is concave too, so its minimum over the square is at a corner, and there it
  is 1, 0, 0 and 0. Both bounds are attained: by equal images; by images at the corners.

A metric that adds an epsilon to the denominator has a smaller f: the upper bound stands. F1 of the pooled P and R is
H(P, R) itself. Cells are intervals (``printed/sheet.py``), and H grows with both arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from leaderboards.audit.record import FAILS, HOLDS, LISTED, UNDEFINED, Check, harmonic, median, plain, rounded, signed
from leaderboards.printed.finding import IMPOSSIBLE, NOTE, Finding
from leaderboards.printed.sheet import Cell, Row, Sheet

LIMIT = Fraction(35, 10)
SCALE = Fraction(14826, 10000)  # MAD to standard deviation, for a normal distribution
FEWEST = 5  # triples of a group, to say of one that it is unusual
PRF = ("precision", "recall", "f1")


@dataclass(frozen=True, slots=True)
class Triple:
    """Precision, recall and F1 of one row, of one ``family``; ``columns`` are theirs, ``hundred`` is the unit's 1."""

    row: Row
    family: str
    columns: tuple[str, str, str]
    how: str
    hundred: int

    @property
    def cells(self) -> tuple[Cell, Cell, Cell]:
        """P, R and F1 as printed."""
        p, r, f1 = (self.row.cells[column] for column in self.columns)
        return p, r, f1

    @property
    def harmonic(self) -> Fraction:
        """H(P, R) as printed."""
        return harmonic(self.cells[0].value, self.cells[1].value)

    @property
    def bounds(self) -> tuple[Fraction, Fraction]:
        """The lowest and highest F1 of P and R that are printed like these."""
        p, r, _ = self.cells
        low = p.low + r.low - self.hundred
        if self.how == "from p and r":
            low = harmonic(max(p.low, Fraction(0)), max(r.low, Fraction(0)))
        return max(low, Fraction(0)), harmonic(max(p.high, Fraction(0)), max(r.high, Fraction(0)))

    @property
    def impossible(self) -> bool:
        """Whether F1 is outside its bounds however the cells were rounded."""
        low, high = self.bounds
        return self.cells[2].low > high or self.cells[2].high < low

    @property
    def gap(self) -> Fraction:
        """F1 - H(P, R)."""
        return self.cells[2].value - self.harmonic

    def finding(self) -> Finding:
        """What is impossible about it."""
        (p, r, f1), (low, high) = self.cells, self.bounds
        over, pooled = f1.low > high, self.how == "from p and r"
        bound = f"at most {rounded(high, f1.places + 2)}" if over else f"at least {rounded(low, f1.places + 2)}"
        formula = "2PR/(P + R)" if over or pooled else f"P + R - {self.hundred}"
        side, need = ("at least", f1.low) if over else ("at most", f1.high)
        others = {"P": _other(need, r.value), "R": _other(need, p.value)} if over or pooled else {}
        alone = [
            f"{name} of {side} {rounded(x, f1.places)}" for name, x in others.items() if x and 0 < x <= self.hundred
        ]
        explanation = "one of the three is another number" + f"; {' or '.join(alone)} alone would do" * bool(alone)
        arithmetic = f"P {p.text} and R {r.text} allow {bound}, {formula}"
        return self.row.finding(IMPOSSIBLE, self.columns[2], arithmetic, explanation)


def triples(sheet: Sheet) -> list[Triple]:
    """All complete triples of systems, in the order of rows."""
    families = dict[str, dict[str, str]]()
    for column, kind in sheet.of_kind(*PRF).items():
        families.setdefault(kind.family, {})[kind.name] = column
    complete = list[Triple]()
    for row in sheet.systems:
        for family, named in families.items():
            columns = named.get("precision", ""), named.get("recall", ""), named.get("f1", "")
            if all(column in row.cells for column in columns):
                f1 = sheet.columns[columns[2]]
                complete.append(Triple(row, family, columns, f1.how if f1 else "", sheet.hundred))
    return complete


def distinct(repeating: Sequence[Triple]) -> list[Triple]:
    """Triples, without repetitions of the same system, group and cells."""
    unique = {(t.row.label, t.family, *(cell.value for cell in t.cells)): t for t in reversed(repeating)}
    return [t for t in repeating if any(t is first for first in unique.values())]


def bounded(sheet: Sheet) -> Check | None:
    """A-4: F1 within what P and R allow; None without triples."""
    printed = triples(sheet)
    if not printed:
        return None
    wrong = [t for t in printed if t.impossible]
    findings = tuple(t.finding() for t in wrong)
    return Check(
        id="A-4",
        what="F1 within the harmonic mean of P and R",
        inputs={"triples": len(printed), "distinct": len(distinct(printed))},
        formula="P + R - 1 <= F1 <= H(P, R) = 2PR/(P + R) for means over the same images; F1 = H of pooled P and R",
        tolerance="half a unit of the last digit of each cell, exact fractions",
        claimed="possible as printed",
        recomputed=[
            {
                "row": t.row.label,
                "family": t.family,
                "as_printed": dict(zip(("P", "R", "F1"), (cell.text for cell in t.cells), strict=True)),
                "H": plain(t.harmonic),
                "bounds": [plain(bound) for bound in t.bounds],
            }
            for t in wrong
        ],
        verdict=FAILS if wrong else HOLDS,
        found=f"{len(wrong)} of {len(printed)} triples ({len(distinct(wrong))} of {len(distinct(printed))} "
        "distinct ones) cannot be means over the same images as printed",
        details=tuple(map(str, findings)),
        findings=findings,
    )


@dataclass(frozen=True, slots=True)
class Outlier:
    """A triple whose gap is far from the others of its group and family, by robust ``z``."""

    triple: Triple
    median: Fraction
    z: Fraction

    def restored(self) -> dict[str, float | None]:
        """The P, R or F1 that alone would give the median gap; None if it is not within the unit."""
        p, r, f1 = (cell.value for cell in self.triple.cells)
        h = f1 - self.median
        values = {"P": _other(h, r), "R": _other(h, p), "F1": self.triple.harmonic + self.median}
        return {n: None if x is None or not 0 <= x <= self.triple.hundred else plain(x, 2) for n, x in values.items()}

    def finding(self) -> Finding:
        """The gap beside the median of the others."""
        t = self.triple
        alternatives = " or ".join(f"{name} {x}" for name, x in self.restored().items() if x is not None)
        arithmetic = f"gap {signed(t.gap)}, median {signed(self.median)}, z {signed(self.z)}"
        explanation = f"the median gap would need {alternatives}" if alternatives else ""
        return t.row.finding(NOTE, t.columns[2], arithmetic, explanation)


def _other(h: Fraction, known: Fraction) -> Fraction | None:
    """The x with H(x, known) = h."""
    return h * known / (2 * known - h) if 2 * known > h else None


def outliers(group: Sequence[Triple]) -> list[Outlier] | None:
    """Triples of one group with abs(z) > 3.5; None if they are few or their gaps have no spread (MAD 0)."""
    middle = median([t.gap for t in group])
    spread = SCALE * median([abs(t.gap - middle) for t in group])
    if spread == 0 or len(group) < FEWEST:
        return None
    scored = [Outlier(t, middle, (t.gap - middle) / spread) for t in group]
    return [outlier for outlier in scored if abs(outlier.z) > LIMIT]


def groups(sheet: Sheet) -> dict[tuple[str, str], list[Triple]]:
    """Distinct triples by group and family."""
    unique = distinct(triples(sheet))
    keys = dict.fromkeys((t.row.group, t.family) for t in unique)
    return {key: [t for t in unique if (t.row.group, t.family) == key] for key in keys}


def gaps(sheet: Sheet) -> Check | None:
    """A-5: robust z of the gap F1 - H(P, R) among the triples of a group and family; None without triples."""
    by_group = groups(sheet)
    recomputed, findings = list[dict[str, Any]](), list[Finding]()
    for (group, family), members in by_group.items():
        unusual = outliers(members)
        middle = median([t.gap for t in members])
        findings += [outlier.finding() for outlier in unusual or ()]
        recomputed.append(
            {"group": group, "family": family, "n": len(members), "median gap": plain(middle)}
            | {"MAD": plain(median([abs(t.gap - middle) for t in members]))}
            | {"unusual": None if unusual is None else [o.triple.row.label for o in unusual]}
        )
    undefined = sum(entry["unusual"] is None for entry in recomputed)
    if not recomputed:
        return None
    return Check(
        id="A-5",
        what="Unusual gaps between F1 and the harmonic mean",
        inputs={"groups": len(recomputed), "limit": 3.5, "fewest": FEWEST},
        formula="g = F1 - H(P, R); z = (g - median)/(1.4826 MAD) among distinct triples of a group and family",
        tolerance="abs(z) > 3.5 is listed; exact fractions",
        claimed=None,
        recomputed=recomputed,
        verdict=UNDEFINED if undefined == len(recomputed) else LISTED,
        found=f"{len(findings)} triples have an unusual gap"
        + (f"; undefined in {undefined} groups (fewer than {FEWEST}, or MAD 0)" if undefined else ""),
        details=tuple(map(str, findings)),
        findings=tuple(findings),
    )


Place = tuple[str, str, str, Fraction]
"""A cell, identified across tables: system, group, column, value."""


def suspects(sheet: Sheet) -> dict[Place, list[str]]:
    """Marks by cell: ``suspect`` if A-4 fails, ``unusual`` if A-5 lists the triple."""
    marks = dict[Place, list[str]]()
    far = [outlier.triple for group in groups(sheet).values() for outlier in outliers(group) or ()]
    for name, marked in (("suspect", [t for t in triples(sheet) if t.impossible]), ("unusual", far)):
        for t in marked:
            for column, cell in zip(t.columns, t.cells, strict=True):
                states = marks.setdefault((t.row.system, t.row.group, column, cell.value), [])
                states += [name] * (name not in states)
    return marks
