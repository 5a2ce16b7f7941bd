"""The reference: CAPTURE's matching code of PyPI capture-metric 0.1.13, its networks replaced; and a plain
re-statement of the refined objects and attributes, of which no package exists.

The class is built without soft matching, so that no encoder is loaded, and soft matching then switched on with given
vectors. Its lists come from sets, so what it is fed is sorted. ``refined`` follows the protocol's text, slowly.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from unittest.mock import patch

E = 1e-6
Vector = Callable[[str], Any]
Owned = Mapping[str, Sequence[str]]


class Stub:
    """An encoder for the reference: vectors (n, d) by a function of phrases and batch size."""

    def __init__(self, encode: Callable[[list[str], int], Any]) -> None:
        self._encode = encode

    def encode(self, phrases: list[str], batch_size: int) -> Any:
        """Vectors (n, d)."""
        return self._encode(phrases, batch_size)


def reference(encode: Callable[[list[str], int], Any]) -> Any:
    """``capture_metric.capture.CAPTURE`` with these vectors."""
    with patch.dict(os.environ, {"RANK": "1"}):  # with 0 or none the import downloads NLTK data
        from capture_metric.capture import CAPTURE

        metric = CAPTURE(soft_matching=False)
    metric.soft_matching, metric.text_encoder = True, Stub(encode)
    return metric


def graph(value: Mapping[str, Any]) -> tuple[list[str], dict[str, list[str]], list[tuple[str, ...]]]:
    """A parse value as the reference takes it: lists in code-point order."""
    attributes = {owner: sorted(value["attributes"][owner]) for owner in sorted(value["attributes"])}
    return sorted(value["objects"]), attributes, sorted(tuple(triple) for triple in value["relations"])


def refined(
    capture: Any,
    vector: Vector,
    caption: Mapping[str, Any],
    true: Mapping[str, Any],
    objects: Sequence[str],
    known: Owned,
) -> tuple[float, ...] | None:
    """Object P, R, F1 and attribute P, R, F1 of one image (protocol, section 9); None where it is skipped."""
    cand_objects, cand_attributes, _ = graph(caption)
    ref_objects, ref_attributes, _ = graph(true)
    if not cand_attributes or not ref_attributes:
        return None
    _, _, ref_match = capture.compute_match(cand_objects, ref_objects)
    _, cand_match, _ = capture.compute_match(cand_objects, sorted(set(ref_objects) | set(objects)))
    recall = ref_match / (len(ref_objects) + E)
    precision = cand_match / (len(cand_objects) + E)
    attribute_recall = owners(vector, ref_attributes, cand_attributes)
    attribute_precision = owners(vector, cand_attributes, known)
    return (
        *(precision, recall, harmonic(precision, recall)),
        *(attribute_precision, attribute_recall, harmonic(attribute_precision, attribute_recall)),
    )


def harmonic(precision: float, recall: float) -> float:
    """F1 with the reference's epsilon."""
    return 2 * precision * recall / (precision + recall + E)


def owners(vector: Vector, asking: Owned, given: Owned) -> float:
    """Sum of w(o) times the best cosines of o's words, over the sum of w(o) n(o), o over the asking owners."""
    above, below = 0.0, 0.0
    for owner, words in asking.items():
        best, weight = "", -2.0
        for other in given:
            cosine = float(vector(owner) @ vector(other))
            if cosine > weight:
                best, weight = other, cosine
        for word in words:
            above += weight * max(float(vector(word) @ vector(other)) for other in given[best])
        below += weight * len(words)
    return above / (below + E)
