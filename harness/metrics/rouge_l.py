"""ROUGE-L on PTB tokens, mean over images, as pycocoevalcap computes it.

F = (1 + b^2) P R/(R + b^2 P), b = 1.2, P = LCS/length, R = LCS/reference length, each the best over the
references. The longest common subsequence is counted with one bitwise operation per token on
arbitrarily long integers (Hyyro 2004). Source: ``pycocoevalcap==1.2:rouge/rouge.py``. Run with
``cim eval --model M --metrics rouge_l``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from harness.metrics import _tokens
from harness.parts import SCORE, Measurement, Metric, Records

BETA_SQUARED = 1.2**2


def common(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    places: dict[str, int] = {}
    for index, word in enumerate(first):
        places[word] = places.get(word, 0) | (1 << index)
    full = (1 << len(first)) - 1
    open_bits = full
    for word in second:
        hit = open_bits & places.get(word, 0)
        open_bits = ((open_bits + hit) | (open_bits - hit)) & full
    return len(first) - open_bits.bit_count()


def sentence(caption: str, references: Sequence[str]) -> float:
    """ROUGE-L (0-1) of one tokenised caption; an empty text counts as one empty token, as in the source."""
    words = caption.split(" ")
    lengths = [(common(words, other), len(other)) for other in (reference.split(" ") for reference in references)]
    precision = max(shared / len(words) for shared, _ in lengths)
    recall = max(shared / among for shared, among in lengths)
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + BETA_SQUARED) * precision * recall / (recall + BETA_SQUARED * precision)


def _measure(records: Records) -> Measurement:
    texts = _tokens.tokens(records)
    scores = [sentence(*pair) for pair in zip(texts.captions, texts.references, strict=True)]
    values = 100.0 * np.array(scores, dtype=np.float64)[:, None]
    return Measurement(values, values)


def _signature() -> Mapping[str, str]:
    return {"impl": "pycocoevalcap1.2", "tok": "ptb3.4.1", "case": "lower", "beta": "1.2", "agg": "mean", "v": "1"}


METRIC = Metric(
    name="rouge_l",
    values=SCORE,
    order=11,
    measure=_measure,
    signature=_signature,
    empty=(0.0,),
    parsers=(_tokens.PTB,),
    floor=True,
    missing=_tokens.missing,
)
