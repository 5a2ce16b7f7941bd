"""Kendall's tau and Spearman's rho of two columns over many resamples of images, none of them sorted again.

Kendall's S = sum over pairs of rows of sign(x_i - x_j) sign(y_i - y_j) comes from the bits of y: two ranks differ first
in one bit, so pairs fall apart into ``log2`` of the number of levels of y layers, and within a layer one cumulative sum
in the order of x counts all of them: O(n log levels) per resample, on orders that all resamples share. Tau-b and tau-c
(Kendall 1945, Stuart 1953) are as in ``scipy.stats.kendalltau``; partial correlation: Kendall 1942.

A resample counts each image c times. Pairs of rows of two images then count c c' times, pairs within an image c times:
that an image is drawn twice does not compare it with its copy. (Writing the rows out so often does, and makes within-
image pairs, whose texts share their references, count double on average: of m images a bias of order 1/m.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from harness.parts import Array
    from harness.runs.stats import Ints


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows brought into an order in which equal ones are neighbours: the order, and where each group starts."""

    order: Ints
    starts: Ints

    def sums(self, weights: Array) -> Array:
        """Weights (d, n) summed over each group: (d, g)."""
        return np.asarray(np.add.reduceat(weights[:, self.order], self.starts, axis=1))


@dataclass(frozen=True, slots=True)
class Layer:
    """The pairs of ranks of y that differ first in one bit: groups of equal x within blocks of equal higher bits.

    ``ones`` (n,) is that bit in the order of ``groups``; ``block`` (g,) numbers the block of each group.
    """

    groups: Groups
    ones: Array
    block: Ints

    def concordance(self, weights: Array) -> Array:
        """Concordant minus discordant pairs (d, g), at the row of each whose bit is set, for weights (d, n)."""
        ordered = weights[:, self.groups.order]
        upper = np.add.reduceat(ordered * self.ones, self.groups.starts, axis=1)
        lower = np.add.reduceat(ordered, self.groups.starts, axis=1) - upper
        below = np.cumsum(lower, axis=1)
        starts = np.flatnonzero(np.diff(self.block, prepend=-1))
        ends = np.append(starts[1:], len(self.block)) - 1
        before = np.where(starts > 0, below[:, starts - 1], 0.0)
        return np.asarray(upper * (2 * below - lower - (before + below[:, ends])[:, self.block]))


@dataclass(frozen=True, slots=True)
class Pairing:
    """Two columns over the same rows, prepared for resampling; rows that are alike in image, x and y are one.

    ``within`` (m, 4) has what the pairs within each image add to S, to the pairs untied in x and in y, and its weight
    squared.
    """

    images: Ints
    weights: Array
    x: Groups
    y: Groups
    x_codes: Ints
    y_codes: Ints
    layers: tuple[Layer, ...]
    within: Array


@dataclass(frozen=True, slots=True)
class Kendall:
    """Kendall's S per resample (d,), and what normalises it: pairs untied in x and in y, n squared, levels."""

    s: Array
    untied_x: Array
    untied_y: Array
    squared: Array
    levels: Array

    @property
    def tau_b(self) -> Array:
        """Tau-b (d,); NaN where a column is constant."""
        return ratio(self.s, np.sqrt(self.untied_x * self.untied_y))

    @property
    def tau_c(self) -> Array:
        """Tau-c (d,), by the smaller number of levels; NaN where that is one."""
        return ratio(2 * self.s * self.levels, self.squared * (self.levels - 1))

    @property
    def auc(self) -> Array:
        """Area under the ROC curve (d,) of x for a y of two levels, ties half; NaN where one level is absent."""
        return (1 + ratio(self.s, self.untied_y)) / 2


def pairing(x: Array, y: Array, images: Ints, n_images: int, weights: Array | None = None) -> Pairing:
    """Prepare two columns.

    Args:
        x, y: finite values (n,).
        images: the image of each row (n,), from 0; ``n_images`` of them are resampled.
        weights: how often each row stands (n,), 0 or more; once if None.
    """
    codes = (np.unique(column, return_inverse=True)[1].astype(np.int64) for column in (x, y))
    rows, inverse = np.unique(np.stack([images, *codes]), axis=1, return_inverse=True)
    image, codes_x, codes_y = rows
    times = np.bincount(inverse.ravel(), weights, minlength=rows.shape[1]).astype(np.float64)
    fewer, other = sorted((codes_x, codes_y), key=lambda column: int(column.max(initial=0)))
    bits = range(int(fewer.max(initial=0)).bit_length())
    layers = tuple(_layer(fewer >> bit, other, np.zeros_like(image)) for bit in bits)
    within = np.zeros((n_images, 4))
    for bit in bits:
        layer = _layer(fewer >> bit, other, image)
        owner = image[layer.groups.order][layer.groups.starts]
        within[:, 0] += np.bincount(owner, layer.concordance(times[None])[0], minlength=n_images)
    squared = np.bincount(image, times, minlength=n_images) ** 2
    for place, column in ((1, codes_x), (2, codes_y)):
        groups = _groups(image, column)
        ties = np.bincount(image[groups.order][groups.starts], groups.sums(times[None])[0] ** 2, minlength=n_images)
        within[:, place] = (squared - ties) / 2
    within[:, 3] = squared
    return Pairing(image, times, _groups(codes_x), _groups(codes_y), codes_x, codes_y, layers, within)


def _groups(*keys: Ints) -> Groups:
    """Rows sorted by the first key, then the second, and so on."""
    order = np.lexsort(keys[::-1])
    changes = [key[order][1:] != key[order][:-1] for key in keys]
    return Groups(order, np.flatnonzero(np.concatenate([[True], np.any(changes, axis=0)])))


def _layer(split: Ints, other: Ints, apart: Ints) -> Layer:
    """The layer of the lowest bit of ``split``; rows that differ in ``apart`` make no pair."""
    groups = _groups(apart, split >> 1, other)
    firsts = groups.order[groups.starts]
    changes = (apart[firsts][1:] != apart[firsts][:-1]) | (split[firsts][1:] >> 1 != split[firsts][:-1] >> 1)
    block = np.cumsum(np.concatenate([[0], changes])).astype(np.int64)
    return Layer(groups, (split[groups.order] & 1).astype(np.float64), block)


def kendall(pair: Pairing, counts: Array) -> Kendall:
    """Kendall's S of each resample; ``counts`` (d, m) says how often each of m images was drawn."""
    weights = counts[:, pair.images] * pair.weights
    s = np.zeros(len(counts))
    for layer in pair.layers:
        s += layer.concordance(weights).sum(axis=1)
    of_x, of_y, total = pair.x.sums(weights), pair.y.sums(weights), weights.sum(axis=1)
    levels = np.minimum((of_x > 0).sum(axis=1), (of_y > 0).sum(axis=1)).astype(np.float64)
    untied = [(total**2 - (sums**2).sum(axis=1)) / 2 for sums in (of_x, of_y)]
    copies = (counts**2 - counts) @ pair.within
    s, untied_x, untied_y, squared = (np.stack([s, *untied, total**2], axis=1) - copies).T
    return Kendall(s, untied_x, untied_y, squared, levels)


def spearman(pair: Pairing, counts: Array) -> Array:
    """Spearman's rho (d,) of each resample, ties by their mean rank; NaN where a column is constant."""
    weights = counts[:, pair.images] * pair.weights
    x, y = (_mid_ranks(groups, weights, codes) for groups, codes in ((pair.x, pair.x_codes), (pair.y, pair.y_codes)))
    total = weights.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        x, y = (ranks - (weights * ranks).sum(axis=1, keepdims=True) / total for ranks in (x, y))
    products = [(weights * a * b).sum(axis=1) for a, b in ((x, y), (x, x), (y, y))]
    scale = np.sqrt(products[1] * products[2])
    return ratio(products[0], np.where(scale > 1e-9, scale, 0.0))


def _mid_ranks(groups: Groups, weights: Array, codes: Ints) -> Array:
    """Mean ranks (d, n) of ties; only differences of ranks matter, so they count from -0.5."""
    sums = groups.sums(weights)
    middles = np.cumsum(sums, axis=1) - sums / 2
    return np.asarray(middles[:, codes])


def partial(xy: Array, xz: Array, yz: Array) -> Array:
    """Correlation of x and y with z partialled out; NaN where one of the three is undefined or z explains all."""
    left = (1 - xz**2) * (1 - yz**2)
    return ratio(xy - xz * yz, np.sqrt(np.where(left > 1e-12, left, 0.0)))


def ratio(top: Array, bottom: Array) -> Array:
    """Quotients of arrays of one shape; NaN where the divisor is not above rounding."""
    quotient: Array = np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 1e-9)
    return quotient
