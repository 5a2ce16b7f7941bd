"""Scene graphs of a run's captions beside the ground truth, and precision, recall and F1 of two sets.

For tasks whose images are made from a graph: matching is exact, at family level, without epsilon or stop
list, so that a full caption scores exactly 100.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from harness.parts import Measurement, Metric, Records
from harness.types import SceneGraph

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


def set_metric(name: str, parts: Parts) -> Metric:
    """The metric of one kind of part: precision, recall and F1 in percent, means over images."""

    def measure(records: Records) -> Measurement:
        rows = [precision_recall_f1(parts(own), parts(true)) for own, true in pairs(records)]
        values = 100.0 * np.array(rows, dtype=np.float64).reshape(-1, 3)
        return Measurement(values, values)

    return Metric(
        name=name,
        values=("precision", "recall", "f1"),
        measure=measure,
        signature=lambda: SIGNATURE,
        empty=(0.0, 0.0, 0.0),
        needs=frozenset({"graph"}),
        floor=True,
    )
