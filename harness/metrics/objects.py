"""Objects named in a caption: precision, recall and F1 per image in CAPTURE's three stages (``_match.py``).

With c the caption's objects, r the reference's and g the annotated list, which only precision accepts::

    R = match_r(c, r) / (|r| + e)      P = match_c(c, r and g together) / (|c| + e)

Source: protocol of ``zl2048/SC-Captioner:evaluate_*/capture.py@6c35a35``; modes and means in ``_refined.py``. On tasks
whose images are made from a graph: exact matches (``_graphs.py``). ``cim eval --model M --metrics objects``
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.metrics import _graphs, _match
from harness.metrics._match import Pair
from harness.metrics._refined import refined
from harness.metrics._scenes import Scenes, marked, scenes
from harness.parts import Records
from harness.types import Element

if TYPE_CHECKING:
    from harness.parts import Array


def _ratios(records: Records, scenes: Scenes, encoder: str, strict: bool) -> tuple[Array, Array, Mapping[str, float]]:
    narrow = scenes.pairs(lambda graph: graph.objects)
    lists = [sample.objects for sample, group in zip(records.samples, scenes.references, strict=True) for _ in group]
    wide: list[Pair] = [(named, sorted({*true, *known})) for (named, true), known in zip(narrow, lists, strict=True)]
    both = _match.match([*narrow, *wide], records, encoder)
    recall, precision = both.part(slice(len(narrow))), both.part(slice(len(narrow), None))
    rates = precision.ratios()[0], recall.ratios()[1]
    if strict:
        for rate, match in zip(rates, (precision, recall), strict=True):
            rate[~match.sizes.any(axis=1)] = 1.0
    return *rates, both.shares()


def _elements(records: Records, parser: str) -> list[list[Element]]:
    pairs = scenes(records, parser).of_first().pairs(lambda graph: graph.objects)
    return marked("object", records, pairs, [sorted(set(sample.objects)) for sample in records.samples])


METRIC = refined(
    "objects",
    "objects",
    _ratios,
    _elements,
    order=2,
    of_graphs=_graphs.set_metric("objects", "object", _graphs.objects, 2),
)
VARIANTS = {
    "compat": refined("objects", "objects", _ratios, _elements, order=2, variant="compat"),
    "lite": refined("objects", "objects", _ratios, _elements, order=2, variant="lite"),
}
