"""Pairs of a made world for galleries: its scenes, each drawn when it is needed, with their full captions.

Run with ``cim gallery build miniscenes --from miniscenes 8000``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from harness import registry
from harness.errors import CimError
from harness.retrieval.sources import Pair
from harness.types import World

TRAINING, SPLIT = "cim_rl", "gallery"


def names() -> list[str]:
    """The worlds that ship with the project."""
    return sorted(registry.training(TRAINING).worlds)


def read(name: str, count: str) -> Iterator[Pair]:
    """The first ``count`` scenes of a world's gallery split.

    Raises:
        CimError: no such world, or no such number.
    """
    world = registry.training(TRAINING).worlds[name]
    if not (count.isascii() and count.isdigit()) or int(count) < 1:
        raise CimError(f"--from {name} {count[:20]!r}", hint=f"--from {name} N, how many scenes")
    return _pairs(world, int(count))


def _pairs(world: World, count: int) -> Iterator[Pair]:
    for sample in world.samples(SPLIT, count):
        yield Pair(world.name, sample.id, sample.references[0], partial(world.draw, sample.id))
