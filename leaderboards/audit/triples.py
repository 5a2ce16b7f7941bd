"""Checks of precision, recall and F1 of one row: F1 within its bound (A-4), unusual gaps (A-5).

All three are means over the same images, and H(p, r) = 2pr/(p + r) is jointly concave on the positive quadrant: by
Jensen's inequality mean F1 cannot exceed H(mean P, mean R). Cells are rounded, so F1 - 0.005 is compared with the bound
at P + 0.005 and R + 0.005.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from leaderboards.audit.record import (
    FAILS,
    HALF,
    LISTED,
    UNDEFINED,
    Check,
    harmonic,
    median,
    plain,
    rounded,
    signed,
    verdict,
)
from leaderboards.published import TRIPLES, PaperRow, Place

LIMIT = Fraction(35, 10)
SCALE = Fraction(14826, 10000)  # MAD to standard deviation, for a normal distribution


@dataclass(frozen=True, slots=True)
class Triple:
    """Precision, recall and F1 of one row, for ``objects`` or ``attributes`` (``family``)."""

    row: PaperRow
    family: str
    p: Fraction
    r: Fraction
    f1: Fraction

    @property
    def harmonic(self) -> Fraction:
        """H(P, R) as printed."""
        return harmonic(self.p, self.r)

    @property
    def bound(self) -> Fraction:
        """The highest H(P, R) of cells that round to the printed ones."""
        return harmonic(self.p + HALF, self.r + HALF)

    @property
    def impossible(self) -> bool:
        """Whether F1 exceeds its bound however the cells were rounded."""
        return self.f1 - HALF > self.bound

    @property
    def gap(self) -> Fraction:
        """F1 - H(P, R)."""
        return self.f1 - self.harmonic

    @property
    def label(self) -> str:
        """``Table 7, DOCCI500, Qwen2-VL-7B Base, Objects``."""
        return f"{self.row.label}, {self.family.capitalize()}"

    def printed(self) -> dict[str, str]:
        """The three cells as printed."""
        return dict(zip(("P", "R", "F1"), (self.row.printed[c] for c in TRIPLES[self.family]), strict=True))


def triples(rows: Sequence[PaperRow]) -> list[Triple]:
    """All complete triples, in the order of rows."""
    return [
        Triple(row, family, *(Fraction(row.values[column]) for column in columns))
        for row in rows
        for family, columns in TRIPLES.items()
        if all(column in row.printed for column in columns)
    ]


def distinct(repeating: Sequence[Triple]) -> list[Triple]:
    """Triples, without repetitions in another table for the same system and benchmark."""
    seen = {(t.row.system, t.row.benchmark, t.family, t.p, t.r, t.f1): t for t in reversed(repeating)}
    return [t for t in repeating if any(t is first for first in seen.values())]


def bounded(rows: Sequence[PaperRow]) -> Check:
    """A-4: F1 - 0.005 <= H(P + 0.005, R + 0.005)."""
    printed = triples(rows)
    wrong = [t for t in printed if t.impossible]
    records = [
        {
            "row": t.row.label,
            "family": t.family,
            "as_printed": t.printed(),
            "H": plain(t.harmonic),
            "bound": plain(t.bound),
            "excess": plain(t.f1 - HALF - t.bound),
            "suspect": True,
        }
        for t in wrong
    ]
    details = [
        f"{t.label}: P {t.printed()['P']}, R {t.printed()['R']}, F1 {t.printed()['F1']}; at most "
        f"{rounded(t.bound, 4)} is possible with these P and R"
        for t in wrong
    ]
    return Check(
        id="A-4",
        what="F1 within the harmonic mean of P and R",
        inputs={"triples": len(printed), "distinct": len(distinct(printed))},
        formula="F1 - 0.005 <= H(P + 0.005, R + 0.005), H = 2PR/(P + R): means over the same images",
        tolerance="0.005 per cell (rounding), exact fractions",
        claimed="possible as printed",
        recomputed=records,
        verdict=FAILS if wrong else verdict(len(printed), 0),
        found=f"{len(wrong)} of {len(printed)} triples ({len(distinct(wrong))} of {len(distinct(printed))} "
        "distinct ones) cannot be means over the same images as printed",
        details=tuple(details),
    )


@dataclass(frozen=True, slots=True)
class Outlier:
    """A triple whose gap is far from the others of its benchmark and family, by robust ``z``."""

    triple: Triple
    median: Fraction
    z: Fraction

    def restored(self) -> dict[str, float | None]:
        """The P, R or F1 that alone would give the median gap; None if it is not within 0 to 100."""
        h, p, r = self.triple.f1 - self.median, self.triple.p, self.triple.r
        values = {"P": _other(h, r), "R": _other(h, p), "F1": self.triple.harmonic + self.median}
        return {name: None if x is None or not 0 <= x <= 100 else plain(x, 2) for name, x in values.items()}


def _other(h: Fraction, known: Fraction) -> Fraction | None:
    """The x with H(x, known) = h."""
    return h * known / (2 * known - h) if 2 * known > h else None


def outliers(group: Sequence[Triple]) -> list[Outlier] | None:
    """Triples of one group with abs(z) > 3.5; None if their gaps have no spread (MAD 0)."""
    middle = median([t.gap for t in group])
    spread = SCALE * median([abs(t.gap - middle) for t in group])
    if spread == 0:
        return None
    scored = [Outlier(t, middle, (t.gap - middle) / spread) for t in group]
    return [outlier for outlier in scored if abs(outlier.z) > LIMIT]


def groups(rows: Sequence[PaperRow]) -> dict[tuple[str, str], list[Triple]]:
    """Distinct triples by benchmark and family."""
    unique = distinct(triples(rows))
    keys = dict.fromkeys((t.row.benchmark, t.family) for t in unique)
    return {key: [t for t in unique if (t.row.benchmark, t.family) == key] for key in keys}


def gaps(rows: Sequence[PaperRow]) -> Check:
    """A-5: robust z of the gap F1 - H(P, R) among the triples of a benchmark and family."""
    recomputed, details, listed, undefined = list[dict[str, Any]](), list[str](), 0, 0
    for (benchmark, family), group in groups(rows).items():
        unusual = outliers(group)
        middle = median([t.gap for t in group])
        spread = median([abs(t.gap - middle) for t in group])
        recomputed.append(
            {
                "benchmark": benchmark,
                "family": family,
                "n": len(group),
                "median gap": plain(middle),
                "MAD": plain(spread),
                "unusual": None if unusual is None else [_record(outlier) for outlier in unusual],
            }
        )
        undefined += unusual is None
        for outlier in unusual or ():
            listed += 1
            alternatives = ", ".join(f"{name} {x}" for name, x in outlier.restored().items() if x is not None)
            details.append(
                f"{outlier.triple.label}: gap {signed(outlier.triple.gap)}, median {signed(outlier.median)}, "
                f"z {signed(outlier.z)}; the median gap would need {alternatives.replace(', ', ' or ')}"
            )
    return Check(
        id="A-5",
        what="Unusual gaps between F1 and the harmonic mean",
        inputs={"groups": len(recomputed), "limit": 3.5},
        formula="g = F1 - H(P, R); z = (g - median)/(1.4826 MAD) among distinct triples of a benchmark and family",
        tolerance="abs(z) > 3.5 is listed; exact fractions",
        claimed=None,
        recomputed=recomputed,
        verdict=UNDEFINED if recomputed and undefined == len(recomputed) else LISTED,
        found=f"{listed} triples have an unusual gap"
        + (f"; undefined in {undefined} groups (MAD 0)" if undefined else ""),
        details=tuple(details),
    )


def _record(outlier: Outlier) -> dict[str, Any]:
    triple = outlier.triple
    return {
        "row": triple.row.label,
        "as_printed": triple.printed(),
        "gap": plain(triple.gap),
        "z": plain(outlier.z, 2),
        "restored": outlier.restored(),
    }


def suspects(rows: Sequence[PaperRow]) -> dict[Place, list[str]]:
    """Marks by cell (``PaperRow.place``): ``suspect`` if A-4 fails, ``unusual`` if A-5 lists the triple."""
    marks = dict[Place, list[str]]()
    far = [outlier.triple for group in groups(rows).values() for outlier in outliers(group) or ()]
    for name, marked in (("suspect", [t for t in triples(rows) if t.impossible]), ("unusual", far)):
        for t in marked:
            for column in TRIPLES[t.family]:
                states = marks.setdefault(t.row.place(column), [])
                states += [name] * (name not in states)
    return marks
