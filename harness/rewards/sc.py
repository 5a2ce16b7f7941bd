"""SC-Captioner's keyword reward, read for one turn: the caption is what was added to an empty first attempt.

The original (arXiv 2508.06125; zl2048/SC-Captioner:src/llamafactory/train/sc/trainer.py, ``compute_rewards``) compares
a second attempt with a first one. With an empty first attempt nothing is removed and every object is added::

    sigmoid(2 soft + bonus) - 0.5,  soft = mean(s - 0.55),  s = best cosine of an object to the reference's objects
    bonus = -0.25 a s < 0.6 + 0.25 a s > 0.7, each sum at most 0.75
          + 0.15 an attribute with cosine > 0.7 to those of the same owner in the reference, at most 0.45 per owner

Adapted, so not comparable with numbers of the two-turn reward: attributes count for every owner that the reference
has (the original asks for owners of both attempts), and a blank caption, being unchanged, has bonus -1. Because of the
caps more than three good objects add nothing but to the mean. Objects, attributes and embeddings come from the context.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import CimError
from harness.parts import Reward, RewardContext
from harness.types import SceneGraph

if TYPE_CHECKING:
    from harness.parts import Array

LOW, HIGH, MIDDLE = 0.6, 0.7, 0.55
OBJECT, OBJECTS, ATTRIBUTE, ATTRIBUTES = 0.25, 0.75, 0.15, 0.45


def _values(captions: Sequence[str], source_ids: Sequence[str], context: RewardContext) -> Array:
    assert context.graphs is not None and context.phrases is not None and context.references is not None
    if absent := [name for name in source_ids if name not in context.references]:
        raise CimError(f"{len(absent)} images have no reference, first {absent[0]!r}")
    texts = [*captions, *(context.references[name] for name in source_ids)]
    graphs = dict(zip(dict.fromkeys(texts), context.graphs(list(dict.fromkeys(texts))), strict=True))
    words = sorted({word for graph in graphs.values() for word in _words(graph)})
    vectors = dict(zip(words, context.phrases(words) if words else (), strict=True))
    return np.array(
        [
            _value(caption, graphs[caption], graphs[context.references[name]], vectors)
            for caption, name in zip(captions, source_ids, strict=True)
        ]
    )


def _words(graph: SceneGraph) -> list[str]:
    return [*graph.objects, *(word for words in graph.attributes.values() for word in words)]


def _best(words: Sequence[str], others: Sequence[str], vectors: dict[str, Array]) -> Array:
    """Cosine of each word with the nearest of the others."""
    cosines: Array = np.stack([vectors[word] for word in words]) @ np.stack([vectors[word] for word in others]).T
    return np.asarray(cosines.max(axis=1), dtype=np.float64)


def _value(caption: str, graph: SceneGraph, reference: SceneGraph, vectors: dict[str, Array]) -> float:
    soft = bonus = 0.0
    if graph.objects and reference.objects:
        best = _best(graph.objects, reference.objects, vectors)
        soft = float((best - MIDDLE).mean())
        bonus = min(OBJECT * int((best > HIGH).sum()), OBJECTS) - min(OBJECT * int((best < LOW).sum()), OBJECTS)
    for owner, words in graph.attributes.items():
        if words and reference.attributes.get(owner):
            near = int((_best(words, reference.attributes[owner], vectors) > HIGH).sum())
            bonus += min(ATTRIBUTE * near, ATTRIBUTES)
    if not caption.strip():
        bonus = -1.0
    return 1 / (1 + float(np.exp(-(2 * soft + bonus)))) - 0.5


REWARD = Reward("sc", _values, needs=("graphs", "phrases", "references"))
