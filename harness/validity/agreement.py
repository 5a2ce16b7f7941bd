"""How well values of a metric agree with judgements, per resample of images, and the paired test of two metrics.

Ratings: tau-c (the published one), tau-b, Spearman's rho, and the latter two with the number of words partialled out.
Labels: the area under the ROC curve, ties half, and the same tau-b. Pairs:

* ``accuracy``: share of the pairs with a preference that the metric orders alike, half for a tie of the metric, which
  is what breaking it by a coin gives (PASCAL-50S, Vedantam et al. 2015, has no ties of people);
* ``accuracy_ties``: share of all pairs that are alike, ties of people included; two values closer than a threshold
  are a tie of the metric, and the threshold is the best one for these pairs, found anew in each resample (tie
  calibration, Deutsch, Foster and Freitag 2023, "Ties Matter", EMNLP);
* ``auc``: area under the ROC curve of preferred against other texts, pairs torn apart, where people tied none: would a
  threshold on the metric tell one from the other?
* ``accuracy_length``: mean of the accuracy over the pairs whose preferred text is longer, and over those whose
  preferred text is shorter; word count itself has 0.5.

Where every text names its system: ``system_tau``, tau-b over systems between mean judgement (of pairs: share of wins)
and mean metric value. A metric whose value of a text is undefined is judged on the rows where it is defined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.runs import stats
from harness.validity import ranks
from harness.validity.judgements import Judged, Shape

if TYPE_CHECKING:
    from harness.parts import Array

MAIN: Mapping[Shape, str] = {"ratings": "tau_c", "labels": "auc", "pairs": "accuracy"}
CHANCE = {"tau_c": 0.0, "auc": 0.5, "accuracy": 0.5}  # what a metric without information has
DRAWS = 2_000
BLOCK = 32  # resamples at once: their weights stay in the processor's cache
DEFINED = 0.95  # of the resamples must define a value for its interval to exist

Drawn = dict[str, "Array"]
"""Statistics by name (1 + draws,): first on the images as they are, then per resample."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic with its 95 % interval; None where undefined."""

    value: float | None
    ci95: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Contrast:
    """Metric a minus metric b in the main statistic of one criterion; two-sided p, and Holm's over the criterion."""

    a: str
    b: str
    criterion: str
    difference: float
    ci95: tuple[float, float] | None
    p: float
    holm: float = 1.0


def drawn(judged: Judged, values: Array, draws: int, *, defined: Array | None = None) -> Drawn:
    """Every statistic of a metric on the images and on ``draws`` resamples of them.

    Args:
        values: of the metric per text (t,), higher is better; NaN where undefined.
        defined: which texts to use (t,); those with a value if None.
    """
    known = np.isfinite(values) if defined is None else defined
    kept = known[judged.first]
    if judged.second is not None:
        kept = np.logical_and(kept, known[judged.second])
    if not kept.any():
        return {MAIN[judged.shape]: np.full(1 + draws, np.nan)}
    measure = _pairs(judged, values, kept) if judged.second is not None else _rated(judged, values, kept)
    parts = [measure(counts) for counts in _counts(judged.n_images, draws)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _counts(images: int, draws: int) -> Iterator[Array]:
    """How often each image counts: as it is, then resampled, in blocks."""
    yield np.ones((1, images))
    for block in stats.resamples(images, draws) if images > 1 and draws else ():
        for start in range(0, len(block), BLOCK):
            yield block[start : start + BLOCK]


def _rated(judged: Judged, values: Array, kept: Array) -> Callable[[Array], Drawn]:
    first, images, human = judged.first[kept], judged.images[kept], judged.values[kept]
    metric, words = values[first], judged.words[first]
    n = judged.n_images
    pair, with_words = ranks.pairing(metric, human, images, n), ranks.pairing(metric, words, images, n)
    words_human = ranks.pairing(words, human, images, n)
    systems = _systems(judged, kept)

    def measure(counts: Array) -> Drawn:
        tau = ranks.kendall(pair, counts)
        others = (ranks.kendall(other, counts).tau_b for other in (with_words, words_human))
        statistics: Drawn = {"auc": tau.auc} if judged.shape == "labels" else {"tau_c": tau.tau_c}
        statistics |= {"tau_b": tau.tau_b, "tau_b_length": ranks.partial(tau.tau_b, *others)}
        if judged.shape == "ratings":
            rho, *of_words = (ranks.spearman(columns, counts) for columns in (pair, with_words, words_human))
            statistics |= {"spearman": rho, "spearman_length": ranks.partial(rho, *of_words)}
        if systems is not None:
            weights = counts[:, images]
            statistics["system_tau"] = _tau(*(_means(weights, column, systems) for column in (metric, human)))
        return statistics

    return measure


def _pairs(judged: Judged, values: Array, kept: Array) -> Callable[[Array], Drawn]:
    assert judged.second is not None
    first, second, images = judged.first[kept], judged.second[kept], judged.images[kept]
    gap, human = values[first] - values[second], np.sign(judged.values[kept])
    alike = np.where(gap == 0, 0.5, (np.sign(gap) == human).astype(np.float64))
    preferred = human != 0
    longer = np.sign(judged.words[first] - judged.words[second]) * human
    order = np.argsort(np.abs(gap), kind="stable")
    change = np.where(preferred, -(np.sign(gap) == human).astype(np.float64), 1.0)[order]
    last = np.append(np.diff(np.abs(gap)[order]) != 0, [True])  # a threshold makes all equal gaps ties
    untied = (np.sign(gap) == human) & preferred & (gap != 0)
    both, sides_human = np.concatenate([values[first], values[second]]), np.concatenate([human, -human])
    apart = ranks.pairing(both, sides_human, np.tile(images, 2), judged.n_images)
    systems = _systems(judged, kept)

    def measure(counts: Array) -> Drawn:
        weights = counts[:, images]
        best = np.max(np.cumsum(weights[:, order] * change, axis=1)[:, last], axis=1)
        strict = weights @ untied
        if np.abs(gap).min() > 0:
            best = np.maximum(best, 0.0)  # the threshold may also lie below every gap
        statistics = {"accuracy": _share(weights, alike, preferred)}
        if preferred.all():
            statistics["auc"] = ranks.kendall(apart, counts).auc
        else:
            statistics["accuracy_ties"] = ranks.ratio(strict + best, weights.sum(axis=1))
        sides = [_share(weights, alike, longer == side) for side in (1, -1)]
        statistics["accuracy_length"] = (sides[0] + sides[1]) / 2
        if systems is not None:
            doubled = np.hstack([weights, weights])
            statistics["system_tau"] = _tau(*(_means(doubled, column, systems) for column in (both, sides_human)))
        return statistics

    return measure


def _share(weights: Array, alike: Array, among: Array) -> Array:
    """Weighted mean (d,) of ``alike`` over the rows ``among``; NaN where they have no weight."""
    return ranks.ratio(weights @ (alike * among), weights @ among.astype(np.float64))


def _systems(judged: Judged, kept: Array) -> Array | None:
    """Which system wrote the text of each row, and below them of each row's other text: one-hot (n, s); None: unknown.

    Two systems are needed for an order.
    """
    if judged.n_systems < 2:
        return None
    sides = [judged.system[kept]] if judged.second is None else [judged.system[kept], judged.other_system[kept]]
    one_hot: Array = np.eye(judged.n_systems)[np.concatenate(sides)]
    return one_hot


def _means(weights: Array, column: Array, systems: Array) -> Array:
    """Weighted mean (d, s) of a column per system; NaN for a system that is not drawn."""
    return ranks.ratio((weights * column) @ systems, weights @ systems)


def _tau(x: Array, y: Array) -> Array:
    """Tau-b (d,) between two columns (d, s) of few systems, without those that are not drawn."""
    upper = np.triu_indices(x.shape[1], 1)
    signs = [np.sign(_rounded(column[:, upper[0]] - column[:, upper[1]])) for column in (x, y)]
    products = [np.nansum(a * b, axis=1) for a, b in ((signs[0], signs[1]), (signs[0], signs[0]), (signs[1], signs[1]))]
    return ranks.ratio(products[0], np.sqrt(products[1] * products[2]))


def _rounded(differences: Array) -> Array:
    """Differences of means, without what rounding leaves of equal ones."""
    return np.where(np.abs(differences) < 1e-12, 0.0, differences)


def estimate(values: Array) -> Estimate:
    """The value and percentile interval of a statistic's column (1 + draws,)."""
    point = None if np.isnan(values[0]) else float(values[0])
    resampled = values[1:][np.isfinite(values[1:])]
    if point is None or not len(resampled) or len(resampled) < DEFINED * (len(values) - 1):
        return Estimate(point, None)
    low, high = stats.interval(resampled[:, None])[0]
    return Estimate(point, (float(low), float(high)))


def contrast(
    judged: Judged, a: str, b: str, values: Mapping[str, Array], known: Mapping[str, Drawn]
) -> Contrast | None:
    """The paired test of two metrics on the texts that both have a value of; None where it is undefined.

    Args:
        values: per text, by metric.
        known: what ``drawn`` gave for each metric, used again where both have all values.
    """
    main, draws = MAIN[judged.shape], len(known[a][MAIN[judged.shape]]) - 1
    both = np.isfinite(values[a]) & np.isfinite(values[b])
    sides = [
        known[name][main]
        if (both == np.isfinite(values[name])).all()
        else drawn(judged, values[name], draws, defined=both)[main]
        for name in (a, b)
    ]
    differences = sides[0] - sides[1]
    around = estimate(differences)
    if around.value is None or around.ci95 is None:
        return None
    resampled = differences[1:]
    p = stats.p_value(resampled - np.nanmean(resampled), around.value)
    return Contrast(a, b, judged.criterion, around.value, around.ci95, p)
