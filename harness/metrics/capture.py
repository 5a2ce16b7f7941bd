"""CAPTURE: objects, attribute words and relations of a caption's scene graph, compared with its reference's.

With F1 of each part by ``_match.py`` (attribute words of all owners in one list, repeats kept)::

    score = (0.5 F_objects + 0.5 F_attributes + 0.2 F_relations) / 1.2       mean over references, then over images

Nothing is skipped and an absent part scores 0, so that a caption equal to its reference scores 83.33 without
relations, 58.33 without attributes, 41.67 with neither. Variants differ in what the parser reads: ``@cim`` truncates
sentences to 64 tokens and drops the last one (FactualSceneGraph 0.7), ``@sc`` only truncates (0.6), the metric without
a suffix reads all. ``@lite`` has a parser and an encoder for laptops, and no place in the paper's tables. Source:
``capture_metric==0.1.13:capture.py`` ``compute_f_score``. On tasks whose images are made from a graph: exact matches
(``_graphs.py``). ``cim eval --model M --metrics capture,capture@cim``
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from harness.metrics import _graphs, _match
from harness.metrics._match import Phrase
from harness.metrics._refined import by_sample, without_attributes
from harness.metrics._scenes import CIM, LITE, SC, STRICT, Reading, marked, missing, scenes, signature, words
from harness.parts import SCORE, Measurement, Metric, Records
from harness.types import Element, SceneGraph

PARTS: tuple[tuple[Callable[[SceneGraph], Sequence[Phrase]], float], ...] = (
    (lambda graph: graph.objects, 0.5),
    (words, 0.5),
    (lambda graph: graph.relations, 0.2),
)


def _measure(records: Records, how: Reading) -> Measurement:
    graphs = scenes(records, how.parser)
    pairs = [pair for part, _ in PARTS for pair in graphs.pairs(part)]
    match, each = _match.match(pairs, records, how.encoder), len(pairs) // len(PARTS)
    scores = np.zeros(each)
    for at, (_, weight) in enumerate(PARTS):
        scores += weight * _match.f1(*match.part(slice(at * each, (at + 1) * each)).ratios())
    values = by_sample(100.0 * scores[:, None] / sum(weight for _, weight in PARTS), graphs)
    return Measurement(values, values, {**without_attributes(graphs), **match.shares(), **graphs.counts})


def _elements(records: Records, parser: str) -> list[list[Element]]:
    return marked("relation", records, scenes(records, parser).of_first().pairs(lambda graph: graph.relations))


def _capture(how: Reading, variant: str = "", of_graphs: Metric | None = None) -> Metric:
    return Metric(
        name=f"capture@{variant}" if variant else "capture",
        values=SCORE,
        order=1,
        measure=lambda records: _measure(records, how),
        signature=lambda: {
            **signature(how),
            "weights": "/".join(str(weight) for _, weight in PARTS),
            "mode": variant or "strict",
            "agg": "mean",
            "v": "1",
        },
        empty=(0.0,),
        parsers=(how.parser,),
        floor=True,
        missing=lambda: missing(how),
        of_graphs=of_graphs,
        elements=lambda records: _elements(records, how.parser),
        pretrained=how.pretrained,
    )


METRIC = _capture(STRICT, of_graphs=_graphs.capture_metric())
VARIANTS = {"cim": _capture(CIM, "cim"), "sc": _capture(SC, "sc"), "lite": _capture(LITE, "lite")}
