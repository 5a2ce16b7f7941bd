"""Human judgements of texts, in three shapes: ratings of captions, preferences between two, right or wrong.

Each judgement stands on the image that it is about: intervals and tests resample images. Judgements of several
criteria (comprehensiveness, hallucination) are kept apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.errors import CimError

if TYPE_CHECKING:
    from harness.parts import Array
    from harness.runs.stats import Ints

Shape = Literal["ratings", "pairs", "labels"]
SHAPES: tuple[Shape, ...] = ("ratings", "pairs", "labels")
ALL = "all"  # every criterion together


@dataclass(frozen=True, slots=True)
class Judgement:
    """One person's judgement about texts of one image.

    ``value`` is a rating, 1 (right) or 0 (wrong) of a label, and of a pair positive where ``caption`` is preferred to
    ``other``, negative where ``other`` is, 0 for a tie. ``system`` and ``other_system`` wrote the texts, where known.
    """

    image: str
    caption: str
    value: float
    other: str | None = None
    criterion: str = ""
    system: str = ""
    other_system: str = ""


@dataclass(frozen=True, slots=True)
class Judgements:
    """All judgements of a set, and the references by image (empty where a set has none)."""

    name: str
    shape: Shape
    rows: tuple[Judgement, ...]
    references: Mapping[str, tuple[str, ...]]

    @property
    def criteria(self) -> tuple[str, ...]:
        """The criteria in the order of the rows, ``""`` where there is only one; ``all`` of them for pairs last."""
        names = tuple(dict.fromkeys(row.criterion for row in self.rows))
        return (*names, ALL) if len(names) > 1 and self.shape == "pairs" else names

    def texts(self) -> dict[tuple[str, str], int]:
        """Number of each text: image and caption, from 0 in the order of the rows."""
        texts = dict[tuple[str, str], int]()
        for row in self.rows:
            for text in (row.caption, row.other):
                if text is not None:
                    texts.setdefault((row.image, text), len(texts))
        return texts


@dataclass(frozen=True, slots=True)
class Source:
    """Judgements as they were read: SHA-256 of their files by name, and what is to be said of the reading."""

    judgements: Judgements
    title: str
    files: Mapping[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """The judgements of one criterion as columns over n rows; texts, images and systems are numbers.

    ``second`` is the other text of a pair. ``words`` (t,) is the length of every text of the set. ``system`` and
    ``other_system`` are -1 where none is named.
    """

    shape: Shape
    criterion: str
    first: Ints
    second: Ints | None
    values: Array
    images: Ints
    words: Array
    system: Ints
    other_system: Ints

    @property
    def n_images(self) -> int:
        """How many images the rows are about."""
        return int(self.images.max()) + 1

    @property
    def n_texts(self) -> int:
        """How many texts the rows are about."""
        return len(np.unique(self._texts()))

    @property
    def n_systems(self) -> int:
        """How many systems wrote them; 0 where some row names none."""
        sides = np.concatenate([self.system, self.other_system] if self.second is not None else [self.system])
        return 0 if (sides < 0).any() else int(sides.max()) + 1

    @property
    def median_words(self) -> float:
        """Median length of the texts."""
        return float(np.median(self.words[np.unique(self._texts())]))

    def _texts(self) -> Ints:
        return self.first if self.second is None else np.concatenate([self.first, self.second])


def checked(
    name: str, shape: Shape, rows: Iterable[Judgement], references: Mapping[str, tuple[str, ...]]
) -> Judgements:
    """Judgements that statistics can be computed of.

    Raises:
        CimError: none, a value that is no finite number, labels that are neither 0 nor 1, or images without references
            where others have some.
    """
    listed = tuple(rows)
    if not listed:
        raise CimError("no judgement", where=name, hint="one row per judgement")
    if wrong := next((row for row in listed if not math.isfinite(row.value)), None):
        raise CimError(f"the judgement of {wrong.caption[:40]!r} is {wrong.value}", where=name, hint="a finite number")
    if any(row.criterion == ALL for row in listed):
        raise CimError(f"a criterion is called {ALL!r}", where=name, hint="that is all criteria together; rename it")
    if shape == "labels" and (wrong := next((row for row in listed if row.value not in (0, 1)), None)):
        raise CimError(f"the label of {wrong.caption[:40]!r} is {wrong.value:g}", where=name, hint="1 (right) or 0")
    lacking = list(dict.fromkeys(row.image for row in listed if not references.get(row.image)))
    if references and lacking:
        shown = ", ".join(map(repr, lacking[:3]))
        raise CimError(f"{len(lacking)} images have no reference: {shown}", where=name, hint="the same ids in both")
    return Judgements(name, shape, listed, references)


def judged(judgements: Judgements, criterion: str) -> Judged:
    """The columns of one criterion; texts are numbered as in ``Judgements.texts``."""
    texts = judgements.texts()
    rows = [row for row in judgements.rows if criterion in (row.criterion, ALL)]
    images, systems = _Numbers(), _Numbers()
    pairs = judgements.shape == "pairs"
    return Judged(
        judgements.shape,
        criterion,
        np.array([texts[row.image, row.caption] for row in rows]),
        np.array([texts[row.image, row.other or ""] for row in rows]) if pairs else None,
        np.array([row.value for row in rows], dtype=np.float64),
        np.array([images.of(row.image) for row in rows]),
        np.array([len(caption.split()) for _, caption in texts], dtype=np.float64),
        np.array([systems.of(row.system) if row.system else -1 for row in rows]),
        np.array([systems.of(row.other_system) if row.other_system else -1 for row in rows]),
    )


class _Numbers:
    """Numbers names in the order in which they come."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def of(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))
