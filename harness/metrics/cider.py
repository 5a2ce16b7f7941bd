"""CIDEr on PTB tokens, mean over images, as pycocoevalcap computes it, times 100 as the literature prints it (0-1000).

tf-idf vectors of n-grams, n = 1..4; idf = log(N) - log(max(1, images whose references contain it)) over
the N images scored; clipped cosine sum_g min(h_g, r_g) r_g/(|h| |r|) times exp(-(length difference)^2
/(2 * 6^2)), mean over orders and references, times 1000. Of one image every idf is log 1 = 0, so there is no value.
Version 1 of the signature lacked the factor of 100. Source: ``pycocoevalcap==1.2:cider/cider_scorer.py``
(which carries CIDEr-D's clipping and length penalty). Run with ``cim eval --model M --metrics cider``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from harness.metrics import _frequencies, _ngrams, _tokens
from harness.parts import Measurement, Metric, Records, Value

if TYPE_CHECKING:
    from harness.metrics._frequencies import Frequencies
    from harness.metrics._ngrams import Counts, Ints
    from harness.parts import Array

SIGMA = 6.0


def _measure(records: Records) -> Measurement:
    captions, references = _tokens.numbers(records)
    n, numbered = len(captions), [*captions, *(words for group in references for words in group)]
    sample_of = np.repeat(np.arange(n), [len(group) for group in references])
    bigrams = np.maximum(0, np.array([len(words) for words in numbered], dtype=np.int64) - 1)
    delta = (bigrams[:n][sample_of] - bigrams[n:]).astype(np.float64)
    orders = list(_orders(records, numbered, n, sample_of))
    similarity = np.mean(orders, axis=0) * np.exp(-(delta**2) / (2 * SIGMA**2))
    group_sizes = np.bincount(sample_of, minlength=n)
    values = 1000.0 * np.bincount(sample_of, weights=similarity, minlength=n) / group_sizes
    return Measurement(values[:, None], values[:, None])


def _orders(records: Records, numbered: Sequence[Ints], n: int, sample_of: Ints) -> Iterator[Array]:
    frequencies: Frequencies | None = records.corpus.get(METRIC.name)
    if frequencies is None:
        for counts in _ngrams.count(numbered):
            references = counts.rows(n, len(numbered))
            keys = np.unique(sample_of[references.texts] * counts.size + references.grams)
            known, holders = np.unique(keys % counts.size, return_counts=True)
            yield _similarity(counts, n, sample_of, partial(_idf, known, holders, n))
        return
    hashed = _frequencies.hashed(records.shared["words"])
    for order, (counts, distinct) in enumerate(_frequencies.count(numbered, hashed)):
        idf = np.log(float(frequencies.n)) - np.log(frequencies.of(order, distinct))
        yield _similarity(counts, n, sample_of, idf.__getitem__)


def _corpus(blocks: Iterator[Records]) -> Frequencies:
    gathering = _frequencies.Gathering()
    for records in blocks:
        _, references = _tokens.numbers(records)
        gathering.add(references, _frequencies.hashed(records.shared["words"]))
    return gathering.frequencies()


def _similarity(counts: Counts, n: int, sample_of: Ints, idf: Callable[[Ints], Array]) -> Array:
    """Clipped tf-idf cosine of one order, one value per reference; ``idf`` of n-grams by their numbers."""
    candidates, references = counts.rows(0, n), counts.rows(n, n + len(sample_of))
    keys = sample_of[references.texts] * counts.size + references.grams
    weights, weights_r = (side.counts * idf(side.grams) for side in (candidates, references))
    norm = np.sqrt(np.bincount(candidates.texts, weights=weights**2, minlength=n))
    norms = np.sqrt(np.bincount(references.texts, weights=weights_r**2, minlength=len(sample_of)))
    at = np.minimum(np.searchsorted(candidates.keys, keys), max(len(candidates.keys) - 1, 0))
    shared = (
        np.minimum(weights[at], weights_r) * weights_r * (candidates.keys[at] == keys)
        if len(candidates.keys)
        else np.zeros(len(keys))
    )
    dot = np.bincount(references.texts, weights=shared, minlength=len(sample_of))
    scale = norm[sample_of] * norms
    return np.asarray(np.divide(dot, scale, out=np.zeros(len(dot)), where=scale != 0))


def _idf(known: Ints, holders: Ints, n: int, grams: Ints) -> Array:
    """log(n) - log(max(1, document frequency)); ``known`` are the references' n-grams, ascending."""
    at = np.minimum(np.searchsorted(known, grams), max(len(known) - 1, 0))
    images = np.where(known[at] == grams, holders[at], 1) if len(known) else np.ones(len(grams))
    return np.asarray(np.log(float(n)) - np.log(images))


def _signature() -> Mapping[str, str]:
    return {
        "impl": "pycocoevalcap1.2",
        "tok": "ptb3.4.1",
        "idf": "scored-references",
        "agg": "mean",
        "scale": "x100",
        "v": "2",
    }


METRIC = Metric(
    name="cider",
    values=(Value("score", decimals=2),),
    order=10,
    measure=_measure,
    signature=_signature,
    empty=(0.0,),
    parsers=(_tokens.PTB,),
    floor=True,
    scale=1000.0,
    fewest=2,
    missing=_tokens.missing,
    corpus=_corpus,
)
