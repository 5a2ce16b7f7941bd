"""What battles say of runs: Bradley-Terry ratings, win rates, and win rates at equal length; numpy only.

Bradley-Terry: P(i beats j) = 1 / (1 + exp(b_j - b_i)), fitted by maximum likelihood (Newton's method; the likelihood is
concave), ties as half a win of each (as ``njucckevin/CapArena:cal_ranking.py@c251cdd`` counts them in its Elo). A
rating is 1000 + 400 b / ln 10, of mean 1000. It is finite only if of every two groups of runs each has won or tied at
least once against the other (Ford 1957); otherwise that is said. Length: logit P = a + g tanh(d / sd(d)) with d the
difference in words; the rate at d = 0 is 1 / (1 + exp(-a)) (length control as in AlpacaEval 2, arXiv 2404.04475,
without its term for the prompt). Intervals: percentile bootstrap over images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.runs import stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.parts import Array

DRAWS = 1000
MEAN, SCALE = 1000.0, 400 / math.log(10)
STEPS, CONVERGED = 200, 1e-9
INFINITE = 12.0  # log odds beyond which a rate at equal length is taken for undefined
RARE = 0.025  # share of resamples without finite ratings beyond which there is no interval

Interval = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class Rating:
    """A run's rating with its interval; None where ``reason`` says why."""

    run: str
    rating: float | None
    ci95: Interval
    reason: str = ""


def reachable(points: Array) -> NDArray[np.bool_]:
    """Which runs (..., R, R) each run has points against, itself or through others, from points (..., R, R)."""
    runs = points.shape[-1]
    reach = (points > 0) | np.eye(runs, dtype=np.bool_)
    for _ in range(max(1, math.ceil(math.log2(runs)))):
        reach = (reach.astype(np.int64) @ reach.astype(np.int64)) > 0
    return reach


def bradley_terry(points: Array) -> Array:
    """Log strengths (..., R) of mean 0 from points (..., R, R); NaN where they are not finite.

    Args:
        points: what each run (row) has won against each other: wins and half of the ties.
    """
    flat = points.reshape(-1, *points.shape[-2:])
    finite, runs = reachable(flat).all(axis=(-2, -1)), flat.shape[-1]
    strengths = np.full(flat.shape[:2], np.nan)
    won, beta = flat[finite], np.zeros((int(finite.sum()), runs))
    battles = won + won.swapaxes(-2, -1)
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(beta[:, None, :] - beta[:, :, None]))
        slope = (won - battles * p).sum(axis=-1)
        weight = battles * p * (1 - p)
        curve = np.einsum("di,ij->dij", weight.sum(axis=-1), np.eye(runs)) - weight + 1  # + 1 fixes the mean
        step = np.clip(np.linalg.solve(curve, slope[..., None])[..., 0], -1, 1)
        beta = beta + step
        if not len(beta) or float(np.abs(step).max()) < CONVERGED:
            break
    strengths[finite] = beta - beta.mean(axis=-1, keepdims=True)
    return strengths.reshape(points.shape[:-1])


@dataclass(frozen=True, slots=True)
class Resampling:
    """How often an interval draws images, and the image (n,) of each row of outcomes; None where each has its own."""

    draws: int = DRAWS
    images: stats.Ints | None = None

    def counts(self, rows: int) -> Iterator[Array]:
        """Blocks (d, rows) of how often each row is drawn, an image's rows together; none for fewer than two images."""
        images = rows if self.images is None else int(self.images.max()) + 1
        for counts in stats.resamples(images, self.draws) if self.draws and images > 1 else ():
            yield counts if self.images is None else counts[:, self.images]


def ratings(runs: Sequence[str], pairs: Sequence[tuple[int, int]], outcomes: Array, how: Resampling) -> list[Rating]:
    """The rating of each run.

    Args:
        outcomes: points (n, p) of the first run of each of p pairs on n captioned images; NaN without a vote.
    """
    point = bradley_terry(_points(len(runs), pairs, outcomes, np.ones((1, len(outcomes)))))[0]
    if np.isnan(point).any():
        reason = why(runs, _points(len(runs), pairs, outcomes, np.ones((1, len(outcomes))))[0])
        return [Rating(run, None, (None, None), reason) for run in runs]
    blocks = [bradley_terry(_points(len(runs), pairs, outcomes, counts)) for counts in how.counts(len(outcomes))]
    drawn = np.vstack(blocks) if blocks else np.full((1, len(runs)), np.nan)
    finite = ~np.isnan(drawn).any(axis=-1)
    lost = float(1 - finite.mean())
    reason = f"ratings are not finite in {100 * lost:.1f} % of resamples" if lost > RARE and blocks else ""
    around = stats.interval(drawn[finite]) if lost <= RARE else np.full((len(runs), 2), np.nan)
    return [
        Rating(run, MEAN + SCALE * float(b), (_number(MEAN + SCALE * low), _number(MEAN + SCALE * high)), reason)
        for run, b, (low, high) in zip(runs, point, around, strict=True)
    ]


def _points(runs: int, pairs: Sequence[tuple[int, int]], outcomes: Array, counts: Array) -> Array:
    """Points (d, R, R) of d resamples, counts (d, n) of images."""
    voted = ~np.isnan(outcomes)
    first, total = counts @ np.where(voted, outcomes, 0.0), counts @ voted.astype(np.float64)
    points = np.zeros((len(counts), runs, runs))
    for at, (a, b) in enumerate(pairs):
        points[:, a, b] += first[:, at]
        points[:, b, a] += total[:, at] - first[:, at]
    return points


def why(runs: Sequence[str], points: Array) -> str:
    """Why ratings are not finite: who won all battles against whom, or never met them."""
    reach = reachable(points)
    below = next(row for row in reach if not row.all())
    lower = [run for run, inside in zip(runs, below, strict=True) if inside]
    upper = [run for run, inside in zip(runs, below, strict=True) if not inside]
    met = points[np.ix_(~below, below)].sum() > 0
    how = "won every battle against" if met else "were never compared with"
    return f"no finite ratings: {', '.join(upper)} {how} {', '.join(lower)}"


def rate(outcomes: Array, how: Resampling) -> tuple[float | None, Interval]:
    """Win rate in percent, ties half, of outcomes (n,); None without a vote."""
    voted = ~np.isnan(outcomes)
    if not voted.any():
        return None, (None, None)
    points, ones = np.where(voted, outcomes, 0.0), voted.astype(np.float64)
    with np.errstate(invalid="ignore"):
        drawn = [100 * (counts @ points) / (counts @ ones) for counts in how.counts(len(outcomes))]
    return float(100 * points.sum() / ones.sum()), _around(drawn)


def _around(blocks: Sequence[Array]) -> Interval:
    """The percentile interval of drawn values; none where too many of them are undefined."""
    drawn = np.concatenate([*blocks, np.array([np.nan])])[:-1]
    defined = drawn[~np.isnan(drawn)]
    if not len(drawn) or len(defined) < (1 - RARE) * len(drawn):
        return None, None
    low, high = stats.interval(defined[:, None])[0]
    return float(low), float(high)


def at_equal_length(outcomes: Array, longer: Array, how: Resampling) -> tuple[float | None, Interval]:
    """Win rate in percent at equal length, of outcomes (n,); None where it is undefined.

    Args:
        longer: by how many words (n,) the first caption is longer.
    """
    voted = ~np.isnan(outcomes)
    if voted.sum() < 2 or not longer[voted].std():
        return rate(outcomes, how)
    x = np.tanh(longer / longer[voted].std())
    y = np.where(voted, outcomes, 0.0)
    point = _intercept(x, y, voted.astype(np.float64)[None])[0]
    if np.isnan(point):
        return None, (None, None)
    drawn = [_percent(_intercept(x, y, counts * voted)) for counts in how.counts(len(outcomes))]
    return float(_percent(point)), _around(drawn)


def _intercept(x: Array, y: Array, counts: Array) -> Array:
    """Intercepts (d,) of logistic regressions of y on x (n,), weighted by counts (d, n); NaN without a finite fit."""
    design = np.stack([np.ones(len(x)), x], axis=1)
    products = np.stack([np.ones(len(x)), x, x, x * x], axis=1)
    beta = step = np.zeros((len(counts), 2))
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-np.clip(beta @ design.T, -30, 30)))
        slope = (counts * (y - p)) @ design
        curve = ((counts * p * (1 - p)) @ products).reshape(-1, 2, 2) + 1e-9 * np.eye(2)
        step = np.clip(np.linalg.solve(curve, slope[..., None])[..., 0], -1, 1)
        beta = beta + step
        if float(np.abs(step).max()) < CONVERGED:
            break
    lost = (np.abs(beta) > INFINITE).any(axis=1) | (np.abs(step).max(axis=1) >= CONVERGED)
    return np.where(lost, np.nan, beta[:, 0])


def _percent(log_odds: Array) -> Array:
    return np.asarray(100 / (1 + np.exp(-log_odds)))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
