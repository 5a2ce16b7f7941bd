"""Scene graphs of a run's captions against the ground truth, and precision, recall and F1 of two sets.

For tasks whose images are made from a graph: matching is exact, at category level, without epsilon or stop
list, so that a complete caption scores exactly 100.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from harness.parts import PRECISION_RECALL_F1, SCORE, Measurement, Metric, Records
from harness.types import Element, SceneGraph

SIGNATURE = {"match": "exact-family", "mentions": "all", "eps": "0", "stop": "none", "agg": "mean", "v": "2"}
Parts = Callable[[SceneGraph], set[Hashable]]


def pairs(records: Records) -> list[tuple[SceneGraph, SceneGraph]]:
    """Graph of the caption and ground-truth graph, per sample."""
    assert records.parser is not None
    graphs = [_graph(value) for value in records.parse(records.parser, records.captions)]
    return [(stated, sample.graph or SceneGraph()) for stated, sample in zip(graphs, records.samples, strict=True)]


def _graph(value: dict[str, Any]) -> SceneGraph:
    return SceneGraph(
        objects=tuple(value["objects"]),
        names={owner: tuple(words) for owner, words in value["names"].items()},
        attributes={owner: tuple(words) for owner, words in value["attributes"].items()},
        relations=tuple((first, words, second) for first, words, second in value["relations"]),
    )


def objects(graph: SceneGraph) -> set[Hashable]:
    """Object categories."""
    return set(graph.objects)


def attributes(graph: SceneGraph) -> set[Hashable]:
    """Pairs of object and attribute word; the background counts as an object."""
    return {(owner, word) for owner, words in graph.attributes.items() for word in words}


def names(graph: SceneGraph) -> set[Hashable]:
    """Pairs of category and fine-grained category."""
    return {(family, name) for family, names in graph.names.items() for name in names}


def relations(graph: SceneGraph) -> set[Hashable]:
    """Relation triples, stated or implied by positions."""
    return set(graph.relations)


def precision_recall_f1(stated: set[Hashable], true: set[Hashable]) -> tuple[float, float, float]:
    """Precision, recall, F1 (0-1) of one image; 1 if both sets are empty, 0 if one is."""
    if not stated and not true:
        return 1.0, 1.0, 1.0
    shared = len(stated & true)
    precision, recall = shared / max(1, len(stated)), shared / max(1, len(true))
    return precision, recall, 2 * shared / (len(stated) + len(true))


def elements(kind: str, parts: Parts, records: Records) -> list[list[Element]]:
    """Matched, missed and invented elements per sample; a text may name an object by its fine-grained category."""
    return [
        [
            _element(kind, part, _state(part, parts(stated), parts(true)), stated, true)
            for part in _ordered(parts, stated, true)
        ]
        for stated, true in pairs(records)
    ]


def _ordered(parts: Parts, stated: SceneGraph, true: SceneGraph) -> list[Any]:
    return sorted(parts(stated) | parts(true), key=lambda part: (part not in parts(true), str(part)))


def _state(part: Hashable, stated: set[Hashable], true: set[Hashable]) -> str:
    return ("matched" if part in true else "invented") if part in stated else "missed"


def _element(kind: str, part: Any, state: str, stated: SceneGraph, true: SceneGraph) -> Element:
    words = part if isinstance(part, tuple) else (part,)
    names = (name for graph in (stated, true) for name in graph.names.get(words[0], ()))
    called = tuple(dict.fromkeys([words[0], *names]))
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
        rows = [precision_recall_f1(parts(stated), parts(true)) for stated, true in pairs(records)]
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
            sum(weight * precision_recall_f1(part(stated), part(true))[2] for part, weight in weights.items())
            for stated, true in pairs(records)
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
