"""The miniscenes world: what a scene is made of, and scenes drawn from it, the same on every machine.

A scene holds two or three objects of different families in different cells of a 3 x 3 grid, on a
coloured background. Family and fine name stand for species and breed. Every choice comes from
``random.Random(text).random()``, whose stream Python keeps stable, so a split and a number name a scene.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

VERSION = "1"
FAMILIES: dict[str, tuple[str, ...]] = {
    "circle": ("disc", "ring", "target"),
    "square": ("tile", "frame", "diamond"),
    "triangle": ("pyramid", "funnel", "delta"),
    "cross": ("plus", "saltire", "tee"),
    "bar": ("plank", "pole", "slash"),
    "arch": ("dome", "bowl", "crescent"),
}
COLOURS = ("red", "green", "blue", "yellow", "purple", "cyan", "orange", "white")
SIZES = ("small", "large")
TEXTURES = ("plain", "striped")
BACKGROUNDS = ("black", "gray", "navy", "brown")
ROWS, COLUMNS = ("upper", "middle", "lower"), ("left", "center", "right")
CELLS = len(ROWS) * len(COLUMNS)
# Numbers a split may use; ids carry the split's name, so no two splits share one.
SPLITS = {"train": 1_000_000, "gallery": 1_000_000, "validation": 500, "test": 500, "pearson": 3_000}

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Thing:
    """One object: family (species), fine name (breed), colour, size, texture, and cell 0-8 in reading order."""

    family: str
    name: str
    colour: str
    size: str
    texture: str
    cell: int

    @property
    def row(self) -> int:
        return self.cell // len(COLUMNS)

    @property
    def column(self) -> int:
        return self.cell % len(COLUMNS)


@dataclass(frozen=True, slots=True)
class Scene:
    """Objects in the order of their families, and a background colour."""

    id: str
    things: tuple[Thing, ...]
    background: str


class Dice:
    """Choices from one named stream; only ``random()`` is asked, because its stream is promised to stay."""

    def __init__(self, name: str) -> None:
        self._random = random.Random(f"miniscenes/{VERSION}/{name}").random

    @classmethod
    def fixed(cls) -> Dice:
        """Dice without chance: what is certain happens, what has a chance of a half or less does not."""
        dice = cls("fixed")
        dice._random = lambda: 0.5
        return dice

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._random() < probability

    def number(self, below: int) -> int:
        """A whole number from 0 up to, not including, ``below``."""
        return int(self._random() * below)

    def choose(self, items: Sequence[Item]) -> Item:
        """One item."""
        return items[self.number(len(items))]

    def sample(self, items: Sequence[Item], count: int) -> list[Item]:
        """Different items, in random order."""
        left = list(items)
        return [left.pop(self.number(len(left))) for _ in range(count)]


def scene(split: str, number: int) -> Scene:
    """The scene of this number in a split.

    Two objects never share a row or a column, so that five different relation questions can be asked
    of every scene; three objects may.

    Raises:
        ValueError: no such split, or the number is outside it.
    """
    if split not in SPLITS or not 0 <= number < SPLITS[split]:
        raise ValueError(f"no scene {number} in split {split!r}")
    name = f"{split}_{number:06d}"
    dice = Dice(f"scene/{name}")
    count = 2 + dice.chance(0.6)
    families = sorted(dice.sample(list(FAMILIES), count), key=list(FAMILIES).index)
    things = [_thing(dice, family, cell) for family, cell in zip(families, _cells(dice, count), strict=True)]
    return Scene(name, tuple(things), dice.choose(BACKGROUNDS))


def of_sample(sample_id: str) -> Scene:
    """The scene of a sample: ``validation_000007`` is the eighth of its split."""
    split, _, number = sample_id.rpartition("_")
    return scene(split, int(number))


def _thing(dice: Dice, family: str, cell: int) -> Thing:
    colour, size, texture = dice.choose(COLOURS), dice.choose(SIZES), dice.choose(TEXTURES)
    return Thing(family, dice.choose(FAMILIES[family]), colour, size, texture, cell)


def _cells(dice: Dice, count: int) -> list[int]:
    if count > 2:
        return dice.sample(range(CELLS), count)
    rows, columns = dice.sample(range(len(ROWS)), 2), dice.sample(range(len(COLUMNS)), 2)
    return [row * len(COLUMNS) + column for row, column in zip(rows, columns, strict=True)]
