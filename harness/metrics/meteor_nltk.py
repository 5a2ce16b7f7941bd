"""NLTK's METEOR on white-space tokens: a mean over images, in percent.

Per image, with NLTK's defaults: words are lower-cased and aligned greedily from the right, first equal words,
then equal Porter stems, then synonyms in WordNet; with m matches in c chunks, P = m / caption words and
R = m / reference words::

    score = 100 * P R / (0.9 P + 0.1 R) * (1 - 0.5 (c / m)^3)        0 without a match

Source: Lavie and Agarwal 2007 as in nltk/translate/meteor_score.py 3.10.4, ``meteor_score([reference.split()],
caption.split())``, equal bit for bit. Alignment and formula are NLTK's; only the two look-ups of a word are ours:
stems are remembered, and synonyms come from WordNet's files without building NLTK's objects (0.9 s of CPU time
for 500 DOCCI captions in place of 6.4, core packages only). ``meteor_nltk@word_tokenize`` is the same on the tokens of
``nltk.word_tokenize``. Whether the paper used one of these or version 1.5 (``meteor``) is open: ``cim meteor``.

Run: ``cim score --metrics meteor_nltk RUN``
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import CimError
from harness.parts import Measurement, Metric, Records
from harness.wordnet import checksum, folder, missing_wordnet, search_path

# nltk/corpus/reader/wordnet.py 3.10.4, MORPHOLOGICAL_SUBSTITUTIONS: endings of inflected forms, by part of speech.
ENDINGS = {
    "noun": "s: ses:s ves:f xes:x zes:z ches:ch shes:sh men:man ies:y",
    "verb": "s: ies:y es:e es: ed:e ed: ing:e ing:",
    "adj": "er: est: er:e est:e",
    "adv": "",
}
# What nltk.word_tokenize splits sentences by, below a folder of NLTK's data.
PUNKT = Path("tokenizers") / "punkt_tab" / "english"
PUNKT_FILES = ("abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt")

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
    """The stemmer and the WordNet that ``meteor_score`` asks, answering from memory."""

    stem: Callable[[str], str]
    synsets: Callable[[str], tuple[_Synset, ...]]


@dataclass(frozen=True, slots=True)
class _PartOfSpeech:
    """One part of speech of WordNet: lemma to index line, inflected to base forms, synset lines by offset."""

    index: Mapping[str, str]
    exceptions: Mapping[str, list[str]]
    endings: tuple[tuple[str, str], ...]
    data: bytes

    def names(self, word: str) -> Iterator[str]:
        """Lemma names of all synsets of a lower-case word and of its base forms."""
        bases = self.exceptions.get(word)
        if bases is None:
            bases = [word[: -len(old)] + new for old, new in self.endings if word.endswith(old)]
        for form in (word, *bases):
            if form in self.index:
                # wndb(5WN): pos n_synsets n_pointers pointers n_senses n_tagged offsets
                fields = self.index[form].split()
                for offset in fields[-int(fields[1]) :]:
                    yield from self._lemmas(int(offset))

    def _lemmas(self, offset: int) -> Iterator[str]:
        # wndb(5WN): offset file type n_words(hex) (word lex_id)...; an adjective may end in "(marker)".
        fields = self.data[offset : self.data.index(b"|", offset)].decode("ascii").split()
        yield from (name.split("(")[0] for name in fields[4 : 4 + 2 * int(fields[3], 16) : 2])


def _part_of_speech(found: Path, pos: str) -> _PartOfSpeech:
    entries = (line.partition(" ") for line in _lines(found / f"index.{pos}") if not line.startswith(" "))
    exceptions = (line.split() for line in _lines(found / f"{pos}.exc"))
    return _PartOfSpeech(
        index={lemma: rest for lemma, _, rest in entries},
        exceptions={forms[0]: forms[1:] for forms in exceptions},
        endings=tuple((old, new) for old, _, new in (pair.partition(":") for pair in ENDINGS[pos].split())),
        data=(found / f"data.{pos}").read_bytes(),
    )


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="ascii").splitlines()


def synonyms(found: Path) -> Callable[[str], frozenset[str]]:
    """A function from a word to the single-word names in its synsets, as NLTK's reader of ``found`` gives them."""
    parts = [_part_of_speech(found, pos) for pos in ENDINGS]
    return lambda word: frozenset(name for part in parts for name in part.names(word.lower()) if "_" not in name)


def scorer(tokenize: Tokenize = str.split) -> Callable[[Iterable[str], str], float]:
    """A function from references and a caption to NLTK's METEOR on these tokens, 0 to 1.

    Raises:
        CimError: WordNet is not on this machine.
    """
    found = folder()
    if found is None:
        raise CimError(f"meteor_nltk cannot be computed: {missing_wordnet()}")
    return _scorer(found, tokenize)


@cache
def _scorer(found: Path, tokenize: Tokenize) -> Callable[[Iterable[str], str], float]:
    """Made once: captions, their wrong-image control and further models share what is remembered."""
    from nltk.stem.porter import PorterStemmer
    from nltk.translate.meteor_score import meteor_score

    lookup = synonyms(found)

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


def _punkt() -> Path | None:
    candidates = (path / PUNKT for path in search_path())
    return next((path for path in candidates if all((path / name).is_file() for name in PUNKT_FILES)), None)


def _missing_punkt() -> str | None:
    if _punkt() is None:
        return "NLTK's punkt_tab is not on this machine; run `.venv/bin/python -m nltk.downloader punkt_tab`"
    return missing_wordnet()


def _signature_on_words() -> dict[str, str]:
    found = _punkt()
    content = b"".join((found / name).read_bytes() for name in PUNKT_FILES) if found else b""
    return {**signature(), "tok": "word_tokenize", "punkt": hashlib.sha256(content).hexdigest()[:12]}


METRIC = Metric(
    name="meteor_nltk",
    values=("score",),
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
        missing=_missing_punkt,
    ),
}
