"""The compare verb: two stored runs on the same images, a paired test a value.

Reads ``per_sample.jsonl`` and ``statistics.jsonl``; nothing is scored again. A metric is compared only
where both signatures agree. p values are corrected by Holm over all values compared. Run with
``cim compare RUN_A RUN_B`` (folders, or names with ``--task``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness import manifest, registry, signature, stats, store
from harness.errors import CimError
from harness.form import DOCUMENT, malformed
from harness.parts import Metric, mean
from harness.score import PER_SAMPLE, SCORES, STATISTICS

FILES = (PER_SAMPLE, STATISTICS)
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
        """``objects f1``; the value's name is left out where there is only one."""
        return self.metric if self.value in ("score", "words") else f"{self.metric} {self.value}"


@dataclass(frozen=True, slots=True)
class Scored:
    """The score files of a run, by metric and by sample."""

    folder: Path
    scores: dict[str, dict[str, Any]]
    per_sample: dict[str, dict[str, Any]]
    statistics: dict[str, dict[str, Any]]


def find(given: str, results: Path, task: str | None) -> Path:
    """The folder of a stored run: a path, or a name under the results folder.

    Raises:
        CimError: no such run, or several tasks hold one of this name.
    """
    if (Path(given) / manifest.NAME).is_file():
        return Path(given)
    found = [results / task / given] if task else sorted(path for path in results.glob("*/*") if path.name == given)
    found = [path for path in found if (path / manifest.NAME).is_file() and path.parent.name != store.TRAINED]
    if not found:
        known = sorted({path.parent.name for path in results.glob(f"*/*/{manifest.NAME}")} - {store.TRAINED})
        raise CimError(f"no stored run {given!r} under {results}", hint=f"stored: {', '.join(known) or 'none'}")
    if len(found) > 1:
        raise CimError(f"{given!r} is stored for {', '.join(path.parent.name for path in found)}", hint="say --task")
    return found[0]


def load(folder: Path) -> Scored:
    """Read the score files of a run; CimError when it has not been scored."""
    scores = store.read_document(folder / SCORES)
    if scores is None:
        hint = f"run `cim score --model {folder.name} --task {folder.parent.name}`"
        raise CimError("this run has no scores", where=str(folder), hint=hint)
    if faults := list(malformed(scores, DOCUMENT, SCORES)):
        raise CimError("; ".join(faults[:3]), where=str(folder), hint="score the run again")
    by_sample = [{str(row.get("sample_id")): row for row in store.read_rows(folder / name)} for name in FILES]
    return Scored(folder, {row["metric"]: row for row in scores["scores"]}, *by_sample)


def compare(a: Scored, b: Scored, draws: int = stats.DRAWS) -> list[Comparison]:
    """Paired tests of run b against run a, for every value both hold under one signature.

    Raises:
        CimError: no metric can be compared; says why.
    """
    rows, metrics, pairs = list[Comparison](), list[Metric](), list[tuple[stats.Column, stats.Column]]()
    for name in [*a.scores, *(name for name in b.scores if name not in a.scores)]:
        if reason := _obstacle(a.scores.get(name), b.scores.get(name)):
            rows.append(Comparison(name, "", None, not_compared=reason))
        else:
            metric = registry.metric(name)
            metrics.append(metric)
            pairs.append((_column(a, metric), _column(b, metric)))
            if pairs[-1][0].statistics.shape != pairs[-1][1].statistics.shape or set(a.per_sample) != set(b.per_sample):
                raise CimError(f"{a.folder} and {b.folder} hold different samples", hint="score both again")
    if not pairs:
        reasons = "; ".join(f"{row.metric}: {row.not_compared}" for row in rows)
        raise CimError(f"nothing to compare in {a.folder} and {b.folder}", hint=reasons)
    tests = stats.paired(pairs, draws)
    flat = [(metric, value, tests[m][v]) for m, metric in enumerate(metrics) for v, value in enumerate(metric.values)]
    boot, perm = (stats.holm(ps) for ps in zip(*((t.p_bootstrap, t.p_permutation) for *_, t in flat), strict=True))
    compared = [Comparison(m.name, v, t, boot[i], perm[i]) for i, (m, v, t) in enumerate(flat)]
    return compared + rows


def _obstacle(one: dict[str, Any] | None, other: dict[str, Any] | None) -> str | None:
    if one is None or other is None or one.get("not_computed") or other.get("not_computed"):
        return "not computed in " + ("run a" if one is None or one.get("not_computed") else "run b")
    differing = signature.differences(one["signature"] or "", other["signature"] or "")
    return f"signatures differ ({', '.join(differing)})" if differing else None


def _column(run: Scored, metric: Metric) -> stats.Column:
    """Statistics (n, s) of a stored metric, in the order of sample ids."""
    try:
        if metric.aggregate is mean:
            rows = [[cells[metric.name][v] for v in metric.values] for _, cells in sorted(run.per_sample.items())]
        else:
            rows = [cells[metric.name] for _, cells in sorted(run.statistics.items())]
        values = np.array(rows, dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        hint = "score the run again"
        raise CimError(f"score files lack numbers of {metric.name}", where=str(run.folder), hint=hint) from error
    if len(values) != run.scores[metric.name]["n"] or values.ndim != 2 or not np.isfinite(values).all():
        hint = "score the run again"
        raise CimError(f"score files lack numbers of {metric.name}", where=str(run.folder), hint=hint)
    return stats.Column(values, metric.aggregate)


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
