"""Intervals and paired tests from statistics per sample, by resampling images; correlations of two columns.

A metric is ``aggregate(sum of statistics, n)``, so a resample is one matrix product and never a new scoring. One matrix
of counts (draws x images), made in blocks from a fixed seed, serves all metrics of all runs over the same images. Where
an image has several captions, all of them are drawn together (cluster bootstrap, Davison and Hinkley 1997, section
3.8): captions of one image are not independent. More than ``GROUPS`` images are drawn in groups. Interval: percentile
bootstrap. Tests: paired bootstrap with the difference re-centred, and approximate randomisation that swaps the two
systems' statistics image by image; p = (hits + 1)/(draws + 1). Sources: Koehn 2004; Riezler and Maxwell 2005;
``mjpost/sacrebleu:sacrebleu/significance.py``; Holm 1979.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import CimError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.parts import Array

    Ints = NDArray[np.int64]

DRAWS = 10_000
MOST_DRAWS = 100_000  # more take hours and tell no more; an untrusted run must not ask for them
SEED = 12345
LEVEL = 0.95
NORMAL = NormalDist()
CONSTANT = 1e-12  # a variance below this share of the mean square is rounding
FISHER_FEWEST = 4  # points, under which Fisher's interval does not exist
SPEARMAN_VARIANCE = 1.06  # of Fisher's z of a rank correlation, times n - 3 (Fieller, Hartley and Pearson 1957)
GROUPS = 20_000  # units from which images are resampled in groups
BLOCK = 1 << 21  # cells of a block of the resampling matrix: 16 MB of float64

Aggregate = Callable[["Array", "int | Array"], "Array"]


@dataclass(frozen=True, slots=True)
class Column:
    """Statistics (n, s) of one metric and how their sums become its v values.

    ``images`` (n,) numbers the image of each row from 0; None where each row is an image of its own. ``captions`` (n,)
    is set where rows are sums over so many captions.
    """

    statistics: Array
    aggregate: Aggregate
    images: Ints | None = None
    captions: Array | None = None

    @property
    def n(self) -> int:
        """How many captions there are."""
        return len(self.statistics) if self.captions is None else int(self.captions.sum())


def image_numbers(keys: Iterable[Hashable]) -> Ints | None:
    """``Column.images`` of rows whose images are called so; None where no two rows are of one image."""
    hashes = keys if isinstance(keys, np.ndarray) else np.fromiter(map(hash, keys), np.int64)
    _, first, image = np.unique(hashes, return_index=True, return_inverse=True)
    if len(first) == len(hashes):
        return None
    numbers = np.empty(len(first), np.int64)
    numbers[np.argsort(first)] = np.arange(len(first))  # in the order in which images come
    return numbers[image]


def _blocks(n: int, draws: int) -> Iterator[int]:
    if not 0 <= draws <= MOST_DRAWS:
        raise CimError(f"{draws} draws", hint=f"0 to {MOST_DRAWS}")
    rows = max(1, BLOCK // n)
    yield from (min(rows, draws - start) for start in range(0, draws, rows))


def resamples(n: int, draws: int = DRAWS, seed: int = SEED) -> Iterator[Array]:
    """Bootstrap resamples of n images: blocks (rows, n) of counts, each row summing to n."""
    generator = np.random.default_rng(seed)
    for rows in _blocks(n, draws):
        drawn = generator.integers(0, n, size=(rows, n), dtype=np.int32)
        drawn += np.arange(rows, dtype=np.int32)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def swaps(n: int, draws: int = DRAWS, seed: int = SEED) -> Iterator[Array]:
    """Which images change sides in a randomisation: blocks (rows, n) of 0 and 1."""
    generator = np.random.default_rng(seed)
    for rows in _blocks(n, draws):
        yield generator.integers(0, 2, size=(rows, n), dtype=np.int8).astype(np.float64)


def bootstrap(columns: Sequence[Column], draws: int = DRAWS, seed: int = SEED) -> list[Array]:
    """Values (draws, v) of every column on the same resamples; all columns have the same rows, images and captions."""
    together = [units(column.statistics, column) for column in columns]
    stacked, captions = np.hstack([statistics for statistics, _ in together]), together[0][1]
    rows: int | Array = len(stacked)
    if captions is not None:
        stacked = np.hstack([stacked, captions[:, None]])
    totals = np.vstack([counts @ stacked for counts in resamples(len(stacked), draws, seed)])
    if captions is not None:
        totals, rows = totals[:, :-1], totals[:, -1:]  # as many captions as the drawn images have
    parts = np.split(totals, np.cumsum([column.statistics.shape[1] for column in columns])[:-1], axis=1)
    return [column.aggregate(part, rows) for column, part in zip(columns, parts, strict=True)]


def units(statistics: Array, column: Column) -> tuple[Array, Array | None]:
    """What is resampled: sums (m, s) of statistics (n, s) over the captions of each of m images; their number (m,).

    The number is None where each image has one caption. Of more than ``GROUPS`` images it is groups of them, into which
    they are dealt at random: sums over groups of independent images are independent, too, and 20,000 of them give the
    standard error to 0.5 % of itself, 1 / sqrt(2 m).
    """
    group, count = grouping(column.images, len(statistics))
    if column.captions is not None or group is None:
        return statistics, column.captions
    return sums(statistics, group, count), np.bincount(group, minlength=count).astype(np.float64)


def grouping(images: Ints | None, n: int) -> tuple[Ints | None, int]:
    """The number of each row's unit (n,) and how many there are; None where each of n rows is one."""
    count = n if images is None else int(images.max()) + 1
    if count <= GROUPS:
        return images, count
    group = np.random.default_rng(SEED).permutation(count) % GROUPS
    return (group if images is None else group[images]), GROUPS


def sums(statistics: Array, group: Ints, count: int) -> Array:
    """Sums (count, s) of statistics (n, s) over the rows of each group."""
    summed = np.zeros((count, statistics.shape[1]))
    np.add.at(summed, group, statistics)
    return summed


def by_image(statistics: Array, images: Ints | None) -> Array:
    """Sums (m, s) of statistics (n, s) over the captions of each of m images."""
    return statistics if images is None else sums(statistics, images, int(images.max()) + 1)


def point(column: Column) -> Array:
    """The values (v,) of a column on its own images."""
    return column.aggregate(column.statistics.sum(axis=0), column.n)


def interval(drawn: Array, level: float = LEVEL) -> Array:
    """Percentile interval (v, 2) of bootstrap values (draws, v)."""
    tail = (1 - level) / 2
    return np.asarray(np.quantile(drawn, [tail, 1 - tail], axis=0).T)


@dataclass(frozen=True, slots=True)
class Difference:
    """System b minus system a in one value: difference, 95 % interval, p values, minimum detectable difference.

    ``detectable`` is the smallest true difference that a two-sided 5 % test would find in 80 % of
    repetitions with these images: (z.975 + z.80) standard errors of the paired difference.
    """

    a: float
    b: float
    difference: float
    ci95: tuple[float, float]
    p_bootstrap: float
    p_permutation: float
    detectable: float


def paired(pairs: Sequence[tuple[Column, Column]], draws: int = DRAWS, seed: int = SEED) -> list[list[Difference]]:
    """Paired tests of system b against a, for every value of every metric; rows are the same captioned images."""
    n = pairs[0][0].n
    drawn = bootstrap([column for pair in pairs for column in pair], draws, seed)
    jumps = np.hstack([units(b.statistics - a.statistics, a)[0] for a, b in pairs])
    moved = np.vstack([flips @ jumps for flips in swaps(len(jumps), draws, seed)])
    parts = np.split(moved, np.cumsum([a.statistics.shape[1] for a, _ in pairs])[:-1], axis=1)
    tests = []
    for (a, b), drawn_a, drawn_b, part in zip(pairs, drawn[::2], drawn[1::2], parts, strict=True):
        values_a, values_b, differences = point(a), point(b), drawn_b - drawn_a
        total_a, total_b = a.statistics.sum(axis=0), b.statistics.sum(axis=0)
        permuted = b.aggregate(total_b - part, n) - a.aggregate(total_a + part, n)
        observed = values_b - values_a
        tests.append(
            [
                Difference(
                    a=float(values_a[v]),
                    b=float(values_b[v]),
                    difference=float(observed[v]),
                    ci95=_pair(interval(differences[:, v])),
                    p_bootstrap=p_value(differences[:, v] - differences[:, v].mean(), float(observed[v])),
                    p_permutation=p_value(permuted[:, v], float(observed[v])),
                    detectable=minimum_detectable(float(differences[:, v].std(ddof=1))),
                )
                for v in range(len(observed))
            ]
        )
    return tests


def _pair(bounds: Array) -> tuple[float, float]:
    return float(bounds[0]), float(bounds[1])


def p_value(under_null: Array, observed: float) -> float:
    """Two-sided p of a difference under its null distribution: (hits + 1)/(draws + 1).

    Equality counts as a hit, with room for rounding of sums, and so does a draw whose value is undefined (NaN).
    """
    slack = 1e-9 * max(1.0, abs(observed))
    return (int(np.count_nonzero(~(np.abs(under_null) < abs(observed) - slack))) + 1) / (len(under_null) + 1)


def minimum_detectable(standard_error: float, level: float = LEVEL, power: float = 0.8) -> float:
    """Difference found with this power by a two-sided test of this level (normal approximation)."""
    return (NORMAL.inv_cdf((1 + level) / 2) + NORMAL.inv_cdf(power)) * standard_error


def student(t: float, freedom: int) -> float:
    """Distribution function of Student's t; in closed form, as degrees of freedom are whole numbers (A&S 26.7.3-4)."""
    angle = math.atan(t / math.sqrt(freedom))
    term = total = 1.0 if freedom % 2 == 0 else math.cos(angle)
    for k in range(2 + freedom % 2, freedom, 2):
        term *= (k - 1) / k * math.cos(angle) ** 2
        total += term
    if freedom % 2:
        area = 2 / math.pi * (angle + (math.sin(angle) * total if freedom > 1 else 0.0))
    else:
        area = math.sin(angle) * total
    return (1 + area) / 2


def student_quantile(probability: float, freedom: int) -> float:
    """The t under which Student's distribution holds a probability of at least a half."""
    low, high = 0.0, 1.0
    while student(high, freedom) < probability:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if student(middle, freedom) < probability else (low, middle)
    return high


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: family-wise adjusted p values, in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def is_constant(values: Array) -> bool:
    """Is a column (n,) constant up to rounding?"""
    return float(values.var()) <= CONSTANT * max(1e-300, float(np.mean(values**2)))


def pearson(x: Array, y: Array) -> float | None:
    """Pearson's r of two columns (n,); None for fewer than two points or where a column is constant."""
    if len(x) < 2 or is_constant(x) or is_constant(y):
        return None
    a, b = x - x.mean(), y - y.mean()
    return max(-1.0, min(1.0, float(a @ b / math.sqrt(float(a @ a) * float(b @ b)))))


def spearman(x: Array, y: Array) -> float | None:
    """Spearman's rank correlation: Pearson's r of ranks, ties averaged; None as there."""
    return pearson(_ranks(x), _ranks(y))


def _ranks(values: Array) -> Array:
    """Ranks from 1; tied values get the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_rank: Array = np.cumsum(counts) - (counts - 1) / 2
    return mean_rank[inverse]


def fisher(r: float | None, n: int, variance: float = 1.0) -> tuple[float, float] | None:
    """95 % interval of a correlation over n independent points: tanh(atanh r -+ 1.96 sqrt(variance / (n - 3))).

    None under four points, without r, and for r of 1 or -1.
    """
    if r is None or n < FISHER_FEWEST or abs(r) >= 1:
        return None
    middle, half = math.atanh(r), NORMAL.inv_cdf((1 + LEVEL) / 2) * math.sqrt(variance / (n - 3))
    return math.tanh(middle - half), math.tanh(middle + half)
