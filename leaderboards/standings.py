"""Ranks of runs in one value of one metric, as ranges that say which differences are significant.

All runs of a task with the same samples share one matrix of resamples (``runs/stats.py``), so every pair is compared
on the same bootstrap samples. Rows keep the order in which the run stores them, the task's, so intervals equal those
of ``scores.json``. Two runs differ significantly if the paired bootstrap over images has p < 0.05 after Holm's
correction over all pairs of the value. A run's rank range is from 1 + the number of significantly better runs to the
number of runs that are not significantly worse.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from harness import registry
from harness.runs import stats
from harness.runs.stored_run import StoredRun

if TYPE_CHECKING:
    from harness.parts import Array

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Standing:
    """One value of one run: point estimate, 95 % confidence interval, values on the shared resamples (draws,)."""

    run: StoredRun
    point: float
    ci95: tuple[float, float]
    resamples: Array
    rank: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Group:
    """Comparable runs in one value: the same metric, signature and samples; best first."""

    task: str
    metric: str
    value: str
    signature: str
    standings: tuple[Standing, ...]


def groups(runs: Sequence[StoredRun], draws: int = stats.DRAWS) -> Iterator[Group]:
    """Groups of comparable runs for every value of every metric, for runs of one task.

    Ordered by metric name, then by number of runs, largest first.
    """
    by_samples = defaultdict[tuple[str, ...], list[StoredRun]](list)
    for run in runs:
        by_samples[tuple(sorted(run.per_sample))].append(run)
    unsorted = [group for ids, same in by_samples.items() if ids for group in _of_same_samples(same, draws)]
    yield from sorted(unsorted, key=lambda group: (group.metric, -len(group.standings), group.signature))


def _of_same_samples(runs: Sequence[StoredRun], draws: int) -> Iterator[Group]:
    rows = defaultdict[tuple[str, str], list[StoredRun]](list)
    for run in runs:
        for name, score in run.scores.items():
            if not score.get("not_computed") and score.get("signature"):
                rows[name, score["signature"]].append(run)
    by_id = {name: at for at, name in enumerate(sorted(runs[0].per_sample))}
    stored_order = [by_id[name] for name in runs[0].per_sample]
    columns = [
        _reordered(run.column(registry.metric(name)), stored_order) for (name, _), same in rows.items() for run in same
    ]
    resampled = zip(columns, stats.bootstrap(columns, draws) if columns else [], strict=True)
    for (name, signature), same in rows.items():
        numbers = [
            (run, stats.point(column), resamples) for run, (column, resamples) in zip(same, resampled, strict=False)
        ]
        for at, value in enumerate(registry.metric(name).values):
            cells = [
                (run, float(points[at]), resamples[:, at])
                for run, points, resamples in numbers
                if points[at] == points[at]
            ]
            if cells:  # none where the value is undefined in every run
                ranked = _ranked(cells, lowest_first=value.higher_is_better is False)
                yield Group(runs[0].task, name, value.name, signature, tuple(ranked))


def _reordered(column: stats.Column, order: Sequence[int]) -> stats.Column:
    images = None if column.images is None else stats.image_numbers(column.images[order].tolist())
    return stats.Column(column.statistics[order], column.aggregate, images)


def _ranked(cells: list[tuple[StoredRun, float, Array]], lowest_first: bool) -> Iterator[Standing]:
    cells = sorted(cells, key=lambda cell: (cell[1] if lowest_first else -cell[1], cell[0].model))
    pairs = list(combinations(range(len(cells)), 2))
    adjusted = stats.holm([bootstrap_p(cells[b][2] - cells[a][2], cells[b][1] - cells[a][1]) for a, b in pairs])
    above = np.zeros((len(cells), len(cells)), dtype=bool)
    for (a, b), p in zip(pairs, adjusted, strict=True):
        above[a, b] = p < ALPHA
    for at, (run, point, resamples) in enumerate(cells):
        low, high = stats.interval(resamples)
        rank = (1 + int(above[:, at].sum()), len(cells) - int(above[at].sum()))
        yield Standing(run, point, (float(low), float(high)), resamples, rank)


def bootstrap_p(differences: Array, observed: float) -> float:
    """Two-sided p of a paired difference from its resamples (draws,), re-centred.

    If no resample is as far from their mean as ``observed`` is from 0, the bootstrap only gives p < 1/draws, which
    Holm's correction over hundreds of pairs would lift above any level: then the normal tail with their standard error.
    """
    p = stats.p_value(differences - differences.mean(), observed)
    floor = 1 / (len(differences) + 1)
    if p > floor:
        return p
    error = float(differences.std(ddof=1))
    return min(floor, math.erfc(abs(observed) / error / math.sqrt(2))) if error > 0 else floor
