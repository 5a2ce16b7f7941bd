"""Correlation of a metric with the accuracy of captions: binned, un-binned, and controls. Works on arrays only.

Binned, as Figure 2 of arXiv 2603.01696: captions sorted by the metric (ties by image id) are cut into bins of 100; per
bin x is the mean metric and y the empirical logit of accuracy, ln((k + 0.5) / (n - k + 0.5)), where k is the sum of
accuracies and n the number of images. Fisher's confidence interval of the binned r treats bins as independent points.
Un-binned: Pearson's r over images, with a bootstrap over clusters (breeds, or images). r is None for a constant
column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.runs import stats

if TYPE_CHECKING:
    from harness.parts import Array

SIZE = 100  # images per bin
PERMUTATIONS = 1000
SEED = 12345

Interval = tuple[float, float]


def empirical_logit(k: Array, n: float | Array) -> Array:
    """Log odds of k among n, finite at 0 and n."""
    return np.asarray(np.log((k + 0.5) / (n - k + 0.5)))


def bins(metric: Array, accuracy: Array, size: int = SIZE) -> tuple[Array, Array]:
    """Mean metric and empirical logit (m,) of complete bins of ``size``; ties keep the order of rows."""
    order = np.argsort(metric, kind="stable")
    full = len(order) // size * size
    blocks = order[:full].reshape(-1, size)
    return metric[blocks].mean(axis=1), empirical_logit(accuracy[blocks].sum(axis=1), size)


def residuals(metric: Array, length: Array) -> Array:
    """Residuals of a metric's linear regression on ``length`` (least squares with an intercept)."""
    centred = length - length.mean()
    slope = 0.0 if stats.is_constant(length) else float(centred @ metric) / float(centred @ centred)
    return np.asarray(metric - metric.mean() - slope * centred)


def within(x: Array, y: Array, groups: Sequence[str]) -> float | None:
    """Pearson's r after centring both columns within groups; None if nothing varies within groups."""
    _, inverse, counts = np.unique(np.array(groups), return_inverse=True, return_counts=True)
    a, b = (column - (np.bincount(inverse, weights=column) / counts)[inverse] for column in (x, y))
    floor = [stats.CONSTANT * max(1e-300, float(np.mean(column**2))) for column in (x, y)]
    return None if a.var() <= floor[0] or b.var() <= floor[1] else stats.pearson(a, b)


def permuted(metric: Array, accuracy: Array, size: int = SIZE, draws: int = PERMUTATIONS) -> Interval | None:
    """95 % range of the binned r under random permutations of the metric; None if r is undefined."""
    generator = np.random.default_rng(SEED)
    means, _ = bins(metric, accuracy, size)
    values, dense = np.unique(metric, return_inverse=True)
    dense = dense.astype(np.int16 if len(values) < 1 << 15 else np.int64)  # numpy's fast radix sort is for 16 bits
    orders = (np.argsort(generator.permutation(dense), kind="stable")[: len(means) * size] for _ in range(draws))
    hits = np.array([accuracy[order].reshape(-1, size).sum(axis=1) for order in orders])
    logits = empirical_logit(hits, size)
    rs = [r for row in logits if (r := stats.pearson(means, row)) is not None]
    if len(rs) < draws:
        return None
    low, high = np.quantile(rs, [0.025, 0.975])
    return float(low), float(high)


def resampled(pairs: Sequence[tuple[Array, Array]], groups: Sequence[str] | None) -> list[Interval | None]:
    """95 % confidence interval of the un-binned r of each pair of columns, all on the same resamples.

    Args:
        groups: the cluster of each row, for a cluster bootstrap; None resamples rows.

    None if r is undefined, also in one of the resamples.
    """
    known = [at for at, (x, y) in enumerate(pairs) if stats.pearson(x, y) is not None]
    if not known:
        return [None] * len(pairs)
    columns = [stats.Column(_sums(*pairs[at], groups), _r_of_sums) for at in known]
    intervals: list[Interval | None] = [None] * len(pairs)
    for at, resamples in zip(known, stats.bootstrap(columns), strict=True):
        if np.isfinite(resamples).all():
            low, high = stats.interval(resamples)[0]
            intervals[at] = float(low), float(high)
    return intervals


def _sums(x: Array, y: Array, groups: Sequence[str] | None) -> Array:
    """Rows 1, x, y, xx, yy, xy of standardised columns, summed over clusters."""
    a, b = ((side - side.mean()) / side.std() for side in (x, y))
    rows = np.stack([np.ones(len(a)), a, b, a * a, b * b, a * b], axis=1)
    if groups is None:
        return rows
    names, inverse = np.unique(np.array(groups), return_inverse=True)
    return np.stack([np.bincount(inverse, weights=column, minlength=len(names)) for column in rows.T], axis=1)


def _r_of_sums(totals: Array, _: int | Array) -> Array:
    """Pearson's r (..., 1) from sums (..., 6); NaN if a column is constant."""
    n, a, b, aa, bb, ab = np.moveaxis(totals, -1, 0)
    spread_a, spread_b = aa / n - (a / n) ** 2, bb / n - (b / n) ** 2
    flat = (spread_a <= stats.CONSTANT) | (spread_b <= stats.CONSTANT)
    product = np.where(flat, 1.0, spread_a * spread_b)
    return np.asarray(np.where(flat, np.nan, (ab / n - a * b / n**2) / np.sqrt(product)))[..., None]
