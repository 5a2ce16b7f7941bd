"""METEOR 1.5 of captions against their references: one value per sentence, and one of summed statistics.

From the statistics line of a sentence, or the sum of these lines over a corpus, of lengths l, function
words f and matches m of the hypothesis (h) and the reference (r), and the number of chunks c::

    w(x)  = delta (x - f) + (1 - delta) f               weighted length, f of them function words
    m_h   = sum_i w_i (delta content_i + (1 - delta) function_i)   over exact, stem, synonym, paraphrase
    P, R  = m_h / w(l_h), m_r / w(l_r)
    F     = 1 / ((1 - alpha) / P + alpha / R)
    score = max(0, F (1 - gamma (c / ((words_h + words_r) / 2)) ** beta)),   0 where 0 / 0

as ``meteor-1.5.jar:MeteorScorer.computeMetrics`` has it (javap -c; parameters ``Constants``, task
"rank", en), after Denkowski and Lavie, WMT 2014. ``meteor@mean`` is the mean of the sentence values,
``meteor@jar`` the same number by the original jar.
``cim eval --metrics meteor``; beside the other candidates for the paper's column: ``cim meteor``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from harness.metrics import _tokens
from harness.parsers import meteor15
from harness.parsers.meteor15 import ALPHA, BETA, DELTA, GAMMA, WEIGHTS
from harness.parts import SCORE, Measurement, Metric, Records, mean

if TYPE_CHECKING:
    from harness.parts import Array

# The metric inferred for the paper's BLEU-4 column, then the candidates for its METEOR column.
CANDIDATES = ("bleu4_char", "meteor_nltk", "meteor_nltk@word_tokenize", "meteor", "meteor@mean")
OPEN = """
Which METEOR the paper prints is open: the released code computes none, and these differ widely on the same captions.
bleu4_char is its BLEU-4, as far as can be inferred. What would settle it: the captions of a system whose row is
published, on the whole benchmark. Where bleu4_char agrees with the row, the METEOR nearest to the row is the paper's.
Until then none of them is called that. Short or invented captions say nothing about it."""

# Columns of a statistics line, meteor-1.5.jar:MeteorStats.toString: the two lengths, the two counts of
# function words, then for each of the four kinds of match content (h, r) and function words (h, r),
# then chunks and matched words (h, r).
LENGTHS, FUNCTION_WORDS, MATCHES = slice(0, 2), slice(2, 4), slice(4, 20)
CHUNKS, WORDS = 20, slice(21, 23)


def measure(records: Records, parser: str = "meteor15") -> Measurement:
    """METEOR of each caption in percent; a caption without tokens has 0.

    Returns:
        ``values`` (n, 1) in percent, 0 to 100; ``statistics`` (n, 23), see ``poolable``.

    Raises:
        OutageError: the tokenizer or METEOR stopped answering.
    """
    texts = _tokens.tokens(records)
    pairs = [meteor15.pair(group, text) for group, text in zip(texts.references, texts.captions, strict=True)]
    lines = np.array(records.parse(parser, pairs), dtype=np.float64)
    statistics = poolable(lines.reshape(len(pairs), meteor15.STATISTICS))
    return Measurement(aggregate(statistics, 1), statistics)


def poolable(lines: Array) -> Array:
    """Statistics lines (..., 23) whose sum is what METEOR pools.

    A perfect match, all words in one chunk, counts no chunk: ``MeteorStats.addStats`` leaves it out of
    the corpus and ``computeMetrics`` gives it no penalty, which 0 chunks express alike.
    """
    matched = lines[..., MATCHES].reshape(*lines.shape[:-1], 8, 2).sum(axis=-2)
    perfect = (matched == lines[..., LENGTHS]).all(axis=-1) & (lines[..., CHUNKS] == 1)
    pooled = lines.copy()
    pooled[..., CHUNKS] = np.where(perfect, 0.0, lines[..., CHUNKS])
    return pooled


def aggregate(totals: Array, n: int | Array) -> Array:
    """METEOR in percent of summed statistics: (..., 23) to (..., 1).

    ``n`` is unused: METEOR is a function of sums. No sum can look like a perfect match (all words,
    one chunk), so only ``poolable`` handles that case of ``computeMetrics``.
    """
    functions = totals[..., FUNCTION_WORDS]
    lengths = DELTA * (totals[..., LENGTHS] - functions) + (1 - DELTA) * functions
    matches = totals[..., MATCHES].reshape(*totals.shape[:-1], 4, 2, 2)  # kind, content or function, h or r
    weights = np.outer(WEIGHTS, (DELTA, 1 - DELTA))
    weighted = np.einsum("...ktr,kt->...r", matches, weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = np.moveaxis(weighted / lengths, -1, 0)
        mean = 1 / ((1 - ALPHA) / precision + ALPHA / recall)
        fragmentation = totals[..., CHUNKS] / (totals[..., WORDS].sum(axis=-1) / 2)
        score = mean * (1 - GAMMA * fragmentation**BETA)
    score = np.where(np.isnan(score), 0.0, np.maximum(score, 0.0))
    return np.asarray(100 * score[..., np.newaxis], dtype=np.float64)


def _sentences(records: Records) -> Measurement:
    values = measure(records).values
    return Measurement(values, values)


def signature() -> Mapping[str, str]:
    """How the number is made; ``params`` are alpha, beta, gamma, delta and the weights of the four kinds of match."""
    return {
        "impl": "meteor1.5-pycocoevalcap1.2",
        "tok": "ptb3.4.1",
        "case": "lower",
        "params": "en-norm,0.85,0.2,0.6,0.75,1/0.6/0.8/0.6",
        "agg": "corpus",
        "ref": "best",
        "v": "1",
    }


def missing() -> str | None:
    """Why this implementation of METEOR cannot run here, or None."""
    return _tokens.missing() or meteor15.missing()


METRIC = Metric(
    name="meteor",
    values=SCORE,
    order=13,
    measure=measure,
    signature=signature,
    empty=(0.0,),
    parsers=(_tokens.PTB,),
    aggregate=aggregate,
    floor=True,
    missing=missing,
)

VARIANTS = {
    "mean": replace(
        METRIC,
        name="meteor@mean",
        measure=_sentences,
        signature=lambda: {**signature(), "agg": "mean"},
        aggregate=mean,
    ),
    "jar": replace(
        METRIC,
        name="meteor@jar",
        measure=partial(measure, parser="meteor15_jar"),
        signature=lambda: {**signature(), "impl": "meteor-1.5.jar-pycocoevalcap1.2"},
        missing=_tokens.missing,
    ),
}
