"""CIM of captions: do the images that a caption retrieves agree (GRC), and do they look like its own (QIR)?

reward = GRC + QIR over the K = 3 best gallery captions, GRC = norm of their images' mean embedding, QIR = sum of
2^-(rank - 1) times the cosine with the caption's image (arXiv 2603.01696; ``harness/retrieval/consistency.py``, the
same code as the training reward). Mean over images. GRC of unrelated images is about 1/sqrt(3), QIR is at most
1.75: neither is a scale from 0 to 1. Where the gallery shows a caption's own image and the self policy keeps it, QIR
is 1 or more wherever it comes first: how many captions retrieve it is counted. Read from ``retrievals.jsonl``.
Run with ``cim eval --model M --task T --metrics cim --gallery NAME``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.parts import Measurement, Metric, Records, Value
from harness.retrieval.consistency import EVALUATION


def _measure(records: Records) -> Measurement:
    assert records.retrievals is not None
    rows = records.retrievals()
    k = max((len(row["cosines"]) for row in rows), default=1) or 1
    cosines = np.full((len(rows), k), np.nan)
    for at, row in enumerate(rows):
        cosines[at, : len(row["cosines"])] = row["cosines"]
    grc = np.array([row["grc"] for row in rows], dtype=np.float64)
    qir = EVALUATION.qir(cosines)
    values = np.stack([EVALUATION.reward(grc, qir), grc, qir], axis=1)
    counts = {"n_empty": float(sum(row["empty"] for row in rows))}
    if any(hits_by_row := [row.get("own", ()) for row in rows]):  # rows of before this was stored say nothing of it
        counts |= {"n_own_image_first": float(sum(hits[:1] == [True] for hits in hits_by_row))}
        counts |= {"n_own_image_retrieved": float(sum(any(hits) for hits in hits_by_row))}
    short = sum(0 < len(row["cosines"]) < k for row in rows)
    return Measurement(values, values, counts | ({"n_fewer_than_k": float(short)} if short else {}))


def _signature() -> Mapping[str, str]:
    return {"reward": "GRC+QIR", "weights": EVALUATION.rank_weights, "agg": "mean", "v": "1"}


METRIC = Metric(
    name="cim",
    values=(
        Value("reward", decimals=3, bounds=(-11 / 12, 2.75)),
        Value("grc", decimals=3, main=False, bounds=(0, 1)),
        Value("qir", decimals=3, main=False, bounds=(-1.75, 1.75)),
    ),
    order=7,
    needs=frozenset({"gallery"}),
    measure=_measure,
    signature=_signature,
    empty=(0.0, 0.0, 0.0),
    scale=None,
)
