"""Scene graphs of a run's captions beside the ground truth, and precision, recall and F1 of two sets.

For tasks whose images are made from a graph: matching is exact, at family level, without epsilon or stop
list, so that a full caption scores exactly 100.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from harness.parts import PRECISION_RECALL_F1, SCORE, Measurement, Metric, Records
from harness.types import Element, SceneGraph

SIGNATURE = {"match": "exact-family", "eps": "0", "stop": "none", "agg": "mean", "v": "1"}
Parts = Callable[[SceneGraph], set[Hashable]]


def pairs(records: Records) -> list[tuple[SceneGraph, SceneGraph]]:
    """Graph of the caption and true graph, sample by sample."""
    assert records.parser is not None
    found = [_graph(value) for value in records.parse(records.parser, records.captions)]
    return [(own, sample.graph or SceneGraph()) for own, sample in zip(found, records.samples, strict=True)]


def _graph(value: dict[str, Any]) -> SceneGraph:
    return SceneGraph(
        objects=tuple(value["objects"]),
        names=value["names"],
        attributes={owner: tuple(words) for owner, words in value["attributes"].items()},
        relations=tuple((first, words, second) for first, words, second in value["relations"]),
    )


def objects(graph: SceneGraph) -> set[Hashable]:
    """Families."""
    return set(graph.objects)


def attributes(graph: SceneGraph) -> set[Hashable]:
    """Pairs of owner and word, the background among them."""
    return {(owner, word) for owner, words in graph.attributes.items() for word in words}


def names(graph: SceneGraph) -> set[Hashable]:
    """Pairs of family and fine name."""
    return set(graph.names.items())


def relations(graph: SceneGraph) -> set[Hashable]:
    """Relation triples, stated or implied by places."""
    return set(graph.relations)


def precision_recall_f1(found: set[Hashable], true: set[Hashable]) -> tuple[float, float, float]:
    """Precision, recall, F1 (0-1) of one image; nothing found where there is nothing is 1, else 0."""
    if not found and not true:
        return 1.0, 1.0, 1.0
    shared = len(found & true)
    precision, recall = shared / max(1, len(found)), shared / max(1, len(true))
    return precision, recall, 2 * shared / (len(found) + len(true))


def elements(kind: str, parts: Parts, records: Records) -> list[list[Element]]:
    """What was matched, missed and invented, sample by sample; an object may stand in a text by its fine name."""
    return [
        [_element(kind, part, _state(part, parts(own), parts(true)), own, true) for part in _ordered(parts, own, true)]
        for own, true in pairs(records)
    ]


def _ordered(parts: Parts, own: SceneGraph, true: SceneGraph) -> list[Any]:
    return sorted(parts(own) | parts(true), key=lambda part: (part not in parts(true), str(part)))


def _state(part: Hashable, found: set[Hashable], true: set[Hashable]) -> str:
    return ("matched" if part in true else "invented") if part in found else "missed"


def _element(kind: str, part: Any, state: str, own: SceneGraph, true: SceneGraph) -> Element:
    words = part if isinstance(part, tuple) else (part,)
    called = tuple(dict.fromkeys([words[0], *(graph.names.get(words[0], words[0]) for graph in (own, true))]))
    if kind == "object":
        return Element(kind, words[0], state, marks=called)
    if kind == "attribute":
        return Element(kind, f"{words[1]} {words[0]}", state, marks=words[1:], near=called)
    if kind == "fine name":
        return Element(kind, f"{words[1]} ({words[0]})", state, marks=words[1:])
    return Element(kind, " ".join(words), state)


def set_metric(name: str, kind: str, parts: Parts, order: int) -> Metric:
    """The metric of one kind of part: precision, recall and F1 in percent, means over images."""

    def measure(records: Records) -> Measurement:
        rows = [precision_recall_f1(parts(own), parts(true)) for own, true in pairs(records)]
        values = 100.0 * np.array(rows, dtype=np.float64).reshape(-1, 3)
        return Measurement(values, values)

    return Metric(
        name=name,
        values=PRECISION_RECALL_F1,
        order=order,
        measure=measure,
        signature=lambda: SIGNATURE,
        empty=(0.0, 0.0, 0.0),
        needs=frozenset({"graph"}),
        floor=True,
        elements=lambda records: elements(kind, parts, records),
    )


def capture_metric() -> Metric:
    """CAPTURE with the paper's weights on exact matches: its other stages have nothing to do without synonyms."""
    weights = {objects: 0.5, attributes: 0.5, relations: 0.2}

    def measure(records: Records) -> Measurement:
        scores = [
            sum(weight * precision_recall_f1(part(own), part(true))[2] for part, weight in weights.items())
            for own, true in pairs(records)
        ]
        values = 100.0 * np.array(scores, dtype=np.float64)[:, None] / sum(weights.values())
        return Measurement(values, values)

    return Metric(
        name="capture",
        values=SCORE,
        order=1,
        measure=measure,
        signature=lambda: {**SIGNATURE, "weights": "0.5/0.5/0.2"},
        empty=(0.0,),
        needs=frozenset({"graph"}),
        floor=True,
        elements=lambda records: elements("relation", relations, records),
    )
