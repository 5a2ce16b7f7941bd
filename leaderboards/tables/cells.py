"""Our numbers for the cells of the paper's tables, from the rows of stored runs.

A value and its 95 % confidence interval are computed from the run's rows (percentile bootstrap over images, 10,000
resamples, one matrix for all runs with the same samples). Two cells are compared on the same resamples, and only if
signature and samples agree: p of the paired difference, re-centred (``standings.bootstrap_p``).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import registry
from harness.errors import CimError
from harness.runs import stats
from harness.runs.stored_run import StoredRun
from leaderboards import standings

if TYPE_CHECKING:
    from harness.parts import Array

# The paper's columns as far as known (docs/protocol.md): a metric, or the variant that reproduces the reference code,
# and one of its values.
METRICS = {
    "bleu4": ("bleu4_char", "score"),
    "meteor": ("meteor_nltk", "score"),
    "capture": ("capture@cim", "score"),
    "obj_p": ("objects@compat", "precision"),
    "obj_r": ("objects@compat", "recall"),
    "obj_f1": ("objects@compat", "f1"),
    "attr_p": ("attributes@compat", "precision"),
    "attr_r": ("attributes@compat", "recall"),
    "attr_f1": ("attributes@compat", "f1"),
    "rel_qa": ("relation_qa", "score"),
}


@dataclass(frozen=True, slots=True)
class Number:
    """One value of one run: point estimate, 95 % interval (None for one image), values on the shared resamples."""

    run: StoredRun
    point: float
    ci95: tuple[float, float] | None
    resamples: Array
    signature: str
    samples: tuple[str, ...]

    def p(self, base: Number) -> float | None:
        """p of the paired difference to another run's value; None if they are not comparable."""
        if self.signature != base.signature or self.samples != base.samples or self.ci95 is None:
            return None
        return standings.bootstrap_p(self.resamples - base.resamples, self.point - base.point)


Numbers = dict[tuple[str, str], Number]
"""By run name and column of the paper."""


def numbers(runs: Sequence[StoredRun], tell: Callable[[str], None], draws: int = stats.DRAWS) -> Numbers:
    """All numbers of runs of one task; metrics with damaged rows are left out and reported to ``tell``."""
    by_samples = defaultdict[tuple[str, ...], list[StoredRun]](list)
    for run in runs:
        by_samples[tuple(sorted(run.per_sample))].append(run)
    result = Numbers()
    for samples, same in by_samples.items():
        if samples:
            result |= _of_same_samples(samples, same, tell, draws)
    return result


def _of_same_samples(
    samples: tuple[str, ...], runs: Sequence[StoredRun], tell: Callable[[str], None], draws: int
) -> Numbers:
    members = list[tuple[StoredRun, str, stats.Column]]()
    for run in runs:
        for name in dict.fromkeys(metric for metric, _ in METRICS.values()):
            row = run.scores.get(name)
            if row is None or row.get("not_computed") or not row.get("signature"):
                continue
            try:
                members.append((run, name, run.column(registry.metric(name))))
            except CimError as error:
                tell(f"left out: {error}")
    resamples = stats.bootstrap([column for *_, column in members], draws) if members else []
    result = Numbers()
    for (run, name, column), values in zip(members, resamples, strict=True):
        points, bounds = stats.point(column), stats.interval(values)
        for key, (metric, value) in METRICS.items():
            if metric == name:
                at = registry.metric(name).names.index(value)
                pair = (float(bounds[at, 0]), float(bounds[at, 1])) if len(samples) > 1 else None
                line = str(run.scores[name]["signature"])
                result[run.model, key] = Number(run, float(points[at]), pair, values[:, at], line, samples)
    return result


def usual(numbers: Sequence[Number]) -> str | None:
    """The most frequent signature, the first in case of a tie; None without numbers."""
    counted = Counter(number.signature for number in numbers)
    return counted.most_common(1)[0][0] if counted else None
