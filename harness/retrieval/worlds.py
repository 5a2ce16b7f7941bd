"""Pairs of a rendered world for galleries: its scenes, each drawn when it is needed, with their full captions.

``N`` are the first N of the world's gallery split, ``train:N`` those that training sees first, for a gallery that holds
a policy's own images. Run with ``cim gallery build NAME --from WORLD N``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from harness import registry
from harness.errors import CimError
from harness.retrieval.sources import Pair
from harness.types import World

SPLITS = ("gallery", "train")


def _known() -> dict[str, World]:
    """The worlds of all trainings, by name."""
    trainings = map(registry.training, registry.names("trainings"))
    return {name: world for training in trainings for name, world in training.worlds.items()}


def names() -> list[str]:
    """The worlds of all trainings that are known."""
    return sorted(_known())


def read(name: str, scenes: str) -> Iterator[Pair]:
    """The first scenes of a world's split, ``N`` or ``SPLIT:N``.

    Raises:
        CimError: no such split, or no such number.
    """
    world = _known()[name]
    split, _, count = scenes.rpartition(":")
    split = split or SPLITS[0]
    if split not in SPLITS or not (count.isascii() and count.isdigit()) or int(count) < 1:
        raise CimError(f"--from {name} {scenes[:20]!r}", hint=f"--from {name} N, or {name} train:N, how many scenes")
    return _pairs(world, split, int(count))


def _pairs(world: World, split: str, count: int) -> Iterator[Pair]:
    for sample in world.samples(split, count):
        yield Pair(world.name, sample.id, sample.references[0], partial(world.draw, sample.id))
