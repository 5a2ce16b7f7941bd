"""The objects of COCO's 80 categories that a text names, by the list of words in ``coco_words.toml``.

A text is cut at punctuation; in each piece the longest known phrase is taken, word by word from the left, in singular
or plural. Not every word that names an object does so where it stands::

    baby elephant     one elephant, no person: a qualifier directly before the word of another category
    train track       none: a phrase that only holds the word
    toilet seat       one toilet; no seat is a chair in a text that names a toilet
    orange vest       none: only "oranges", or "an orange" that no noun follows, are fruit

The first three follow ``LisaAnne/Hallucination:utils/chair.py@6e4d33c``.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.errors import CimError
from harness.resources.wordnet_words import ENDINGS
from harness.types import Sample

FILE = Path(__file__).with_name("coco_words.toml")
SOURCES = ("everyday", "wordnet", "stored")  # tables of the file
PERSON, TOILET, SEAT, ORANGE = "person", "toilet", "seat", "orange"
LONGEST = 3  # words of a phrase
_ARTICLES = "a an the one another each every half his her its their this that"
_NO_NOUNS = (
    "about above and are as at behind below beside between by can from has in inside into is lies near next of on or "
    "placed resting sits sitting that to under visible was which while with"
)
ARTICLES, NO_NOUNS = frozenset(_ARTICLES.split()), frozenset(_NO_NOUNS.split())
_BETWEEN, _WORD = re.compile(r"[^\w\s'’-]+"), re.compile(r"[^\W\d_]+")
_ENDINGS = tuple(pair.split(":") for pair in ENDINGS["noun"].split())


@dataclass(frozen=True, slots=True)
class Mention:
    """An object named in a text: its category, and the words that name it, in lower case."""

    category: str
    words: str


@dataclass(frozen=True, slots=True)
class WordList:
    """Phrases of singular words with their categories ("" for one that names no object), and the words in them."""

    phrases: Mapping[str, str]
    plurals: Mapping[str, str]
    qualifiers: frozenset[str]
    vocabulary: frozenset[str]

    def checksum(self) -> str:
        """The first 12 hex digits of a sha256 over the list."""
        content = json.dumps([self.phrases, self.plurals, sorted(self.qualifiers)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def singular(self, word: str) -> str:
        """The form of a word that the list has; the word itself where it has none."""
        if word in self.vocabulary:
            return word
        bases = (word[: -len(old)] + new for old, new in _ENDINGS if word.endswith(old))
        return self.plurals.get(word) or next((base for base in bases if base in self.vocabulary), word)


@cache
def word_list() -> WordList:
    """The list that comes with the project."""
    content = tomllib.loads(FILE.read_text(encoding="utf-8"))
    phrases = {name: name for name in content["categories"]} | dict.fromkeys(content["no_object"], "")
    for source in SOURCES:
        for name, listed in content[source].items():
            phrases |= dict.fromkeys(listed.split(", "), name)
    vocabulary = frozenset(word for phrase in phrases for word in phrase.split())
    return WordList(phrases, content["plurals"], frozenset(content["qualifiers"]), vocabulary)


def annotated(sample: Sample) -> frozenset[str]:
    """The categories annotated for an image, called as COCO does: ``tv`` for ``television``.

    Raises:
        CimError: one is none of the 80; names the sample.
    """
    known = word_list().phrases
    names = [known.get(" ".join(name.lower().split()), "") for name in sample.coco_objects]
    if "" in names:
        wrong = sample.coco_objects[names.index("")]
        raise CimError(f"{wrong[:40]!r} is no object of COCO", where=f"sample {sample.id}", hint=f"its 80: {FILE.name}")
    return frozenset(names)


def mentions(text: str) -> list[Mention]:
    """Objects named in a text, in its order, each as often as it is named."""
    known = word_list()
    named = [mention for piece in _BETWEEN.split(text.lower()) for mention in _in_piece(_WORD.findall(piece), known)]
    if any(mention.category == TOILET for mention in named):
        return [mention for mention in named if known.singular(mention.words) != SEAT]
    return named


def _in_piece(spelled: Sequence[str], known: WordList) -> Iterator[Mention]:
    singular = [known.singular(word) for word in spelled]
    at, before = 0, None
    while at < len(spelled):
        sizes = range(min(LONGEST, len(spelled) - at), 0, -1)
        size = next((n for n in sizes if " ".join(singular[at : at + n]) in known.phrases), 1)
        name = known.phrases.get(" ".join(singular[at : at + size]), "")
        if spelled[at] == ORANGE and not _is_fruit(spelled, at):
            name = ""
        if before and not (before.words in known.qualifiers and name not in ("", PERSON)):
            yield before
        before = Mention(name, " ".join(spelled[at : at + size])) if name else None
        at += size
    if before:
        yield before


def _is_fruit(piece: Sequence[str], at: int) -> bool:
    """Is "orange" a thing here: after an article, before no noun? "An orange and" must go on with another article."""
    following = [*piece[at + 1 : at + 3], "", ""]
    return (
        at > 0
        and piece[at - 1] in ARTICLES
        and (following[0] in NO_NOUNS or not following[0])
        and (following[0] != "and" or following[1] in ARTICLES)
    )
