"""CHAIR: objects of COCO's 80 categories that a caption names and its image does not hold, without a judge.

From the objects that captions mention (``_coco_objects.py``) and those annotated for their images, in percent::

    chair_s = captions that mention an object which is not annotated / captions
    chair_i = mentions of such objects / mentions           each time an object is named is a mention
    recall  = annotated objects that are mentioned / annotated objects

All three are ratios of sums over captions, 0 where there is nothing to divide by. Sources: Rohrbach et al., EMNLP 2018
(arXiv 1809.02156), ``LisaAnne/Hallucination:utils/chair.py@6e4d33c``; recall: ``shikiw/OPERA:chair.py@61426ef``. The
list of words is this project's own: values differ from those of other lists. ``cim eval --model M --task chair500``
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.metrics._coco_objects import Mention, annotated, mentions, word_list
from harness.parts import Measurement, Metric, Records, Value
from harness.types import Element

if TYPE_CHECKING:
    from harness.parts import Array


def from_words(captions: Iterable[tuple[Sequence[str], Collection[str]]]) -> Measurement:
    """The measurement of captions whose objects are known, by whatever list of words.

    Args:
        captions: of each the categories that it mentions, in any order, each as often as it is named, and the
            categories annotated for its image.

    Returns:
        ``values`` (n, 3) in percent; ``statistics`` (n, 6), a numerator and a denominator of each value.
    """
    rows = []
    for mentioned, true in captions:
        invented = sum(name not in true for name in mentioned)
        recalled = len(set(mentioned) & set(true))
        rows.append((invented > 0, 1, invented, len(mentioned), recalled, len(set(true))))
    statistics = np.array(rows, dtype=np.float64).reshape(-1, 6)
    sums = statistics.sum(axis=0)
    counts = {"mentions": float(sums[3]), "invented_mentions": float(sums[2]), "annotated_objects": float(sums[5])}
    return Measurement(ratios(statistics, 1), statistics, counts)


def ratios(totals: Array, n: int | Array) -> Array:
    """Ratios in percent (..., v) of sums (..., 2 v), numerators and denominators in turn; 0 over 0 is 0."""
    return np.asarray(100.0 * totals[..., 0::2] / np.maximum(totals[..., 1::2], 1.0))


def _measure(records: Records) -> Measurement:
    named = [[mention.category for mention in mentions(caption)] for caption in records.captions]
    return from_words(zip(named, map(annotated, records.samples), strict=True))


def _elements(records: Records) -> list[list[Element]]:
    pairs = zip(map(mentions, records.captions), map(annotated, records.samples), strict=True)
    return [_of_caption(named, true) for named, true in pairs]


def _of_caption(named: Sequence[Mention], true: Collection[str]) -> list[Element]:
    marks = dict[str, list[str]]()
    for mention in named:
        marks.setdefault(mention.category, []).append(mention.words)
    elements = [
        Element("object", name, "matched" if name in true else "invented", tuple(dict.fromkeys(texts)))
        for name, texts in marks.items()
    ]
    return [*elements, *(Element("object", name, "missed") for name in sorted(set(true) - marks.keys()))]


def _signature() -> Mapping[str, str]:
    return {"impl": "own", "words": f"coco-{word_list().checksum()}", "agg": "pooled", "v": "1"}


METRIC = Metric(
    name="chair",
    values=(Value("chair_s", False), Value("chair_i", False), Value("recall")),
    order=4,
    measure=_measure,
    aggregate=ratios,
    signature=_signature,
    empty=(0.0, 0.0, 0.0),
    needs=frozenset({"coco_objects"}),
    floor=True,
    elements=_elements,
)
