"""Is one run better than another at equal caption length? Two controls for the plain paired difference.

For image i let d_i be run b's value minus run a's, and w_i its words minus run a's. **Plain**: mean of d_i.
**Matched**: mean of d_i over images with |w_i| <= 2, whose captions are about equally long; it assumes nothing about
the form of the dependence, but uses those images alone. **Adjusted**: tau of d_i = tau + beta w_i by least squares,
which is y = image + run + beta words with a fixed effect for every image; tau is the difference at equal length if the
effect of a further word is the same for both runs and at every length. If w = 0 lies outside the middle 95 % of w_i,
tau is marked as an extrapolation. Intervals: percentile bootstrap over images.

Detail needs words: a run that names more objects is longer. The controls ask what remains at equal length, not whether
the longer captions are better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.runs import stats

if TYPE_CHECKING:
    from harness.parts import Array

CALIPER = 2.0  # words
FEWEST = 30  # matched images; with fewer their mean is not shown
TAIL = 0.025


@dataclass(frozen=True, slots=True)
class Estimate:
    """A difference and its 95 % interval over ``n`` images."""

    difference: float
    ci95: tuple[float, float]
    n: int


@dataclass(frozen=True, slots=True)
class Control:
    """Plain, matched and adjusted difference; None if too few images match, or lengths do not vary."""

    plain: Estimate
    matched: Estimate | None
    matching: int
    adjusted: Estimate | None
    a_word: float | None
    extrapolated: bool


def controls(
    pairs: Sequence[tuple[Array, Array, Array, Array]], images: stats.Ints | None = None, draws: int = stats.DRAWS
) -> list[Control]:
    """One control per (values of a, values of b, words of a, words of b), each (n,), on the same n captions.

    Args:
        images: the number of each caption's image; None where each has its own.
    """
    if not pairs:
        return []
    columns = [stats.Column(_sums(b - a, words_b - words_a), _estimates, images) for a, b, words_a, words_b in pairs]
    results = []
    for (_, _, words_a, words_b), column, resamples in zip(
        pairs, columns, stats.bootstrap(columns, draws), strict=True
    ):
        n, longer = len(column.statistics), words_b - words_a
        (plain, matched, tau, beta), near = stats.point(column).tolist(), int((np.abs(longer) <= CALIPER).sum())
        ci = [(float(low), float(high)) for low, high in stats.interval(resamples)]
        varies = bool(np.isfinite(resamples[:, 2]).all())
        low, high = np.quantile(longer, [TAIL, 1 - TAIL])
        results.append(
            Control(
                Estimate(plain, ci[0], n),
                Estimate(matched, ci[1], near) if near >= FEWEST else None,
                near,
                Estimate(tau, ci[2], n) if varies else None,
                beta if varies else None,
                not low <= 0 <= high,
            )
        )
    return results


def _sums(change: Array, longer: Array) -> Array:
    near = (np.abs(longer) <= CALIPER).astype(np.float64)
    return np.stack([change, longer, longer * longer, change * longer, near, near * change], axis=1)


def _estimates(totals: Array, n: int | Array) -> Array:
    """Plain, matched, tau and beta (..., 4) from sums of d, w, ww, dw, m, md (..., 6); NaN if undefined."""
    d, w, ww, dw, m, md = np.moveaxis(totals / n, -1, 0)
    spread = ww - w * w
    flat = spread <= 1e-12 * np.maximum(1e-300, ww)
    beta = np.where(flat, np.nan, (dw - d * w) / np.where(flat, 1.0, spread))
    matched = np.where(m > 0, md / np.where(m > 0, m, 1.0), np.nan)
    return np.stack([d, matched, d - beta * w, beta], axis=-1)
