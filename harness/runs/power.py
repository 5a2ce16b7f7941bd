"""How many images a difference needs, and what the images there are can show, from the variance that is stored.

A value is a function of sums over images, so what one image does to it is its jackknife pseudo-value: of a mean the
image's own value, of a corpus metric such as BLEU its linear part (Efron and Tibshirani 1993, chapter 11). Two runs are
paired: with d the differences per image, images = ((z(1 - alpha/2) + z(power)) sd(d) / difference)^2, the formula of
Miller 2024, "Adding Error Bars to Evals" (arXiv 2411.00640, section 5), and z(1 - alpha/2)^2 / 2 more for the t test
(Guenther 1981). An image with several captions counts once. The interval of sd(d) is Bonett's (2006), which does not
take differences for normal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.parts import Metric
from harness.runs import stats

if TYPE_CHECKING:
    from harness.parts import Array

ALPHA = 0.05
POWERS = (0.8, 0.9)
CORRELATIONS = (0.5, 0.9)  # between two captioners on the same images, where only one is stored
FEWEST = 5  # images from which a variance is taken
LEAST = 20  # images to plan for: with fewer no normal approximation holds


@dataclass(frozen=True, slots=True)
class Test:
    """A two-sided paired test: its level for one comparison of ``comparisons``, and the powers asked for.

    Holm's correction asks the level alpha / comparisons of the smallest p value and less of the others.
    """

    alpha: float = ALPHA
    comparisons: int = 1
    powers: tuple[float, ...] = POWERS

    @property
    def level(self) -> float:
        """The p value that is significant."""
        return self.alpha / self.comparisons


@dataclass(frozen=True, slots=True)
class Plan:
    """What one value of a metric needs.

    ``sd`` is the standard deviation of the paired difference per image, with its 95 % interval; ``correlation`` that of
    the two runs over images, or an assumption. By power: ``detectable`` is the smallest difference that the ``images``
    there are can show, ``needed`` the images for the difference asked for, with those for both ends of ``sd_ci95``;
    empty without one. ``not_planned`` says why there is no number.
    """

    metric: str
    value: str
    images: int = 0
    sd: float = math.nan
    sd_ci95: tuple[float, float] = (math.nan, math.nan)
    correlation: float | None = None
    detectable: Mapping[float, float] | None = None
    needed: Mapping[float, tuple[int, int, int]] | None = None
    not_planned: str | None = None


def influence(column: stats.Column) -> Array:
    """Jackknife pseudo-values (m, v) of m images: their mean estimates the value, their sd over root m its error."""
    sums = stats.by_image(column.statistics, column.images)
    captions = stats.by_image(np.ones((len(column.statistics), 1)), column.images)
    m, value = len(sums), stats.point(column)
    without = column.aggregate(sums.sum(axis=0) - sums, len(column.statistics) - captions)
    return np.asarray(m * value - (m - 1) * without)


def deviation(values: Array) -> tuple[float, tuple[float, float]]:
    """Standard deviation of values (m,) and its 95 % interval (Bonett 2006), m >= ``FEWEST``."""
    m, variance = len(values), float(values.var(ddof=1))
    z = stats.NORMAL.inv_cdf((1 + stats.LEVEL) / 2)
    trimmed = np.sort(values)[(cut := int(m / (2 * math.sqrt(m - 4)))) : m - cut]
    kurtosis = m * float(((values - trimmed.mean()) ** 4).sum()) / ((m - 1) * variance) ** 2
    small = m / (m - z)
    error = small * math.sqrt((kurtosis - (m - 3) / m) / (m - 1))
    low, high = (math.sqrt(small * variance) * math.exp(sign * z * error / 2) for sign in (-1, 1))
    return math.sqrt(variance), (low, high)


def images_needed(sd: float, difference: float, level: float = ALPHA, power: float = 0.8) -> int:
    """Images with which a two-sided paired t test finds this difference with this power; at least ``LEAST``."""
    z = stats.NORMAL.inv_cdf(1 - level / 2)
    return max(LEAST, math.ceil(((z + stats.NORMAL.inv_cdf(power)) * sd / difference) ** 2 + z * z / 2))


def of_pair(
    metric: Metric, pair: tuple[stats.Column, stats.Column], test: Test, difference: float | None
) -> list[Plan]:
    """A plan per value from two runs on the same images."""
    a, b = (influence(column) for column in pair)
    return [
        _plan(metric, value, b[:, at] - a[:, at], 1.0, _correlation(a[:, at], b[:, at]), test, difference)
        for at, value in enumerate(metric.names)
    ]


def of_run(
    metric: Metric, column: stats.Column, test: Test, difference: float | None, correlations: Sequence[float]
) -> list[Plan]:
    """A plan per value and assumed correlation r with a run of equal variance: sd(d) = sd sqrt(2 (1 - r))."""
    values = influence(column)
    return [
        _plan(metric, value, values[:, at], math.sqrt(2 * (1 - r)), r, test, difference)
        for at, value in enumerate(metric.names)
        for r in correlations
    ]


def _correlation(a: Array, b: Array) -> float | None:
    return stats.pearson(a, b) if np.isfinite(a).all() and np.isfinite(b).all() else None


def _plan(
    metric: Metric, value: str, effects: Array, scale: float, r: float | None, test: Test, difference: float | None
) -> Plan:
    m = len(effects)
    if m < FEWEST:
        return Plan(metric.name, value, not_planned=f"fewer than {FEWEST} images")
    if not np.isfinite(effects).all():
        return Plan(metric.name, value, not_planned="undefined without some image")
    if stats.is_constant(effects):
        return Plan(metric.name, value, not_planned="the same for every image")
    sd, around = deviation(effects)
    sds = [scale * each for each in (sd, *around)]
    detectable = {p: stats.minimum_detectable(sds[0] / math.sqrt(m), 1 - test.level, p) for p in test.powers}
    needed = {p: _each(sds, difference, test.level, p) for p in test.powers} if difference else {}
    return Plan(metric.name, value, m, sds[0], (sds[1], sds[2]), r, detectable, needed)


def _each(sds: Sequence[float], difference: float, level: float, power: float) -> tuple[int, int, int]:
    point, low, high = (images_needed(sd, difference, level, power) for sd in sds)
    return point, low, high
