"""Pairs of a synthetic environment for galleries: its scenes, rendered on demand, with their full captions.

``N`` selects the first N of the gallery split, ``train:N`` those that training sees first, for a gallery that contains
the policy's training images. Run with ``cim gallery build miniscenes --from miniscenes 8000``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from harness import registry
from harness.errors import CimError
from harness.retrieval.sources import Pair
from harness.types import World

TRAINING, SPLITS = "cim_rl", ("gallery", "train")


def names() -> list[str]:
    """Names of the embedded synthetic environments."""
    return sorted(registry.training(TRAINING).worlds)


def read(name: str, selection: str) -> Iterator[Pair]:
    """The first scenes of a split of an environment; ``selection`` is ``N`` or ``SPLIT:N``.

    Raises:
        CimError: no such split, or no such number.
    """
    world = registry.training(TRAINING).worlds[name]
    split, _, count = selection.rpartition(":")
    split = split or SPLITS[0]
    if split not in SPLITS or not (count.isascii() and count.isdigit()) or int(count) < 1:
        raise CimError(f"--from {name} {selection[:20]!r}", hint=f"--from {name} N, or {name} train:N, how many scenes")
    return _pairs(world, split, int(count))


def _pairs(world: World, split: str, count: int) -> Iterator[Pair]:
    for sample in world.samples(split, count):
        yield Pair(world.name, sample.id, sample.references[0], partial(world.draw, sample.id))
