"""Simulated studies of judge calibration in the embedded world, where what captions say is known.

A population of 3,000 scenes with five questions each has captions of which a share says everything and the others
little, so that facts of one image are right or wrong together. A study draws 500 images with replacement, lets a judge
of known sensitivity and specificity judge all facts, labels some by the truth, and asks whether the 95 % interval
covers the population's score. ``python -m tests.calibration_studies`` prints the table of docs/judges.md.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.calibration import estimate, plan
from harness.calibration.estimate import RIGHT, WRONG, Z
from tasks.miniscenes import language, reading, samples
from tasks.miniscenes.world import Dice, scene

Array = NDArray[np.float64]
SCENES, IMAGES = 3000, 500
STUDIES = 1000


@dataclass(frozen=True)
class Study:
    """Truth and verdicts (images, questions) of a study, its labelled facts, and a random sample of as many facts."""

    truth: Array
    verdicts: Array
    facts: estimate.Facts
    random: NDArray[np.bool_]


@functools.cache
def population(full: float) -> tuple[Array, NDArray[np.bool_]]:
    """Is each fact (scenes, 5) right in its caption, and is its key Yes? A share ``full`` of captions says all."""
    truth, keys = np.zeros((SCENES, samples.QUESTIONS)), np.zeros((SCENES, samples.QUESTIONS), dtype=np.bool_)
    for number in range(SCENES):
        shown, dice = scene("pearson", number), Dice(f"calibration/{full}/{number}")
        level = language.LEVELS["full" if dice.chance(full) else "base"]
        said = reading.read(language.caption(shown, level, dice))
        asked = samples.questions(shown)
        truth[number] = [reading.answer(question.text, said) == question.answer for question in asked]
        keys[number] = [question.answer == "Yes" for question in asked]
    return truth, keys


def study(full: float, sensitivity: float, specificity: float, labels: int, seed: int) -> Study:
    """One study, of its seed alone."""
    generator, (truth, keys) = np.random.default_rng(seed), population(full)
    drawn = generator.integers(0, SCENES, IMAGES)
    y, key = truth[drawn], keys[drawn]
    agrees = generator.random(y.shape) < np.where(y == 1, sensitivity, specificity)
    verdicts = np.where(agrees, y, 1 - y)
    strata = [
        (RIGHT if right else WRONG, f"key {'Yes' if yes else 'No'}")
        for right, yes in zip(verdicts.flat, key.flat, strict=True)
    ]
    names = [(f"{seed}/{image}", question) for image in range(IMAGES) for question in range(y.shape[1])]
    known = np.full(y.size, np.nan)
    chosen = plan.order(strata, names, labels)
    known[chosen] = y.ravel()[chosen]
    facts = estimate.Facts([name for name, _ in names], strata, known)
    at_random = np.zeros(y.size, dtype=np.bool_)
    at_random[generator.choice(y.size, labels, replace=False)] = True
    return Study(y, verdicts, facts, at_random.reshape(y.shape))


Interval = tuple[float, float]


def around(contributions: Array, value: float) -> Interval:
    """Normal interval of a mean whose contributions (images,) sum to its error."""
    half = Z * float(np.sqrt((contributions**2).sum()))
    return value - half, value + half


def naive(of: Study) -> Interval:
    """The judge's own score, images resampled: its errors are taken for truth."""
    score = float(of.verdicts.mean())
    return around((of.verdicts.mean(axis=1) - score) / IMAGES, score)


def labels_alone(of: Study) -> Interval:
    """The labels of facts drawn at random, without the judge."""
    score, n = float(of.truth[of.random].mean()), of.random.sum()
    return around(((of.truth - score) * of.random).sum(axis=1) / n, score)


def rogan_gladen(of: Study) -> Interval:
    """Rogan-Gladen after arXiv 2511.21140, restated: binomial variances, labels of facts drawn at random."""
    y, right = of.truth[of.random], of.verdicts[of.random]
    ones, zeros, n = y.sum(), (1 - y).sum(), of.truth.size + Z * Z
    p = (of.verdicts.sum() + Z * Z / 2) / n
    sens, spec = ((right * y).sum() + 1) / (ones + 2), (((1 - right) * (1 - y)).sum() + 1) / (zeros + 2)
    gap = sens + spec - 1
    if gap <= 0:
        return 0.0, 1.0
    score = (p + spec - 1) / gap
    variance = p * (1 - p) / n + (1 - score) ** 2 * spec * (1 - spec) / (zeros + 2)
    half = Z * np.sqrt(variance + score**2 * sens * (1 - sens) / (ones + 2)) / gap
    return float(score - half), float(score + half)


def prediction_powered(of: Study) -> Interval:
    """arXiv 2301.09633 (lambda = 1) on labels of facts drawn at random, with the variance of images."""
    rectified = of.random * (of.truth - of.verdicts) * of.truth.size / of.random.sum()
    score = float((of.verdicts + rectified).mean())
    return around((of.verdicts + rectified - score).sum(axis=1) / of.truth.size, score)


def stratified(of: Study) -> Interval:
    """What this project reports."""
    return estimate.corrected(estimate.moments(of.facts)).ci95


METHODS: tuple[Callable[[Study], Interval], ...] = (naive, labels_alone, rogan_gladen, prediction_powered, stratified)


@dataclass(frozen=True)
class Coverage:
    """Share of intervals that hold the truth, in percent, and their mean width in points."""

    percent: float
    width: float


def coverage(full: float, sensitivity: float, specificity: float, labels: int, studies: int) -> list[Coverage]:
    """Coverage of each method over this many studies."""
    score, intervals = float(population(full)[0].mean()), np.zeros((studies, len(METHODS), 2))
    for seed in range(studies):
        outcome = study(full, sensitivity, specificity, labels, seed)
        intervals[seed] = [method(outcome) for method in METHODS]
    inside = (intervals[:, :, 0] <= score) & (score <= intervals[:, :, 1])
    widths = intervals[:, :, 1] - intervals[:, :, 0]
    return [Coverage(100 * float(a), 100 * float(b)) for a, b in zip(inside.mean(0), widths.mean(0), strict=True)]


CASES = (
    (0.5, 0.9, 0.8, 200),
    (0.5, 0.9, 0.8, 100),
    (0.5, 0.97, 0.97, 100),
    (0.5, 0.6, 0.6, 100),
    (0.0, 0.9, 0.8, 200),
    (0.0, 0.6, 0.6, 100),
    (0.96, 0.9, 0.8, 200),
    (0.96, 0.6, 0.6, 100),
)


def main() -> None:
    """Print the table."""
    print("| truth | sens / spec | labels | " + " | ".join(method.__name__ for method in METHODS) + " |")
    print("| --- | --- | --- |" + " --- |" * len(METHODS))
    for full, sensitivity, specificity, labels in CASES:
        cells = coverage(full, sensitivity, specificity, labels, STUDIES)
        shown = " | ".join(f"{cell.percent:.1f} ({cell.width:.1f})" for cell in cells)
        score = 100 * population(full)[0].mean()
        print(f"| {score:.1f} % | {sensitivity} / {specificity} | {labels} | {shown} |")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
