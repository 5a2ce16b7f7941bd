"""Check A-3: a Relations QA value is a share of questions, so it must be 100 k/N for an integer k.

With q = c/100 as printed: ``|q - 100 k/N| <= 0.005`` is ``|c N - 10000 k| <= N/2``, in integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from leaderboards.audit.record import FAILS, Check, plain, scientific, verdict
from leaderboards.published import PaperRow

FIRST, LAST = 400, 2699  # range of question counts that are tried


def solutions(value: Decimal, n: int) -> list[int]:
    """Integers k with ``value`` = 100 k/n to two decimals; an exact half may round either way."""
    c = int(value * 100)
    low = max(0, -((n - 2 * c * n) // 20_000))  # ceil((2 c n - n) / 20000)
    high = min(n, (2 * c * n + n) // 20_000)
    return list(range(low, high + 1))


def chance(n: int) -> Fraction:
    """Share of the 10,001 two-decimal values from 0 to 100 that equal some k of n questions."""
    fitting = {c for k in range(n + 1) for c in _near(k, n)}
    return Fraction(len(fitting), 10_001)


def _near(k: int, n: int) -> range:
    """All c with |c n - 10000 k| <= n/2."""
    low = -((n - 20_000 * k) // (2 * n))
    return range(max(0, low), min(10_000, (20_000 * k + n) // (2 * n)) + 1)


def shares(rows: Sequence[PaperRow], questions: Mapping[str, int]) -> Check:
    """A-3 for every Relations QA value, with all question counts that would fit."""
    by_benchmark, details, right, wrong = dict[str, Any](), list[str](), 0, 0
    for benchmark, n in questions.items():
        values = sorted(
            {row.values["rel_qa"] for row in rows if row.benchmark == benchmark and "rel_qa" in row.printed}
        )
        entry = _benchmark(rows, benchmark, values, n)
        by_benchmark[benchmark] = entry
        right, wrong = right + entry["fit"], wrong + entry["distinct values"] - entry["fit"]
        misfits = [cell["value"] for cell in entry["values"] if not cell["solutions"]]
        details.append(
            f"{benchmark}: {entry['fit']} of {len(values)} distinct values are k/{n:,}"
            + (f"; not: {', '.join(misfits)}" if misfits else "")
            + f"; chance of one random value {entry['chance of one']:.3f}, of all {scientific(entry['joint chance'])}; "
            f"N from {FIRST} to {LAST} that fit all: {', '.join(map(str, entry['fitting N'])) or 'none'}"
        )
    return Check(
        id="A-3",
        what="Relations QA values are shares of the benchmark's questions",
        inputs={"questions": dict(questions), "scan": [FIRST, LAST]},
        formula="integer k with |q - 100 k/N| <= 0.005; chance: share of the 10,001 values that fit, joint: its power",
        tolerance="0.005, in integers",
        claimed="every value is 100 k/N with N = " + " and ".join(f"{n:,} ({b})" for b, n in questions.items()),
        recomputed=by_benchmark,
        verdict=verdict(right, 0) if not wrong else FAILS,
        found=f"{right} of {right + wrong} distinct values are shares of the question counts",
        details=tuple(details),
    )


def _benchmark(rows: Sequence[PaperRow], benchmark: str, values: Sequence[Decimal], n: int) -> dict[str, Any]:
    cells = list[dict[str, Any]]()
    for value in values:
        ks = solutions(value, n)
        where = [row.label for row in rows if row.benchmark == benchmark and row.values.get("rel_qa") == value]
        residuals = [plain(Fraction(value) - Fraction(100 * k, n), 6) for k in ks]
        cells.append({"value": f"{value:.2f}", "k": ks, "residual": residuals, "solutions": len(ks), "rows": where})
    share = chance(n)
    return {
        "N": n,
        "distinct values": len(values),
        "fit": sum(bool(cell["k"]) for cell in cells),
        "values": cells,
        "chance of one": plain(share, 6),
        "joint chance": math.pow(share, len(values)),
        "fitting N": [m for m in range(FIRST, LAST + 1) if all(solutions(value, m) for value in values)]
        if values
        else [],
    }


def count(value: Decimal, n: int) -> int | None:
    """The unique k of a printed share; None if there is none or several."""
    ks = solutions(value, n)
    return ks[0] if len(ks) == 1 else None
