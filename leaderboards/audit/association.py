"""Associations of columns over systems (A-12, A-13): effect of short references, correlations between metrics.

Pearson's and Spearman's r with Fisher's confidence interval (``runs/stats.py``). The rows share backbones, so they are
not independent and the intervals are too narrow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from harness.runs import stats
from leaderboards.audit.record import LISTED, UNDEFINED, Check, plain, signed, verdict
from leaderboards.published import COLUMNS, TITLES, PaperRow

WARNING = (
    "The rows are not independent: models of one family, and one backbone before and after training, stand beside each "
    "other. The intervals take them as independent and are too narrow."
)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two columns over n rows: correlation and 95 % interval, None where undefined (too few rows, a constant)."""

    first: str
    second: str
    n: int
    pearson: float | None
    pearson_ci95: tuple[float, float] | None
    spearman: float | None
    spearman_ci95: tuple[float, float] | None


def pairs(rows: Sequence[PaperRow], benchmark: str) -> list[Pair]:
    """All pairs of columns over the distinct rows of one benchmark that have both cells."""
    of_benchmark = [row for row in distinct(rows) if row.benchmark == benchmark]
    result = list[Pair]()
    for first, second in combinations(COLUMNS, 2):
        both = [row.values for row in of_benchmark if first in row.printed and second in row.printed]
        x, y = (np.array([values[column] for values in both], dtype=np.float64) for column in (first, second))
        r, rho, n = stats.pearson(x, y), stats.spearman(x, y), len(both)
        ci95 = stats.fisher(r, n), stats.fisher(rho, n, stats.SPEARMAN_VARIANCE)
        result.append(Pair(first, second, n, r, ci95[0], rho, ci95[1]))
    return result


def distinct(rows: Sequence[PaperRow]) -> list[PaperRow]:
    """Rows, without those whose cells all repeat another row of the same system and benchmark."""
    kept = list[PaperRow]()
    for row in sorted(rows, key=lambda row: -len(row.printed)):
        same = [known for known in kept if (known.system, known.benchmark) == (row.system, row.benchmark)]
        if not any(row.values.items() <= known.values.items() for known in same):
            kept.append(row)
    return [row for row in rows if any(row is known for known in kept)]


def correlations(rows: Sequence[PaperRow]) -> Check:
    """A-13: metric-to-metric correlation between the published systems."""
    by_benchmark = {b: pairs(rows, b) for b in dict.fromkeys(row.benchmark for row in rows)}
    known = [pair for of_benchmark in by_benchmark.values() for pair in of_benchmark if pair.pearson is not None]
    return Check(
        id="A-13",
        what="Correlation between columns over systems",
        inputs={b: {"rows": sum(row.benchmark == b for row in distinct(rows))} for b in by_benchmark},
        formula="Pearson and Spearman over distinct rows; Fisher's z, standard error 1/sqrt(n - 3), for Spearman "
        "sqrt(1.06/(n - 3))",
        tolerance="none",
        claimed=None,
        recomputed={"warning": WARNING}
        | {b: [_record(pair) for pair in of_benchmark] for b, of_benchmark in by_benchmark.items()},
        verdict=LISTED if known else UNDEFINED,
        found=f"{len(known)} pairs of columns. {WARNING}",
        details=tuple(f"{b}, {_detail(pair)}" for b, of_benchmark in by_benchmark.items() for pair in of_benchmark),
    )


def _record(pair: Pair) -> dict[str, Any]:
    record = asdict(pair)
    for name in ("pearson", "spearman"):
        bounds = record[f"{name}_ci95"]
        record[name] = None if record[name] is None else round(record[name], 6)
        record[f"{name}_ci95"] = None if bounds is None else [round(bound, 6) for bound in bounds]
    return record


def _detail(pair: Pair) -> str:
    shown = [
        "undefined" if r is None else f"{r:.2f}" + (f" [{bounds[0]:.2f}, {bounds[1]:.2f}]" if bounds else "")
        for r, bounds in ((pair.pearson, pair.pearson_ci95), (pair.spearman, pair.spearman_ci95))
    ]
    return f"{TITLES[pair.first]} and {TITLES[pair.second]}: Pearson {shown[0]}, Spearman {shown[1]}, n = {pair.n}"


def short_references(rows: Sequence[PaperRow]) -> Check:
    """A-12: is precision lower on COCO-LN500, and does the base have the highest BLEU-4 of its block there?"""
    by_system = defaultdict[tuple[int, str], dict[str, PaperRow]](dict)
    for row in distinct(rows):
        by_system[row.table, row.system][row.benchmark] = row
    both = [two for two in by_system.values() if len(two) == 2 and "obj_p" in two["COCO-LN500"].printed]
    lower = {
        column: [two["COCO-LN500"].values[column] - two["DOCCI500"].values[column] for two in both]
        for column in ("obj_p", "attr_p")
    }
    places = [_place(rows, base) for base in rows if base.table in (7, 8) and _is_base(base, rows)]
    counted = {column: sum(x < 0 for x in differences) for column, differences in lower.items()}
    first = [p for p in places if p["benchmark"] == "COCO-LN500"]
    highest = sum(p["rank"] == 1 for p in first)
    right, wrong = sum(counted.values()) + highest, 2 * len(both) - sum(counted.values()) + len(first) - highest
    return Check(
        id="A-12",
        what="Remark on COCO-LN500: short references lower precision, the base has the highest BLEU-4",
        inputs={"systems on both benchmarks": len(both), "bases": len(places)},
        formula="P on COCO-LN500 - P on DOCCI500, per system; rank of the base's BLEU-4 in its block",
        tolerance="none",
        claimed="precision is lower on COCO-LN500; there the base has the highest BLEU-4",
        recomputed={
            "lower on COCO-LN500": counted,
            "differences": {c: [plain(x, 2) for x in differences] for c, differences in lower.items()},
            "BLEU-4 ranks of bases": places,
        },
        verdict=verdict(right, wrong),
        found=", ".join(f"{TITLES[c]} is lower in {n} of {len(both)} systems" for c, n in counted.items())
        + f"; on COCO-LN500 the base is first in BLEU-4 in {highest} of {len(first)} blocks",
        details=tuple(
            f"Table {p['table']}, {p['benchmark']}, {p['base']}: BLEU-4 of the base is number {p['rank']} of {p['of']}"
            f"; best {p['best']} {signed(p['ahead'])}"
            for p in places
        ),
    )


def _is_base(row: PaperRow, rows: Sequence[PaperRow]) -> bool:
    """Whether this is the first row of its block."""
    return row is next(other for other in rows if _block(other) == _block(row))


def _block(row: PaperRow) -> tuple[int, str, str]:
    return row.table, row.base, row.benchmark


def _place(rows: Sequence[PaperRow], base: PaperRow) -> dict[str, Any]:
    block = [row for row in rows if _block(row) == _block(base)]
    best = max(block, key=lambda row: row.values["bleu4"])
    return {
        "table": base.table,
        "benchmark": base.benchmark,
        "base": base.system,
        "rank": 1 + sum(row.values["bleu4"] > base.values["bleu4"] for row in block),
        "of": len(block),
        "best": best.system,
        "ahead": plain(best.values["bleu4"] - base.values["bleu4"], 2),
    }


OF_TABLES = (correlations, short_references)
