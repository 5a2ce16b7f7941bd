"""Character BLEU-4 of one caption, mean over images: the variant behind the paper's BLEU-4 column (inferred).

Sentence BLEU over characters (case, blanks and newlines included), NLTK smoothing method 3: going
up the orders, the i-th precision without a match becomes 1/(2^i * total); 0 without a matching
character. Times 100, rounded to 4 decimals per image, then averaged. Source:
``zl2048/SC-Captioner:src/llamafactory/train/sft/metric.py@6c35a35`` on ``nltk.translate.bleu_score``.
Run with ``cim eval --model M --metrics bleu4_char``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from harness.metrics import _ngrams
from harness.parts import SCORE, Measurement, Metric, Records

WEIGHT = 1 / _ngrams.ORDERS


def _measure(records: Records) -> Measurement:
    candidates = _ngrams.character_numbers(records.captions)
    references = [_ngrams.character_numbers(sample.references) for sample in records.samples]
    counts = _ngrams.overlap(candidates, references)
    rows = zip(
        counts.length.tolist(), counts.closest.tolist(), counts.matched.tolist(), counts.total.tolist(), strict=True
    )
    values = np.array([[round(100 * sentence(*row), 4)] for row in rows], dtype=np.float64)
    return Measurement(values, values)


def sentence(length: int, closest: int, matched: Sequence[int], total: Sequence[int]) -> float:
    """BLEU (0-1) of one caption from its lengths, matches and totals of orders 1 to 4.

    Operations follow NLTK's order, so that results are equal to the last bit.
    """
    if matched[0] == 0:
        return 0.0
    misses, logs = 0, []
    for hits, among in zip(matched, total, strict=True):
        if hits == 0:
            misses += 1
            logs.append(WEIGHT * math.log(1 / (2**misses * max(1, among))))
        else:
            logs.append(WEIGHT * math.log(hits / among))
    penalty = 1.0 if length > closest else math.exp(1 - closest / length)
    return penalty * math.exp(math.fsum(logs))


def _signature() -> Mapping[str, str]:
    return {"impl": "nltk-sentence", "tok": "char", "case": "mixed", "smooth": "method3", "agg": "mean", "v": "1"}


METRIC = Metric(
    name="bleu4_char", values=SCORE, order=8, measure=_measure, signature=_signature, empty=(0.0,), floor=True
)
