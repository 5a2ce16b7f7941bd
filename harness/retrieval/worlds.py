"""Pairs of a made world for galleries: its scenes, each drawn when it is needed, with their full captions.

``N`` are the first N of the world's gallery split, ``train:N`` those that training sees first, for a gallery that holds
a policy's own images. Run with ``cim gallery build miniscenes --from miniscenes 8000``.
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
    """The worlds that ship with the project."""
    return sorted(registry.training(TRAINING).worlds)


def read(name: str, asked: str) -> Iterator[Pair]:
    """The first scenes of a world's split, ``N`` or ``SPLIT:N``.

    Raises:
        CimError: no such split, or no such number.
    """
    world = registry.training(TRAINING).worlds[name]
    split, _, count = asked.rpartition(":")
    split = split or SPLITS[0]
    if split not in SPLITS or not (count.isascii() and count.isdigit()) or int(count) < 1:
        raise CimError(f"--from {name} {asked[:20]!r}", hint=f"--from {name} N, or {name} train:N, how many scenes")
    return _pairs(world, split, int(count))


def _pairs(world: World, split: str, count: int) -> Iterator[Pair]:
    for sample in world.samples(split, count):
        yield Pair(world.name, sample.id, sample.references[0], partial(world.draw, sample.id))
