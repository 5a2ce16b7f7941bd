"""Captions of miniscenes read: every statement in order of mention, and the scene graph that they make together.

Every mention is a statement: an object, its fine-grained name, an attribute, a place, the background, a relation. Only
"the ring" after "a ring" refers back and states nothing again. An adjective or a relation that belongs to no object is
a statement about nothing, and so never true. Reading never fails: words outside the language are passed over. A full
caption, read again, gives exactly its scene's graph, and its statements are all true.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from harness.types import SceneGraph
from tasks.miniscenes.language import AXIS, FAMILY_OF, ORDER, SLOT_OF, SLOTS, Triple, closure
from tasks.miniscenes.world import BACKGROUNDS, COLOURS, COLUMNS, ROWS, SIZES, TEXTURES

BACKGROUND = "background"  # the subject of statements about it
NOTHING = ""  # the subject of a statement about no object
WORDS = re.compile(r"[a-z]+|[.,]")


@dataclass(frozen=True, slots=True)
class Statement:
    """One mention: ``kind`` is ``object``, ``fine name``, ``attribute``, ``place``, ``background`` or ``relation``.

    ``subject`` is a family, ``background`` or empty, ``value`` what is said of it; ``other`` the second of a relation.
    """

    kind: str
    subject: str
    value: str = ""
    other: str = ""


@dataclass(slots=True)
class _Reader:
    """What has been stated, and what of the current sentence still waits for its object."""

    stated: list[Statement] = field(default_factory=list)
    known: set[Statement] = field(default_factory=set)
    adjectives: list[str] = field(default_factory=list)
    relations: list[str] = field(default_factory=list)
    subject: str = NOTHING  # of the waiting relations
    last: str = NOTHING  # the noun before
    definite: bool = False
    predicate: bool = False  # after "is", adjectives belong to the noun before

    def state(self, *statements: Statement) -> None:
        self.stated += statements
        self.known.update(statements)

    def noun(self, word: str) -> None:
        family = FAMILY_OF[word]
        naming = [Statement("object", family)] + ([Statement("fine name", family, word)] if word != family else [])
        refers_back = self.definite and naming[0] in self.known
        self.state(*(statement for statement in naming if not (refers_back and statement in self.known)))
        self.state(*(Statement("attribute", family, adjective) for adjective in self.adjectives))
        self._relate(family)
        self._next(family)

    def background(self) -> None:
        self.state(*(Statement("background", BACKGROUND, adjective) for adjective in self.adjectives))
        self._relate(BACKGROUND)
        self._next(BACKGROUND)

    def relation(self, words: str) -> None:
        if not self.relations:
            self.subject = self.last
        self.relations.append(words)

    def end_predicate(self) -> None:
        """Adjectives after "is" are said of the noun before."""
        if self.predicate and self.last:
            kind = "background" if self.last == BACKGROUND else "attribute"
            self.state(*(Statement(kind, self.last, adjective) for adjective in self.adjectives))
            self.adjectives, self.predicate = [], False

    def stop(self) -> None:
        self.end_predicate()
        for adjective in self.adjectives:
            about = ("background", BACKGROUND) if adjective in BACKGROUNDS else ("attribute", NOTHING)
            self.state(Statement(*about, adjective))
        self._relate(NOTHING)
        self._next(NOTHING)

    def _relate(self, other: str) -> None:
        self.state(*(Statement("relation", self.subject, words, other) for words in self.relations))

    def _next(self, noun: str) -> None:
        self.last, self.adjectives, self.relations = noun, [], []
        self.definite = self.predicate = False


def statements(text: str) -> list[Statement]:
    """Every statement of a text, in order, repeated and contradictory ones included."""
    reader, words = _Reader(), WORDS.findall(text.lower())
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        if word in FAMILY_OF:
            reader.noun(word)
        elif word in SLOT_OF or word in BACKGROUNDS:
            reader.adjectives.append(word)
        elif word == "background":
            reader.background()
        elif before in ROWS and word in COLUMNS:
            reader.state(Statement("place", reader.last, f"{before} {word}"))
        elif word in ("above", "below") or (word in ("left", "right") and after == "of"):
            reader.relation(word if word in AXIS else f"{word} of")
        elif word == ".":
            reader.stop()
        elif word in ("is", "are"):
            reader.predicate = True
        elif word in ("and", ",", "the", "a", "an", "in", "on"):
            reader.end_predicate()
            reader.definite = word == "the"
    reader.stop()
    return reader.stated


def _grammar() -> re.Pattern[str]:
    nouns, size, texture, colour, ground, row, column = (
        f"(?:{'|'.join(words)})" for words in (FAMILY_OF, SIZES, TEXTURES, COLOURS, BACKGROUNDS, ROWS, COLUMNS)
    )
    thing = f"a (?:{size} )?(?:{texture} )?(?:{colour} )?{nouns}(?: in the {row} {column})?"
    listed = f"(?:(?:there is|the image shows) )?{thing}(?:(?: , {thing})* and {thing})?(?: on a {ground} background)?"
    across, down = "(?:left|right) of", "(?:above|below)"
    related = f"the {nouns} is (?:{across}|{down}|{across} and {down}) the {nouns}"
    return re.compile(f"{listed}|the background is {ground}|{related}")


SENTENCE = _grammar()


def sentences(text: str) -> tuple[int, int]:
    """How many sentences a text has, and how many of them are well-formed: the grammar could have written them."""
    written = [" ".join(WORDS.findall(sentence)) for sentence in text.lower().split(".")]
    written = [sentence for sentence in written if sentence]
    return len(written), sum(SENTENCE.fullmatch(sentence) is not None for sentence in written)


def read(text: str) -> SceneGraph:
    """The scene graph that a text states, all its mentions together; relations include those that places imply.

    Of two places of one object the first counts; statements about nothing are left out.
    """
    said = statements(text)
    families = sorted({statement.subject for statement in said if statement.kind == "object"}, key=ORDER.index)
    names = {family: _values(said, "fine name", family) for family in families}
    attributes = {family: tuple(sorted(_values(said, "attribute", family), key=_slot)) for family in families}
    attributes[BACKGROUND] = _values(said, "background", BACKGROUND)
    places = {family: _cell(stated[0]) for family in families if (stated := _values(said, "place", family))}
    return SceneGraph(
        objects=tuple(families),
        names={family: words for family, words in names.items() if words},
        attributes={owner: words for owner, words in attributes.items() if words},
        relations=tuple(closure(_triples(said), places)),
    )


def _values(said: Iterable[Statement], kind: str, subject: str) -> tuple[str, ...]:
    values = (statement.value for statement in said if (statement.kind, statement.subject) == (kind, subject))
    return tuple(dict.fromkeys(values))


def _slot(word: str) -> int:
    return SLOTS.index(SLOT_OF.get(word, "colour"))


def _cell(place: str) -> int:
    row, column = place.split()
    return ROWS.index(row) * len(COLUMNS) + COLUMNS.index(column)


def _triples(said: Iterable[Statement]) -> Iterator[Triple]:
    for statement in said:
        if statement.kind == "relation" and is_between_objects(statement):
            yield statement.subject, statement.value, statement.other


def is_between_objects(relation: Statement) -> bool:
    """Does a relation hold two different objects?"""
    return relation.subject != relation.other and {relation.subject, relation.other} <= set(ORDER)


def answer(asked: str, stated: SceneGraph) -> str:
    """Yes, No or n/a: what a caption's graph says to a question; n/a where it says nothing, or both."""
    question = re.search(r"is the (\w+) (left of|right of|above|below) the (\w+)", asked.lower())
    if not question or question[1] not in FAMILY_OF or question[3] not in FAMILY_OF:
        return "n/a"
    ((subject, asked_words, other),) = closure([(FAMILY_OF[question[1]], question[2], FAMILY_OF[question[3]])], {})
    answers = {
        "Yes" if words == asked_words else "No"
        for first, words, second in stated.relations
        if (first, second, AXIS[words]) == (subject, other, AXIS[asked_words])
    }
    return answers.pop() if len(answers) == 1 else "n/a"
