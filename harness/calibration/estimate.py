"""The score that people would give, estimated from all verdicts of a judge and the labels of some; numpy only.

Facts i (a question about a caption) have a judge's state, right, wrong or unread, and a kind; both together are a
stratum h with share W_h of all facts. Some facts of each stratum, drawn at random, carry a label y: 1 where what the
caption says equals the key. With m_h the mean label of a stratum

    score = sum_h W_h m_h,    sensitivity = P(right | y = 1),    specificity = P(wrong | y = 0).

Where the labels are of the run itself this is the stratified estimator; it equals the Rogan-Gladen correction
(p + spec - 1)/(sens + spec - 1) of "How to Correctly Report LLM-as-a-Judge Evaluations" (arXiv 2511.21140) with both
rates weighted, and prediction-powered inference (arXiv 2301.09633) with a prediction per stratum. Of another run only
the rates are taken over (``transferred``).

The variance is that of the influence of each image, so it holds the sampling of images, of labels, and the dependence
of facts of one image (linearisation, Binder 1983). A stratum whose labels all agree would have no variance: two
successes and two failures are added, spread over the strata by W_h (after Agresti and Coull 1998), in the interval
and not in the value. Coverage by simulation: ``tests/test_calibration.py``, docs/judges.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import CimError
from harness.runs import stats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from harness.parts import Array

RIGHT, WRONG, UNREAD = "right", "wrong", "unread"
FEWEST = 30  # labels, under which nothing is corrected
ADDED = 2.0  # successes, and as many failures
Z = stats.NORMAL.inv_cdf((1 + stats.LEVEL) / 2)

Stratum = tuple[str, str]  # state and kind


@dataclass(frozen=True, slots=True)
class Facts:
    """The n facts of a run: ``images`` (n,) names, ``strata`` (n,), ``labels`` (n,) in 0..1, NaN without a label."""

    images: Sequence[str]
    strata: Sequence[Stratum]
    labels: Array


@dataclass(frozen=True, slots=True)
class Rate:
    """A share in 0..1 with its 95 % interval, from ``n`` labels; None where there is none."""

    value: float | None
    ci95: tuple[float | None, float | None]
    n: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval; ``separates`` says of a difference that its interval leaves out 0."""

    value: float
    ci95: tuple[float, float]

    @property
    def separates(self) -> bool:
        """Does the interval leave out 0?"""
        return not self.ci95[0] <= 0 <= self.ci95[1]


@dataclass(frozen=True, slots=True)
class Linear:
    """A number as the sum of contributions: ``rows`` by image (or added observation), whose squares sum to a variance.

    ``value`` is without the added observations, ``centre`` with them.
    """

    value: float
    centre: float
    rows: dict[str, float]

    def times(self, factor: float) -> Linear:
        """The number times a constant."""
        rows = {name: factor * row for name, row in self.rows.items()}
        return Linear(factor * self.value, factor * self.centre, rows)

    def plus(self, other: Linear) -> Linear:
        """The sum of two numbers; what they share of an image is added before it is squared."""
        rows = {name: self.rows.get(name, 0.0) + other.rows.get(name, 0.0) for name in {**self.rows, **other.rows}}
        return Linear(self.value + other.value, self.centre + other.centre, rows)

    def estimate(self, low: float, high: float) -> Estimate:
        """Value and interval inside its bounds."""
        half = Z * float(np.sqrt(sum(row * row for row in self.rows.values())))
        return Estimate(self.value, (max(low, self.centre - half), min(high, self.centre + half)))


@dataclass(frozen=True, slots=True)
class Moments:
    """Shares of the facts of a run as linear numbers: judged right, truly right, and both; and the labels behind."""

    judged: Linear
    true: Linear
    both: Linear
    n_labels: int
    strata: dict[Stratum, tuple[int, int]] = field(default_factory=dict)  # facts and labels


def moments(facts: Facts, run: str = "") -> Moments:
    """The moments of a run's facts.

    Args:
        run: sets the added observations of several runs apart.

    Raises:
        CimError: fewer than 30 labels, fewer than two images, or a stratum without a label; says which.
    """
    names = sorted(set(facts.strata))
    stratum = np.array([names.index(name) for name in facts.strata], dtype=np.int64)
    labelled = ~np.isnan(facts.labels)
    y = np.where(labelled, facts.labels, 0.0)
    count = np.bincount(stratum, minlength=len(names)).astype(np.float64)
    n = np.bincount(stratum[labelled], minlength=len(names)).astype(np.float64)
    _refuse(names, n, facts)
    share, sums = count / count.sum(), np.bincount(stratum, weights=y, minlength=len(names))
    added = ADDED * share
    raw, smooth = sums / n, (sums + added) / (n + 2 * added)
    images = sorted(set(facts.images))
    at = {name: index for index, name in enumerate(images)}
    of_image = np.array([at[name] for name in facts.images], dtype=np.int64)
    weight = share / (n + 2 * added)
    residual = np.where(labelled, weight[stratum] * (y - smooth[stratum]), 0.0)
    chosen = np.array([state == RIGHT for state, _ in names])
    scale = np.sqrt(len(images) / (len(images) - 1))

    def linear(value: Array, of: NDArray[np.bool_], judged: bool) -> Linear:
        """sum over the strata ``of`` of W_h times ``value``; of the judge's own shares the labels are no part."""
        mean = np.where(of, np.ones(len(names)) if judged else smooth, 0.0)
        per_fact = (mean[stratum] - share @ mean) / len(stratum)
        rows = scale * np.bincount(of_image, per_fact + (0 if judged else of[stratum] * residual), len(images))
        contributions = dict(zip(images, rows.tolist(), strict=True))
        for index in np.flatnonzero(of) if not judged else ():
            root = float(np.sqrt(added[index])) * float(weight[index])
            contributions[f"\0{run}\0{index}+"] = root * float(1 - smooth[index])
            contributions[f"\0{run}\0{index}-"] = -root * float(smooth[index])
        return Linear(float(share @ np.where(of, value, 0.0)), float(share @ mean), contributions)

    everywhere = np.ones(len(names), dtype=np.bool_)
    strata = {name: (int(all_), int(labelled_)) for name, all_, labelled_ in zip(names, count, n, strict=True)}
    ones = np.ones(len(names))
    return Moments(
        linear(ones, chosen, True), linear(raw, everywhere, False), linear(raw, chosen, False), int(n.sum()), strata
    )


def _refuse(names: Sequence[Stratum], n: Array, facts: Facts) -> None:
    if n.sum() < FEWEST:
        raise CimError(f"{int(n.sum())} labels are too few to correct a score", hint=f"label {FEWEST} or more")
    if empty := [f"{state}, {kind}" for (state, kind), count in zip(names, n, strict=True) if not count]:
        raise CimError(f"no label yet of verdicts {'; '.join(empty)}", hint="label on")
    if len(set(facts.images)) < 2:
        raise CimError("facts of one image have no interval", hint="judge more images")


def corrected(of: Moments) -> Estimate:
    """The score in 0..1 of the run whose labels these are."""
    return of.true.estimate(0.0, 1.0)


def transferred(judged: Linear, labelled: Moments) -> Linear:
    """The score of a run without labels of its own, by the rates of another run with the same judge (Rogan-Gladen).

    It holds as far as the judge errs alike on both runs' captions: the assumption is part of whatever is said of it.

    Args:
        judged: the share of its facts that are judged right (``share``).

    Raises:
        CimError: by these labels the judge may say "right" as often of what is wrong: then nothing follows from it.
    """
    true, both = labelled.true, labelled.both
    sensitivity = _ratio(both, true)
    negatives = Linear(1.0, 1.0, {}).plus(true.times(-1.0))
    false_alarm = _ratio(labelled.judged.plus(both.times(-1.0)), negatives)
    apart = difference(false_alarm, sensitivity)
    if apart.ci95[0] <= 0 or apart.value <= 0:
        what = "the labels do not show that the judge tells right from wrong"
        raise CimError(what, hint="label the run itself, or more, or use another judge")
    gap = sensitivity.centre - false_alarm.centre
    score = (judged.centre - false_alarm.centre) / gap
    change = judged.plus(sensitivity.times(-score)).plus(false_alarm.times(score - 1)).times(1 / gap)
    value = (judged.value - false_alarm.value) / (sensitivity.value - false_alarm.value)
    return Linear(value, score, change.rows)


def share(facts: Facts) -> Linear:
    """The share of facts that are judged right, whether labelled or not."""
    images = sorted(set(facts.images))
    right = np.array([state == RIGHT for state, _ in facts.strata], dtype=np.float64)
    at = {name: index for index, name in enumerate(images)}
    per_image = np.bincount([at[name] for name in facts.images], (right - right.mean()) / len(right), len(images))
    rows = np.sqrt(len(images) / max(1, len(images) - 1)) * per_image
    return Linear(float(right.mean()), float(right.mean()), dict(zip(images, rows.tolist(), strict=True)))


def _ratio(above: Linear, below: Linear) -> Linear:
    """A quotient, linearised; CimError where the denominator is 0."""
    if not below.value or not below.centre:
        raise CimError("labels of one class alone say nothing of the judge's other rate", hint="label on")
    centre = above.centre / below.centre
    return Linear(above.value / below.value, centre, above.plus(below.times(-centre)).times(1 / below.centre).rows)


def difference(a: Linear, b: Linear) -> Estimate:
    """Score b minus score a; images that both hold are paired."""
    return b.plus(a.times(-1.0)).estimate(-1.0, 1.0)


def rates(facts: Facts) -> dict[str, tuple[Rate, Rate]]:
    """Sensitivity and specificity by kind, ``""`` for all kinds; an unread reply agrees with no label.

    Labels are weighted by the facts that each stands for; Wilson's interval on Kish's effective number of labels.
    """
    labelled = np.flatnonzero(~np.isnan(facts.labels))
    facts_of, labels_of = dict[Stratum, int](), dict[Stratum, int]()
    for stratum in facts.strata:
        facts_of[stratum] = facts_of.get(stratum, 0) + 1
    for index in labelled:
        labels_of[facts.strata[index]] = labels_of.get(facts.strata[index], 0) + 1
    by_kind = dict[str, tuple[Rate, Rate]]()
    for kind in ("", *sorted({kind for _, kind in facts.strata})):
        chosen = [index for index in labelled if kind in ("", facts.strata[index][1])]
        weights = np.array([facts_of[facts.strata[index]] / labels_of[facts.strata[index]] for index in chosen])
        y, states = facts.labels[chosen], np.array([facts.strata[index][0] for index in chosen])
        by_kind[kind] = _rate(states == RIGHT, weights * y), _rate(states == WRONG, weights * (1 - y))
    return by_kind


def _rate(agrees: NDArray[np.bool_], weights: Array) -> Rate:
    total, n = float(weights.sum()), int(np.count_nonzero(weights))
    if not total:
        return Rate(None, (None, None), 0)
    p, effective = float(weights @ agrees) / total, total**2 / float((weights**2).sum())
    spread = Z * float(np.sqrt(p * (1 - p) / effective + (Z / effective) ** 2 / 4))
    middle, wide = p + Z * Z / (2 * effective), 1 + Z * Z / effective
    return Rate(p, (max(0.0, (middle - spread) / wide), min(1.0, (middle + spread) / wide)), n)
