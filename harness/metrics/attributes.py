"""Attributes stated in a caption: precision, recall and F1 per image by cosines of owners and words.

Each owner (object) o of one side is paired with the most similar owner o' of the other (cosine w(o), ties to the
first), and each of its n(o) words with the most similar word of o'::

    sum_o w(o) sum_words best cosine / (sum_o w(o) n(o) + e)

R pairs the reference's owners with the caption's, P the caption's with the annotated attributes only. Source:
protocol of ``zl2048/SC-Captioner:evaluate_*/capture.py@6c35a35``; modes and means in ``_refined.py``. The report's
marks come from equal or synonymous pairs of owner and word, as cosines are not decisions. On tasks whose images are
made from a graph: exact matches (``_graphs.py``). ``cim eval --model M --metrics attributes``
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from harness.metrics import _graphs, _match
from harness.metrics._match import EPS
from harness.metrics._refined import refined
from harness.metrics._scenes import Scenes, marked, owned, scenes
from harness.parts import Records
from harness.types import Element

if TYPE_CHECKING:
    from harness.parts import Array

Owned = Mapping[str, tuple[str, ...]]
Laid = tuple["Array", "Array", "Array"]


def _sides(records: Records, scenes: Scenes) -> Iterator[tuple[Owned, Owned, Owned]]:
    """Attributes of caption, reference and annotation per reference of each sample; no owner without words."""
    for sample, graph, group in zip(records.samples, scenes.captions, scenes.references, strict=True):
        known = {owner: tuple(words) for owner, words in sample.attributes.items() if words}
        yield from ((graph.attributes, true.attributes, known) for true in group)


def _ratios(records: Records, scenes: Scenes, encoder: str, strict: bool) -> tuple[Array, Array, Mapping[str, float]]:
    sides = list(_sides(records, scenes))
    phrases = (phrase for three in sides for side in three for item in side.items() for phrase in (item[0], *item[1]))
    table, rows = _match.vectors(phrases, records, encoder)
    rates = np.zeros((len(sides), 2))
    for at, three in enumerate(sides):
        stated, reference, annotated = (_laid(side, rows) if side else None for side in three)
        for column, (source, target) in enumerate(((stated, annotated), (reference, stated))):
            if source and target:
                rates[at, column] = _similar(source, target, table)
            elif strict and not source and not target:
                rates[at, column] = 1.0
    return rates[:, 0], rates[:, 1], {}


def _similar(source: Laid, target: Laid, table: Array) -> float:
    """The weighted mean of the best cosines from one side to the other, 0 to 1."""
    (owners, words, places), (others, their_words, their_places) = source, target
    between = table[owners] @ table[others].T
    nearest = between.argmax(axis=1)
    weights = between.max(axis=1).astype(np.float64)[places]
    named = np.zeros(len(others), dtype=bool)
    named[nearest] = True
    eligible = named[their_places]
    cosines = table[words] @ table[their_words[eligible]].T
    cosines[their_places[eligible] != nearest[places][:, None]] = -np.inf
    return float((weights * cosines.max(axis=1)).sum() / (weights.sum() + EPS))


def _laid(side: Owned, rows: Mapping[str, int]) -> Laid:
    """Embedding rows of the owners and of all their words, and the owner index of each word."""
    words = np.array([rows[word] for words in side.values() for word in words])
    return np.array([rows[owner] for owner in side]), words, np.repeat(np.arange(len(side)), [*map(len, side.values())])


def _elements(records: Records, parser: str) -> list[list[Element]]:
    pairs = scenes(records, parser).of_first().pairs(owned)
    annotated = [[(owner, word) for owner, words in s.attributes.items() for word in words] for s in records.samples]
    return marked("attribute", records, pairs, annotated)


METRIC = refined(
    "attributes",
    "attributes",
    _ratios,
    _elements,
    order=3,
    of_graphs=_graphs.set_metric("attributes", "attribute", _graphs.attributes, 3),
)
VARIANTS = {
    "compat": refined("attributes", "attributes", _ratios, _elements, order=3, variant="compat"),
    "lite": refined("attributes", "attributes", _ratios, _elements, order=3, variant="lite"),
}
