"""NLTK's METEOR on white-space tokens: a mean over images, in percent.

Per image, with NLTK's defaults: words are lower-cased and aligned greedily from the right, first equal words,
then equal Porter stems, then synonyms in WordNet; with m matches in c chunks, P = m / caption words and
R = m / reference words::

    score = 100 * P R / (0.9 P + 0.1 R) * (1 - 0.5 (c / m)^3)        0 without a match

Source: Lavie and Agarwal 2007 as in nltk/translate/meteor_score.py 3.10.4, ``meteor_score([reference.split()],
caption.split())``, equal bit for bit. Alignment and formula are NLTK's; only the two look-ups of a word are replaced:
stems are memoised, and synonyms come from WordNet's files without building NLTK's objects (0.9 s of CPU time
for 500 DOCCI captions in place of 6.4, core packages only). ``meteor_nltk@word_tokenize`` is the same on the tokens of
``nltk.word_tokenize``. Whether the paper used one of these or version 1.5 (``meteor``) is open: ``cim meteor``.

Run: ``cim score --metrics meteor_nltk RUN``
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import CimError
from harness.parts import SCORE, Measurement, Metric, Records
from harness.resources import nltk_data
from harness.resources.wordnet import checksum, folder, missing_wordnet
from harness.resources.wordnet_words import synonyms

Tokenize = Callable[[str], list[str]]


@dataclass(frozen=True, slots=True)
class _Lemma:
    text: str

    def name(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class _Synset:
    words: tuple[_Lemma, ...]

    def lemmas(self) -> tuple[_Lemma, ...]:
        return self.words


@dataclass(frozen=True, slots=True)
class _Remembered:
    """Memoised stemmer and WordNet for ``meteor_score``."""

    stem: Callable[[str], str]
    synsets: Callable[[str], tuple[_Synset, ...]]


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
    from nltk.stem.porter import PorterStemmer
    from nltk.translate.meteor_score import meteor_score

    lookup = synonyms(wordnet_folder)

    @cache
    def synsets(word: str) -> tuple[_Synset, ...]:
        return (_Synset(tuple(map(_Lemma, lookup(word)))),)

    words: Any = _Remembered(stem=cache(PorterStemmer().stem), synsets=synsets)
    return lambda references, caption: float(
        meteor_score([tokenize(text) for text in references], tokenize(caption), stemmer=words, wordnet=words)
    )


def measure(records: Records, tokenize: Tokenize = str.split) -> Measurement:
    """METEOR of each caption, the best over its references, in percent; an empty caption is 0."""
    score = scorer(tokenize)
    pairs = zip(records.samples, records.captions, strict=True)
    values = np.array([[100 * score(sample.references, caption)] for sample, caption in pairs], dtype=np.float64)
    return Measurement(values.reshape(-1, 1), values.reshape(-1, 1))


def signature() -> dict[str, str]:
    """How the number is made: NLTK's version, the tokens, WordNet's checksum and the formula's parameters."""
    return {
        "impl": f"nltk-{version('nltk')}",
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
