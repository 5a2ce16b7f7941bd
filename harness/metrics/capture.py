"""CAPTURE of made scenes: the paper's weights on exact matches of objects, attributes and relations.

capture = (0.5 F_objects + 0.5 F_attributes + 0.2 F_relations)/1.2 an image, mean over images (weights:
``foundation-multimodal-models/CAPTURE:capture.py@52eeb27``; its synonym and embedding stages have nothing to do
in a language without synonyms). Run with ``cim eval --model M --task miniscenes --metrics capture``.
"""

from __future__ import annotations

import numpy as np

from harness.metrics import _graphs
from harness.parts import Measurement, Metric, Records

WEIGHTS = {_graphs.objects: 0.5, _graphs.attributes: 0.5, _graphs.relations: 0.2}


def _measure(records: Records) -> Measurement:
    scores = [
        sum(weight * _graphs.precision_recall_f1(part(own), part(true))[2] for part, weight in WEIGHTS.items())
        for own, true in _graphs.pairs(records)
    ]
    values = 100.0 * np.array(scores, dtype=np.float64)[:, None] / sum(WEIGHTS.values())
    return Measurement(values, values)


METRIC = Metric(
    name="capture",
    values=("score",),
    measure=_measure,
    signature=lambda: {**_graphs.SIGNATURE, "weights": "0.5/0.5/0.2"},
    empty=(0.0,),
    needs=frozenset({"graph"}),
    floor=True,
    elements=lambda records: _graphs.elements("relation", _graphs.relations, records),
)
