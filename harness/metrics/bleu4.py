"""Corpus BLEU-4 on PTB tokens, as pycocoevalcap computes it.

BLEU = BP * (prod_k (matched_k + 1e-15)/(total_k + 1e-9))^(1/4) on sums over images; BP = exp(1 - 1/ratio)
for ratio = length/closest reference length < 1. Lower-cased, punctuation tokens removed. The value
per sample is the same formula on one image; its mean differs from the corpus score. Source:
``pycocoevalcap==1.2:bleu/bleu_scorer.py``. Run with ``cim eval --model M --metrics bleu4``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from harness.metrics import _ngrams, _tokens
from harness.parts import SCORE, Measurement, Metric, Records

if TYPE_CHECKING:
    from harness.parts import Array

TINY, SMALL = 1e-15, 1e-9


def aggregate(totals: Array, n: int | Array) -> Array:
    """BLEU in percent (..., 1) of sums (..., 10): length, closest length, 4 matches, 4 totals."""
    length, closest = totals[..., 0], totals[..., 1]
    precisions = (totals[..., 2:6] + TINY) / (totals[..., 6:10] + SMALL)
    ratio = (length + TINY) / (closest + SMALL)
    penalty = np.exp(np.minimum(0.0, 1.0 - 1.0 / ratio))
    return np.asarray(100.0 * penalty * np.prod(precisions, axis=-1) ** 0.25)[..., None]


def _measure(records: Records) -> Measurement:
    counts = _ngrams.overlap(*_tokens.numbers(records))
    columns = [counts.length[:, None], counts.closest[:, None], counts.matched, counts.total]
    statistics = np.hstack(columns).astype(np.float64)
    return Measurement(aggregate(statistics, 1), statistics)


def _signature() -> Mapping[str, str]:
    return {"impl": "pycocoevalcap1.2", "tok": "ptb3.4.1", "case": "lower", "agg": "corpus", "ref": "closest", "v": "1"}


METRIC = Metric(
    name="bleu4",
    values=SCORE,
    order=12,
    measure=_measure,
    signature=_signature,
    empty=(0.0,),
    parsers=(_tokens.PTB,),
    aggregate=aggregate,
    floor=True,
    missing=_tokens.missing,
)
