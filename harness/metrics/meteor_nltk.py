"""NLTK's METEOR on white-space tokens: a mean over images, in percent.

Per image, with NLTK's defaults: words are lower-cased and aligned greedily from the right, first equal words,
then equal Porter stems, then synonyms in WordNet; with m matches in c chunks, P = m / caption words and
R = m / reference words::

    score = 100 * P R / (0.9 P + 0.1 R) * (1 - 0.5 (c / m)^3)        0 without a match

Source: Lavie and Agarwal 2007 as in nltk/translate/meteor_score.py 3.10.4, ``meteor_score([reference.split()],
caption.split())``, equal bit for bit. NLTK is not imported: ``import nltk`` alone brings scipy, scikit-learn and pandas
where they are installed. Stems come from ``_porter.py``, synonyms from WordNet's files. ``meteor_nltk@word_tokenize``
is the same on the tokens of ``nltk.word_tokenize``. Whether the paper used one of these or version 1.5 (``meteor``) is
open: ``cim meteor``.

Run: ``cim score --metrics meteor_nltk RUN``
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from harness.errors import CimError
from harness.metrics._porter import stem
from harness.parts import SCORE, Measurement, Metric, Records
from harness.resources import nltk_data
from harness.resources.wordnet import checksum, folder, missing_wordnet
from harness.resources.wordnet_words import synonyms

Tokenize = Callable[[str], list[str]]
ALPHA, BETA, GAMMA = 0.9, 3.0, 0.5  # NLTK's defaults


def scorer(tokenize: Tokenize = str.split) -> Callable[[Iterable[str], str], float]:
    """A function from references and a caption to NLTK's METEOR on these tokens, 0 to 1.

    Raises:
        CimError: WordNet is not on this machine.
    """
    wordnet = folder()
    if wordnet is None:
        raise CimError(f"meteor_nltk cannot be computed: {missing_wordnet()}")
    return _scorer(wordnet, tokenize)


@cache
def _scorer(wordnet_folder: Path, tokenize: Tokenize) -> Callable[[Iterable[str], str], float]:
    """Built once: captions, their wrong-image control and further models share the memo."""
    stems, names = cache(stem), cache(synonyms(wordnet_folder))

    def score(reference: list[str], caption: list[str]) -> float:
        matches = _aligned(caption, reference, stems, names)
        if not matches:
            return 0.0
        precision, recall = len(matches) / len(caption), len(matches) / len(reference)
        mean = (precision * recall) / (ALPHA * precision + (1 - ALPHA) * recall)
        follows = ((i + 1, j + 1) == after for (i, j), after in pairwise(matches))
        return float((1 - GAMMA * ((len(matches) - sum(follows)) / len(matches)) ** BETA) * mean)

    def best(references: Iterable[str], caption: str) -> float:
        words = _lowered(tokenize(caption))
        return max(score(_lowered(tokenize(reference)), words) for reference in references)

    return best


def _lowered(words: list[str]) -> list[str]:
    return [word.lower() for word in words]


def _aligned(
    caption: list[str], reference: list[str], stems: Callable[[str], str], names: Callable[[str], frozenset[str]]
) -> list[tuple[int, int]]:
    """Places (caption, reference) of matched words, in order. From the right, each word takes the rightmost free one:
    an equal word, then one with its stem, then a synonym of its stem, since NLTK looks up stems."""
    matches = list[tuple[int, int]]()
    left = dict(enumerate(caption)), dict(enumerate(reference))

    def match(near: Callable[[str], Iterable[str]]) -> None:
        free: dict[str, list[int]] = {}
        for j, word in left[1].items():
            free.setdefault(word, []).append(j)
        for i, word in reversed(list(left[0].items())):
            if places := [positions for other in near(word) if (positions := free.get(other))]:
                j = max(places, key=lambda positions: positions[-1]).pop()
                matches.append((i, j))
                del left[0][i], left[1][j]

    match(lambda word: (word,))
    left = {i: stems(w) for i, w in left[0].items()}, {j: stems(w) for j, w in left[1].items()}
    match(lambda word: (word,))
    match(lambda word: names(word) | {word})
    return sorted(matches)


def measure(records: Records, tokenize: Tokenize = str.split) -> Measurement:
    """METEOR of each caption, the best over its references, in percent; an empty caption is 0."""
    score = scorer(tokenize)
    pairs = zip(records.samples, records.captions, strict=True)
    values = np.array([[100 * score(sample.references, caption)] for sample, caption in pairs], dtype=np.float64)
    return Measurement(values.reshape(-1, 1), values.reshape(-1, 1))


def signature() -> dict[str, str]:
    """How the number is made: NLTK's version, the tokens, WordNet's checksum and the formula's parameters."""
    return {
        "impl": "nltk-3.10.4",
        "tok": "whitespace",
        "wn": f"3.0-{checksum()}",
        "alpha": "0.9",
        "beta": "3",
        "gamma": "0.5",
        "agg": "mean",
        "v": "1",
    }


def _words(text: str) -> list[str]:
    from nltk.tokenize import word_tokenize

    return list(word_tokenize(text))


def _missing_words() -> str | None:
    if nltk_data.root(nltk_data.PUNKT) is None:
        return f"NLTK's punkt_tab is not on this machine: {nltk_data.COMMAND}"
    return missing_wordnet()


def _signature_on_words() -> dict[str, str]:
    return {**signature(), "tok": "word_tokenize", "punkt": nltk_data.settings()["punkt_tab"]}


METRIC = Metric(
    name="meteor_nltk",
    values=SCORE,
    order=9,
    measure=measure,
    signature=signature,
    empty=(0.0,),
    floor=True,
    missing=missing_wordnet,
)

VARIANTS = {
    "word_tokenize": replace(
        METRIC,
        name="meteor_nltk@word_tokenize",
        measure=partial(measure, tokenize=_words),
        signature=_signature_on_words,
        missing=_missing_words,
    ),
}
