"""A fake of the scene-graph parser and of the phrase encoder: rules and hashes, the same on every machine.

The graphs have the sizes of real ones (``test_the_fake_graphs_are_of_realistic_size``) and mean little: adjectives are
what a list says, nouns the other long words, relations what stands between neighbouring nouns.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from harness.parts import Encoder, Parser, Records
from harness.types import Sample
from tests import controls

_ADJECTIVES = (
    "red blue green white black brown gray grey yellow orange pink purple dark light bright tan golden beige small "
    "large big little tall short long thin thick wide narrow old new young wooden metal metallic plastic glass "
    "concrete round square flat clear shiny dirty clean open closed empty full blurry visible multiple several two "
    "three four five one grassy sunny cloudy left right top bottom upper lower front back"
)
_LINKS = (
    "on in at with of behind beside under above below near over along across against between around inside wearing "
    "holding standing sitting leaning hanging facing covering surrounding has"
)
_PLAIN = (
    "a an the and or but to by from for as is are was were be been being have had it its there this that these those "
    "which who whose while also he she they his her their them him can could seen some other another each side image "
    "photo picture view very not into out up down through off where when what we i you see going made looking here "
    "all both more most many much so only just then than any background foreground"
)
ADJECTIVES, LINKS, PLAIN = (frozenset(words.split()) for words in (_ADJECTIVES, _LINKS, _PLAIN))
WORD = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*")
_SUBSTITUTES = (
    "man:person woman:lady dog:hound car:vehicle large:big small:tiny red:blue white:pale building:house street:road "
    "tree:plant black:dark wearing:in"
)
SUBSTITUTES = dict(pair.split(":") for pair in _SUBSTITUTES.split())


def _noun(word: str) -> str:
    """The noun that a word is taken for, or nothing."""
    if len(word) < 4 or word in PLAIN | LINKS or word.endswith(("ing", "ed", "ly", "er", "th", "al")):
        return ""
    return word[:-1] if len(word) > 4 and word.endswith("s") and not word.endswith("ss") else word


@functools.cache
def graph(text: str) -> dict[str, Any]:
    """A parse value of a text, as parser ``scene_graph`` has it."""
    objects, attributes, relations = set[str](), dict[str, set[str]](), set[tuple[str, str, str]]()
    sentences = [part for part in re.split(r"[.!?]+\s|\n", text) if part.strip()]
    tokens = 0
    for sentence in sentences:
        words = [word.lower() for word in WORD.findall(sentence)]
        tokens += len(words)
        waiting, link, before = list[str](), list[str](), ""
        for word, following in itertools.zip_longest(words, words[1:], fillvalue=""):
            if word in ADJECTIVES or (_noun(word) and _noun(following) and following not in ADJECTIVES):
                waiting.append(word)
            elif word in LINKS:
                link.append(word)
                waiting.clear()
            elif noun := _noun(word):
                objects.add(noun)
                if waiting:
                    attributes.setdefault(noun, set()).update(waiting)
                if before and before != noun:
                    relations.add((before, " ".join(link[-2:]) or "and", noun))
                waiting, link, before = list[str](), list[str](), noun
    return {
        "objects": sorted(objects),
        "attributes": {owner: sorted(words) for owner, words in sorted(attributes.items())},
        "relations": [list(triple) for triple in sorted(relations)],
        **{"sentences": len(sentences), "tokens": tokens, "tokens_cut": tokens // 50, "inputs_cut": tokens // 150},
        **{"outputs_cut": 0, "malformed": 0, "nouns_lost": sum(word[:1].isupper() for word in text.split()[:1])},
    }


def _nobody(_: str) -> None:
    """Told of nothing."""


def parser(name: str, told: Callable[[str], None] = _nobody) -> Parser:
    """The fake under the name of the part that it stands for; ``told`` hears of every text."""

    def parse(texts: Sequence[str]) -> Iterator[dict[str, Any]]:
        for text in texts:
            told(text)
            yield graph(text)

    return Parser(name, lambda: {"fake": "rules 1"}, lambda _: nullcontext(parse))


@functools.cache
def vector(phrase: str, size: int = 32) -> Any:
    """A fake unit vector, float64: phrases with a word or a start of three letters in common are alike."""
    total = np.zeros(size)
    for word in phrase.lower().split() or [""]:
        total += _piece(word, size) + _piece(word[:3], size)
    # Something in common, as real phrases have: without it cosines about 0 of either sign make F1 a quotient of noise.
    total = total / np.linalg.norm(total) + _piece("", size) / (2 * size**0.5)
    return total / np.linalg.norm(total)


@functools.cache
def _piece(text: str, size: int) -> Any:
    seed = int.from_bytes(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(size)


def encode(phrases: Sequence[str], _: int = 0) -> Any:
    """Vectors (n, 32), float64, so that nothing is lost to rounding; a batch size changes nothing."""
    return np.stack([vector(phrase) for phrase in phrases]) if phrases else np.zeros((0, 0))


def encoder(name: str, told: Callable[[str], None] = _nobody, after: int | None = None, size: int = 32) -> Encoder:
    """The same of the encoder, which stops ``after`` so many texts."""

    def give(texts: Sequence[str]) -> Iterator[Any]:
        for text in texts[:after]:
            told(text)
            yield vector(text, size).astype(np.float32)

    return Encoder(name, lambda: {"fake": "hashes 1"}, lambda: nullcontext(give))


def captions(references: dict[str, str], kind: str) -> dict[str, str]:
    """Candidates by sample: a control of ``controls.perturbed``, or ``generated``: every second sentence of the
    reference with words replaced, then the first sentence of the next image's."""
    if kind != "generated":
        return controls.perturbed(references, kind)
    dice, keys, chosen = random.Random(7), list(references), dict[str, str]()
    for key, other in zip(keys, itertools.chain(keys[1:], keys[:1]), strict=True):
        sentences = re.split(r"(?<=[.!?])\s+", references[key])
        words = " ".join(sentences[::2]).split()
        changed = [SUBSTITUTES.get(word, word) for word in words if dice.random() > 0.15]
        chosen[key] = " ".join([*changed, re.split(r"(?<=[.!?])\s+", references[other])[0]])
    return chosen


def records(samples: Sequence[Sample], texts: Sequence[str], synonyms: Any) -> Records:
    """Records of fake graphs and vectors; ``synonyms`` is ``Parses.parse``, or a function like it."""

    def parse(name: str, given: Sequence[str]) -> list[Any]:
        return [graph(text) for text in given] if name.startswith("scene_graph") else synonyms(name, given)

    return Records(samples, texts, parse, lambda _: [], encode=lambda _, phrases: encode(phrases))
