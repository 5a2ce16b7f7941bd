"""AMBER's generative measures: hallucinated and covered objects of a caption, by lists of words, without a judge.

A mention is a word whose lemma (noun, WordNet 3.0) is one of AMBER's 418 words; it belongs to the first object of the
image that the word stands for, else to the first *decoy*, an object that models like to invent for the image. Words too
general to be wrong (``PASSED``) are mentions of nothing. In percent, ratios of sums over captions::

    chair = mentions of no object in the image / mentions      hal = captions with such a mention / captions
    cover = objects in the image that are mentioned / objects in the image
    cog   = decoys that are mentioned / decoys

Source: ``junyangwang0410/AMBER:inference.py@534babf`` (arXiv 2311.07397), with two differences that make values **not
comparable** with published ones. The reference reads nouns by a tagger; here every word is read. It takes a word for
another where spaCy's vectors have a cosine above 0.8; here none but AMBER's own associations stands for another.
``amber_words.json`` is its ``data/relation.json``, byte for byte (Apache-2.0). ``cim eval --model M --task amber``
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from harness.errors import CimError
from harness.metrics.chair import ratios
from harness.parts import Measurement, Metric, Records, Value
from harness.resources.wordnet import checksum, folder, missing_wordnet
from harness.resources.wordnet_words import lemmatiser
from harness.types import Element, Sample

FILE = Path(__file__).with_name("amber_words.json")
# The reference's data/safe_words.txt.
PASSED = frozenset({"orange", "snack", "line", "camera", "light", "shoe", "sign", "range", "individual"})
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")


@cache
def associated() -> dict[str, tuple[str, ...]]:
    """The words that also stand for an object, by its name; lower case."""
    content = json.loads(FILE.read_text(encoding="utf-8"))
    return {name.lower(): tuple(word.lower() for word in words) for name, words in content.items()}


@cache
def _lemmas() -> tuple[Callable[[str], str], frozenset[str]]:
    """The lemma of a word, and the lemmas that are mentions."""
    wordnet = folder()
    if wordnet is None:
        raise CimError(str(missing_wordnet()))
    listed = associated()
    return lemmatiser(wordnet, "noun"), frozenset(listed) | {word for words in listed.values() for word in words}


def _mentions(caption: str) -> Iterator[tuple[str, str]]:
    """Lemma and word of each mention, in order."""
    lemma, known = _lemmas()
    return ((name, word) for word in _WORD.findall(caption.lower()) if (name := lemma(word)) in known)


def _owners(names: Sequence[str], sample: Sample) -> Mapping[str, int]:
    """The place among ``names`` of the object that a word stands for: associations first, as in the reference."""
    if unknown := [name for name in names if name.lower() not in associated()]:
        raise CimError(f"{unknown[0][:40]!r} is no object of AMBER", where=f"sample {sample.id}", hint=FILE.name)
    owners = dict[str, int]()
    for at, name in enumerate(names):
        for word in associated()[name.lower()]:
            owners.setdefault(word, at)
    for at, name in enumerate(names):
        owners.setdefault(name.lower(), at)
    return owners


@dataclass(frozen=True, slots=True)
class _Read:
    """What a caption mentions: words by object of the image, decoys, words of neither, and how many mentions in all."""

    present: Mapping[int, list[str]]
    decoys: frozenset[int]
    invented: list[str]
    mentions: int


def _read(sample: Sample, caption: str) -> _Read:
    true, decoys = _owners(sample.objects, sample), _owners(sample.decoys, sample)
    mentions = list(_mentions(caption))
    present = dict[int, list[str]]()
    for lemma, word in mentions:
        if lemma in true and lemma not in PASSED:
            present.setdefault(true[lemma], []).append(word)
    others = [(lemma, word) for lemma, word in mentions if lemma not in true and lemma not in PASSED]
    expected = frozenset(decoys[lemma] for lemma, _ in others if lemma in decoys)
    return _Read(present, expected, [word for _, word in others], len(mentions))


def _measure(records: Records) -> Measurement:
    rows = []
    for sample, caption in zip(records.samples, records.captions, strict=True):
        read = _read(sample, caption)
        chair, hal = (len(read.invented), read.mentions), (bool(read.invented), 1)
        cover, cog = (len(read.present), len(sample.objects)), (len(read.decoys), len(sample.decoys))
        rows.append((*chair, *cover, *hal, *cog))
    statistics = np.array(rows, dtype=np.float64).reshape(-1, 8)
    return Measurement(ratios(statistics, 1), statistics, {"mentions": float(statistics[:, 1].sum())})


def _elements(records: Records) -> list[list[Element]]:
    pairs = zip(records.samples, records.captions, strict=True)
    return [_of_caption(sample, _read(sample, caption)) for sample, caption in pairs]


def _of_caption(sample: Sample, read: _Read) -> list[Element]:
    named = {at: tuple(dict.fromkeys(words)) for at, words in read.present.items()}
    objects = [
        Element("object", name, "matched" if at in named else "missed", named.get(at, ()))
        for at, name in enumerate(sample.objects)
    ]
    return [*objects, *(Element("object", word, "invented") for word in dict.fromkeys(read.invented))]


METRIC = Metric(
    name="amber",
    values=(Value("chair", False), Value("cover"), Value("hal", False), Value("cog", False)),
    order=14,
    measure=_measure,
    aggregate=ratios,
    signature=lambda: {
        "impl": "own",
        "words": "amber-534babf",
        "nouns": "any-word",
        "near": "none",
        "wn": f"3.0-{checksum()}",
        "agg": "pooled",
        "v": "1",
    },
    empty=(0.0, 0.0, 0.0, 0.0),
    needs=frozenset({"objects", "decoys"}),
    floor=True,
    missing=missing_wordnet,
    elements=_elements,
)
