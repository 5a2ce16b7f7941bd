"""Shares of outcomes by kind of fact, with intervals and paired tests that resample images; facts that stand out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.runs import stats
from harness.runs.stats import Column
from leaderboards.facts.matrix import GROUPS, NOT_SAID, OUTCOMES, RIGHT, WRONG, Matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.parts import Array

ALL = "all"
VALUES = (*OUTCOMES, "coverage", "precision")
FEWEST = 3  # runs that must miss a fact before its key is suspected


@dataclass(frozen=True, slots=True)
class Share:
    """What one run says of the facts of one group: percentages in the order of ``VALUES`` and their intervals.

    Outcomes are shares of all facts; coverage is what is said, right or wrong, among the facts with a verdict, and
    precision what is right among that: NaN where there is nothing. ``against`` is the paired difference of the share
    said right to the first run's, ``p`` its p value after Holm's correction over all groups and runs; None for the
    first run itself.
    """

    group: str
    run: str
    facts: int
    values: tuple[float, ...]
    ci95: tuple[tuple[float, float], ...]
    against: stats.Difference | None = None
    p: float | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Facts that stand out: their rows in the matrix, first those to look at, and their share of all with interval."""

    rows: tuple[int, ...]
    share: float
    ci95: tuple[float, float]


def by_group(matrix: Matrix, by: str, draws: int = stats.DRAWS) -> list[Share]:
    """Shares of each run in all facts and in each group of ``by`` (a key of ``GROUPS``), by group, then run."""
    groups = [ALL, *sorted({name for names in _names(matrix, by) for name in names})]
    member = np.array([[name in (ALL, *names) for name in groups] for names in _names(matrix, by)])
    columns = [_column(matrix, member, run) for run in range(len(matrix.runs))]
    drawn = stats.bootstrap(columns, draws)
    bounds, points = [stats.interval(values) for values in drawn], [stats.point(column) for column in columns]
    pairs = [(columns[0], column) for column in columns[1:]]
    tests = [test[RIGHT :: len(VALUES)] for test in stats.paired(pairs, draws)] if pairs else []
    corrected = iter(stats.holm([difference.p_permutation for test in tests for difference in test]))
    adjusted = [[next(corrected) for _ in test] for test in tests]
    size = len(VALUES)
    return [
        Share(
            name,
            run,
            int(member[:, at].sum()),
            tuple(points[number][at * size : (at + 1) * size].tolist()),
            tuple((low, high) for low, high in bounds[number][at * size : (at + 1) * size].tolist()),
            tests[number - 1][at] if number else None,
            adjusted[number - 1][at] if number else None,
        )
        for at, name in enumerate(groups)
        for number, run in enumerate(matrix.runs)
    ]


def _names(matrix: Matrix, by: str) -> list[list[str]]:
    named = (GROUPS[by](sample, fact) for sample, fact in zip(matrix.samples, matrix.facts, strict=True))
    return [[name for name in names if name] for names in named]


def _column(matrix: Matrix, member: NDArray[np.bool_], run: int) -> Column:
    """Counts (images, groups x outcomes) of a run."""
    said = np.eye(len(OUTCOMES))[matrix.outcomes[:, run]]
    counts = (member[:, :, None] * said[:, None, :]).reshape(len(said), -1)
    return Column(stats.by_image(counts, matrix.images), _percentages)


def _percentages(totals: Array, n: int | Array) -> Array:
    """Percentages (..., groups x values) of summed counts (..., groups x outcomes)."""
    counts = totals.reshape(*totals.shape[:-1], -1, len(OUTCOMES))
    said, judged = counts[..., [RIGHT, WRONG]].sum(axis=-1), counts[..., [RIGHT, WRONG, NOT_SAID]].sum(axis=-1)
    parts = np.concatenate([counts, said[..., None], counts[..., [RIGHT]]], axis=-1)
    among = np.stack([*[counts.sum(axis=-1)] * len(OUTCOMES), judged, said], axis=-1)
    shares = np.divide(parts, among, out=np.full_like(parts, np.nan), where=among > 0)
    return np.asarray(100.0 * shares.reshape(*totals.shape[:-1], -1))


def only(matrix: Matrix, run: int, draws: int = stats.DRAWS) -> Standing:
    """Facts that this run says right and no other; first those of the images with most of them."""
    right = matrix.outcomes == RIGHT
    mask = right[:, run] & ~np.delete(right, run, axis=1).any(axis=1)
    of_image = np.bincount(matrix.images[mask], minlength=matrix.n_images)[matrix.images]
    return _standing(matrix, mask, -of_image, draws)


def missed(matrix: Matrix, draws: int = stats.DRAWS) -> Standing:
    """Facts that every run says wrong or not at all; first those that most runs contradict: their keys are suspect."""
    mask = np.isin(matrix.outcomes, (WRONG, NOT_SAID)).all(axis=1)
    return _standing(matrix, mask, -(matrix.outcomes == WRONG).sum(axis=1), draws)


def _standing(matrix: Matrix, mask: Any, order: NDArray[np.int64], draws: int) -> Standing:
    rows = np.flatnonzero(mask)
    rows = rows[np.argsort(order[rows], kind="stable")]
    counts = np.stack([mask, ~mask], axis=1).astype(np.float64)
    column = Column(stats.by_image(counts, matrix.images), _first_share)
    low, high = stats.interval(stats.bootstrap([column], draws)[0])[0]
    return Standing(tuple(rows.tolist()), float(stats.point(column)[0]), (float(low), float(high)))


def _first_share(totals: Array, n: int | Array) -> Array:
    return np.asarray(100.0 * totals[..., :1] / totals.sum(axis=-1, keepdims=True))
