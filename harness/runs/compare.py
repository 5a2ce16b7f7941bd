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
from harness.errors import CimError, one_line
from harness.parts import Metric
from harness.runs import stats
from harness.runs.stored_run import StoredRun, obstacle

ALPHA = 0.05
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

    @property
    def significant(self) -> bool:
        """Is the difference significant after Holm's correction over all values compared?"""
        return self.test is not None and self.holm_permutation < ALPHA

    @property
    def better(self) -> bool:
        """Is run b significantly better than run a? False where the value has no direction."""
        return self._significantly(toward=1)

    @property
    def worse(self) -> bool:
        """Is run b significantly worse than run a? False where the value has no direction."""
        return self._significantly(toward=-1)

    def _significantly(self, toward: int) -> bool:
        if self.test is None or self.higher_is_better is None or not self.significant:
            return False
        return self.test.difference * (toward if self.higher_is_better else -toward) > 0


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


def verdict(comparisons: Sequence[Comparison], a: str, b: str, n: int) -> str:
    """One sentence on which of two runs is better; values without a direction are not counted.

    Args:
        a: name of the first run, the baseline.
        b: name of the run that ``comparisons`` compare with it.
        n: images that both were scored on.
    """
    a, b, rule = one_line(a), one_line(b), f"(n = {n} images, Holm-corrected p < {ALPHA:g})"
    counted = [row for row in comparisons if row.test is not None and row.higher_is_better is not None]
    better, worse = sum(row.better for row in counted), sum(row.worse for row in counted)
    if not counted:
        compared = any(row.test is not None for row in comparisons)
        reason = "no value with a direction was compared" if compared else "no value could be compared"
        return f"no verdict on {b} and {a}: {reason}"
    if not better + worse:
        where = counted[0].label if len(counted) == 1 else f"any of {len(counted)} values"
        return f"no significant difference between {b} and {a} in {where} {rule}"
    if worse > better:
        a, b, better, worse = b, a, worse, better
    if len(counted) == 1:
        return f"{b} is significantly better than {a} in {counted[0].label} {rule}"
    undecided = len(counted) - better - worse
    return (
        f"{b} is significantly better than {a} in {better} of {len(counted)} values, worse in {worse}, "
        f"undecided in {undecided} {rule}"
    )


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
