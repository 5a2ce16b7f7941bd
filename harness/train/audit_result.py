"""What a reward audit (``audit.py``) gives: the change by edit and value, the price of a false fact by kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TOTAL = "reward"  # the weighted sum, beside its terms
GROUP = 8  # captions of one scene, as preset mini samples them
FACT = "fact"  # of a kind drawn by chance


@dataclass(frozen=True, slots=True)
class Change:
    """Mean change of a value with its 95 % interval; share of scenes where it rises; the mean in deviations.

    ``deviations`` is None where captions of one scene do not differ in the value.
    """

    mean: float
    ci95: tuple[float, float]
    wins: float
    deviations: float | None

    @property
    def sign(self) -> int:
        """1 or -1 where the interval excludes 0, else 0."""
        return int(self.ci95[0] > 0) - int(self.ci95[1] < 0)


@dataclass(frozen=True, slots=True)
class Effect:
    """What an edit does in n scenes: true and false statements and words more, and the change by value."""

    edit: str
    about: str
    n: int
    true: float
    false: float
    words: float
    changes: Mapping[str, Change]


@dataclass(frozen=True, slots=True)
class Price:
    """What a false fact of a kind earns in units of what a true one earns; None where the latter earns nothing."""

    kind: str
    n: int
    price: float | None
    ci95: tuple[float, float] | None

    @property
    def sign(self) -> int:
        """1 where a false fact earns, -1 where it costs."""
        return -1 if self.price is not None and self.price < 0 else 1


@dataclass(frozen=True, slots=True)
class Audit:
    """The audit of a reward; ``deviations`` within a group and ``effects`` have the values ``reward`` and each term.

    ``word`` is the mean change of the reward, with its interval, per word that says nothing.
    """

    rewards: Mapping[str, float]
    gallery: str
    sha: str
    world: str
    split: str
    level: str
    scenes: int
    deviations: Mapping[str, float]
    effects: Sequence[Effect]
    prices: Sequence[Price]
    word: tuple[float, float, float]

    def effect(self, edit: str) -> Effect | None:
        """The effect of an edit; None where too few scenes allow it."""
        return next((effect for effect in self.effects if effect.edit == edit), None)
