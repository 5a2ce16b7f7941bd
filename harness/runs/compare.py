"""The compare verb: stored runs against a baseline on the same images, one paired test per value and run.

Reads ``per_sample.jsonl`` and ``statistics.jsonl``; nothing is scored again. A metric is compared only
where both signatures agree. p values are corrected by Holm over all values and runs compared. Run with
``cim compare A B [C ...]`` (folders, or names with ``--task``); A is the baseline.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import ascii_lowercase
from typing import Any

from harness import registry
from harness.errors import CimError, one_line
from harness.parts import Metric
from harness.runs import stats
from harness.runs.stored_run import StoredRun, obstacle

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Comparison:
    """One value of one metric: its paired test, or why there is none; ``value`` is empty where it is of all values."""

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
        """Is the difference significant after Holm's correction over all values and runs compared?"""
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
    return against(a, [b], draws)[0]


def against(baseline: StoredRun, runs: Sequence[StoredRun], draws: int = stats.DRAWS) -> list[list[Comparison]]:
    """Paired tests of each run against a baseline, a list per run; p values are corrected over all of them.

    Raises:
        CimError: no metric of any run can be compared; says why.
    """
    first, *others = names([baseline, *runs])
    compared = [_rows(baseline, run, (first, name), draws) for run, name in zip(runs, others, strict=True)]
    done = [row.test for rows in compared for row in rows if row.test is not None]
    if not done:
        folders = " and ".join(str(run.files.folder) for run in (baseline, *runs))
        reasons = dict.fromkeys(f"{row.metric}: {row.not_compared}" for rows in compared for row in rows)
        raise CimError(f"nothing to compare in {folders}", hint="; ".join(reasons))
    corrected = zip(
        stats.holm([test.p_bootstrap for test in done]), stats.holm([test.p_permutation for test in done]), strict=True
    )
    return [[row if row.test is None else _corrected(row, *next(corrected)) for row in rows] for rows in compared]


def names(runs: Sequence[StoredRun]) -> list[str]:
    """A name per run: its model's; its folder where several have that name; with a letter where they share both."""
    models, folders = [run.model for run in runs], [str(run.files.folder) for run in runs]
    return [
        model if models.count(model) == 1 else folder if folders.count(folder) == 1 else f"{model} ({letter(at)})"
        for at, (model, folder) in enumerate(zip(models, folders, strict=True))
    ]


def letter(at: int) -> str:
    """What stands for a run in a table: a, b, ... z, a1, b1, ..."""
    turn, at = divmod(at, len(ascii_lowercase))
    return ascii_lowercase[at] + (str(turn) if turn else "")


def tests(
    a: StoredRun, b: StoredRun, metrics: Sequence[Metric], draws: int = stats.DRAWS
) -> list[list[stats.Difference]]:
    """Paired tests of run b against run a for every value of metrics that both hold, none corrected.

    Raises:
        CimError: the runs hold different samples, or their files lack numbers.
    """
    if not metrics:
        return []
    return stats.paired(pairs(a, b, metrics), draws)


def pairs(a: StoredRun, b: StoredRun, metrics: Sequence[Metric]) -> list[tuple[stats.Column, stats.Column]]:
    """Statistics of metrics in both runs, row by row of the same samples; CimError as ``tests``."""
    columns = [(a.column(metric), b.column(metric)) for metric in metrics]
    same_samples = len(a.per_sample) == len(b.per_sample) and all(name in b.per_sample for name in a.per_sample)
    if not same_samples or any(first.statistics.shape != other.statistics.shape for first, other in columns):
        raise CimError(f"{a.files.folder} and {b.files.folder} hold different samples", hint="score both again")
    return columns


def _rows(a: StoredRun, b: StoredRun, named: tuple[str, str], draws: int) -> list[Comparison]:
    """Values that can be compared, not corrected yet, then metrics that cannot, with the reason."""
    reasons = {name: obstacle(a.scores.get(name), b.scores.get(name), named) for name in {**a.scores, **b.scores}}
    metrics = [registry.metric(name) for name, reason in reasons.items() if reason is None]
    compared = [
        _compared(metric.name, value, test, named)
        for metric, of_metric in zip(metrics, tests(a, b, metrics, draws), strict=True)
        for value, test in zip(metric.names, of_metric, strict=True)
    ]
    return compared + [Comparison(name, "", None, not_compared=reason) for name, reason in reasons.items() if reason]


def _compared(metric: str, value: str, test: stats.Difference, named: tuple[str, str]) -> Comparison:
    """A test that is not corrected yet; none where a value is the share of an empty set."""
    undefined = [run for run, number in zip(named, (test.a, test.b), strict=True) if math.isnan(number)]
    if undefined:
        return Comparison(metric, value, None, not_compared=f"undefined in {' and '.join(undefined)}")
    return Comparison(metric, value, test)


def _corrected(row: Comparison, bootstrap: float, permutation: float) -> Comparison:
    return replace(row, holm_bootstrap=bootstrap, holm_permutation=permutation)


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


def records(rows: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Comparisons as JSON, numbers in full."""
    return [_record(row) for row in rows]


def _record(row: Comparison) -> dict[str, Any]:
    if row.test is None:
        value = {"value": row.value} if row.value else {}
        return {"metric": row.metric, **value, "not_compared": row.not_compared}
    test = row.test
    return {
        "metric": row.metric,
        "value": row.value,
        "higher_is_better": row.higher_is_better,
        "a": test.a,
        "b": test.b,
        "difference": test.difference,
        "ci95": [_defined(bound) for bound in test.ci95],
        "p_bootstrap": test.p_bootstrap,
        "p_permutation": test.p_permutation,
        "p_bootstrap_holm": row.holm_bootstrap,
        "p_permutation_holm": row.holm_permutation,
        "minimum_detectable_difference": _defined(test.detectable),
    }


def _defined(number: float) -> float | None:
    """None for what some resample leaves undefined."""
    return None if math.isnan(number) else number
