"""The compare verb: two stored runs on the same images, one paired test per value.

Reads ``per_sample.jsonl`` and ``statistics.jsonl``; nothing is scored again. A metric is compared only
where both signatures agree. p values are corrected by Holm over all values compared. Run with
``cim compare RUN_A RUN_B`` (folders, or names with ``--task``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import registry
from harness.errors import CimError
from harness.parts import Metric
from harness.runs import stats
from harness.runs.stored_run import StoredRun, obstacle

LEGEND = (
    "p boot, p perm: paired bootstrap and permutation over images, 10,000 draws each; Holm: p perm corrected over all "
    "rows (bold under 0.05); detectable: smallest true difference found in 80 % of repetitions."
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One value of one metric: its paired test, or why there is none."""

    metric: str
    value: str
    test: stats.Difference | None
    holm_bootstrap: float = 1.0
    holm_permutation: float = 1.0
    not_compared: str | None = None

    @property
    def label(self) -> str:
        """``objects f1``; the metric's name alone where there is one value, or none."""
        return registry.metric(self.metric).label(self.value) if self.value else self.metric

    @property
    def higher_is_better(self) -> bool | None:
        """The direction of the value."""
        return registry.metric(self.metric).value(self.value).higher_is_better if self.value else None


def compare(a: StoredRun, b: StoredRun, draws: int = stats.DRAWS) -> list[Comparison]:
    """Paired tests of run b against run a, for every value both hold under one signature.

    Raises:
        CimError: no metric can be compared; says why.
    """
    rows, metrics, pairs = list[Comparison](), list[Metric](), list[tuple[stats.Column, stats.Column]]()
    for name in [*a.scores, *(name for name in b.scores if name not in a.scores)]:
        if reason := obstacle(a.scores.get(name), b.scores.get(name)):
            rows.append(Comparison(name, "", None, not_compared=reason))
        else:
            metric = registry.metric(name)
            metrics.append(metric)
            pairs.append((a.column(metric), b.column(metric)))
            if pairs[-1][0].statistics.shape != pairs[-1][1].statistics.shape or set(a.per_sample) != set(b.per_sample):
                raise CimError(f"{a.files.folder} and {b.files.folder} hold different samples", hint="score both again")
    if not pairs:
        reasons = "; ".join(f"{row.metric}: {row.not_compared}" for row in rows)
        raise CimError(f"nothing to compare in {a.files.folder} and {b.files.folder}", hint=reasons)
    tests = stats.paired(pairs, draws)
    flat = [(metric, value, tests[m][v]) for m, metric in enumerate(metrics) for v, value in enumerate(metric.names)]
    boot, perm = (stats.holm(ps) for ps in zip(*((t.p_bootstrap, t.p_permutation) for *_, t in flat), strict=True))
    compared = [Comparison(m.name, v, t, boot[i], perm[i]) for i, (m, v, t) in enumerate(flat)]
    return compared + rows


def as_json(a: Path, b: Path, rows: Sequence[Comparison]) -> dict[str, Any]:
    """What ``cim compare --json`` prints."""
    return {"a": str(a), "b": str(b), "comparisons": [_row(row) for row in rows]}


def _row(row: Comparison) -> dict[str, Any]:
    if row.test is None:
        return {"metric": row.metric, "not_compared": row.not_compared}
    test = row.test
    return {
        "metric": row.metric,
        "value": row.value,
        "higher_is_better": row.higher_is_better,
        "a": test.a,
        "b": test.b,
        "difference": test.difference,
        "ci95": list(test.ci95),
        "p_bootstrap": test.p_bootstrap,
        "p_permutation": test.p_permutation,
        "p_bootstrap_holm": row.holm_bootstrap,
        "p_permutation_holm": row.holm_permutation,
        "minimum_detectable_difference": test.detectable,
    }
