"""The language of miniscenes: captions of a scene at a level of detail, and any text read as a scene graph.

Reading never fails: words outside the language are passed over, the first mention of an object, slot or
relation wins, repetition changes nothing. A full caption, read again, gives exactly its scene's graph.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from harness.types import SceneGraph
from tasks.miniscenes.world import BACKGROUNDS, COLOURS, COLUMNS, FAMILIES, ROWS, SIZES, TEXTURES, Dice, Scene, Thing

FAMILY_OF = {name: family for family, names in FAMILIES.items() for name in (family, *names)}
SLOT_OF = {
    word: slot for slot, words in (("size", SIZES), ("texture", TEXTURES), ("colour", COLOURS)) for word in words
}
SLOTS = ("size", "texture", "colour")
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
AXIS = {"left of": "horizontal", "right of": "horizontal", "above": "vertical", "below": "vertical"}
ORDER = list(FAMILIES)
OPENERS = ("", "", "there is", "the image shows")

Triple = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Level:
    """How much a caption says: chance of each detail, and of a wrong word in place of a right one."""

    thing: float
    name: float
    colour: float
    size: float
    texture: float
    place: float
    background: float
    relation: float
    error: float = 0.0


# base: what a terse captioner says; medium: what it is fine-tuned on; full: everything.
LEVELS = {
    "base": Level(0.85, 0.30, 0.60, 0.25, 0.25, 0.10, 0.20, 0.10, error=0.03),
    "medium": Level(0.93, 0.55, 0.75, 0.50, 0.50, 0.40, 0.50, 0.20, error=0.03),
    "full": Level(1, 1, 1, 1, 1, 1, 1, 0.25),
}


def random_level(dice: Dice) -> Level:
    """A level for training encoders and for the correlation study: from terse to full, without errors."""
    u = dice.chance
    details = [0.1 + 0.9 * dice.number(1000) / 1000 for _ in range(7)]
    thing, name, colour, size, texture, place, background = details
    return Level(max(0.5, thing), name, max(0.4, colour), size, texture, place, background, 0.3 if u(0.3) else 0.0)


def relation(first: Thing, second: Thing, axis: str) -> str | None:
    """How the first object lies to the second on an axis; None where they are level."""
    if axis == "horizontal":
        one, other, words = first.column, second.column, ("left of", "right of")
    else:
        one, other, words = first.row, second.row, ("above", "below")
    return None if one == other else words[one > other]


def graph(scene: Scene) -> SceneGraph:
    """The scene's graph: families, fine names, attributes with the background, and every relation."""
    places = {thing.family: thing.cell for thing in scene.things}
    attributes = {thing.family: (thing.size, thing.texture, thing.colour) for thing in scene.things}
    return SceneGraph(
        objects=tuple(places),
        names={thing.family: thing.name for thing in scene.things},
        attributes={**attributes, "background": (scene.background,)},
        relations=tuple(closure((), places)),
    )


def closure(stated: Sequence[Triple], places: Mapping[str, int]) -> list[Triple]:
    """Relations as stated, then those that stated places imply, one a pair and axis, subjects in family order."""
    found: dict[tuple[str, str, str], Triple] = {}
    for subject, words, other in [*stated, *_implied(places)]:
        first, second = sorted((subject, other), key=ORDER.index)
        words = words if first == subject else OPPOSITE[words]
        found.setdefault((first, second, AXIS[words]), (first, words, second))
    return [found[key] for key in sorted(found, key=lambda key: (ORDER.index(key[0]), ORDER.index(key[1]), key[2]))]


def _implied(places: Mapping[str, int]) -> Iterator[Triple]:
    things = {family: Thing(family, "", "", "", "", cell) for family, cell in places.items()}
    for first in things:
        for second in things:
            for axis in ("horizontal", "vertical"):
                if ORDER.index(first) < ORDER.index(second) and (
                    words := relation(things[first], things[second], axis)
                ):
                    yield first, words, second


def caption(scene: Scene, level: Level, dice: Dice) -> str:
    """One caption of a scene: lower-case words and full stops, blanks between them."""
    said = [thing for thing in scene.things if dice.chance(level.thing)] or [dice.choose(scene.things)]
    nouns = {thing.family: _name(thing, level, dice) for thing in said}
    phrases = [_phrase(thing, nouns[thing.family], level, dice) for thing in said]
    listed = " and ".join(filter(None, (" , ".join(phrases[:-1]), phrases[-1])))
    sentences = [" ".join(filter(None, (dice.choose(OPENERS), listed)))]
    if dice.chance(level.background):
        colour = _or_wrong(scene.background, BACKGROUNDS, level, dice)
        if dice.chance(0.5):
            sentences[0] += f" on a {colour} background"
        else:
            sentences.append(f"the background is {colour}")
    if len(said) > 1 and dice.chance(level.relation):
        first, second = dice.sample(said, 2)
        sentences.append(_statement(first, second, nouns, level, dice))
    return " . ".join(sentences) + " ."


def _or_wrong(word: str, words: Sequence[str], level: Level, dice: Dice) -> str:
    return dice.choose([other for other in words if other != word]) if dice.chance(level.error) else word


def _name(thing: Thing, level: Level, dice: Dice) -> str:
    if not dice.chance(level.name):
        return thing.family
    return _or_wrong(thing.name, FAMILIES[thing.family], level, dice)


def _phrase(thing: Thing, noun: str, level: Level, dice: Dice) -> str:
    words = ["a"]
    for chance, word, choices in (
        (level.size, thing.size, SIZES),
        (level.texture, thing.texture, TEXTURES),
        (level.colour, thing.colour, COLOURS),
    ):
        if dice.chance(chance):
            words.append(_or_wrong(word, choices, level, dice))
    words.append(noun)
    if dice.chance(level.place):
        row, column = (_or_wrong(word, words_, level, dice) for word, words_ in _place(thing))
        words += ["in", "the", row, column]
    return " ".join(words)


def _place(thing: Thing) -> tuple[tuple[str, Sequence[str]], tuple[str, Sequence[str]]]:
    return (ROWS[thing.row], ROWS), (COLUMNS[thing.column], COLUMNS)


def _statement(first: Thing, second: Thing, nouns: Mapping[str, str], level: Level, dice: Dice) -> str:
    found = [words for axis in ("horizontal", "vertical") if (words := relation(first, second, axis))]
    found = [OPPOSITE[words] if dice.chance(level.error) else words for words in found]
    return f"the {nouns[first.family]} is {' and '.join(found)} the {nouns[second.family]}"


@dataclass(slots=True)
class _Reading:
    """What has been read so far."""

    names: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    stated: list[Triple] = field(default_factory=list)
    background: str | None = None
    waiting: dict[str, str] = field(default_factory=dict)
    last: str | None = None
    subject: str | None = None
    pending: list[str] = field(default_factory=list)

    def noun(self, word: str) -> None:
        family = FAMILY_OF[word]
        slots = self.attributes.setdefault(family, {})
        for slot, value in self.waiting.items():
            slots.setdefault(slot, value)
        if word != family:
            self.names.setdefault(family, word)
        if self.subject and self.subject != family:
            self.stated += [(self.subject, words, family) for words in self.pending]
        self.last, self.subject, self.pending, self.waiting = family, None, [], {}

    def relation(self, words: str) -> None:
        self.subject = self.subject or self.last
        self.pending.append(words)

    def stop(self) -> None:
        self.last, self.subject, self.pending, self.waiting = None, None, [], {}


def read(text: str) -> SceneGraph:
    """The scene graph that a text states; relations include those that its places imply."""
    reading, words = _Reading(), re.findall(r"[a-z]+|[.]", text.lower())
    for before, word in zip(["", *words], words, strict=False):
        if word in FAMILY_OF:
            reading.noun(word)
        elif word in SLOT_OF:
            reading.waiting.setdefault(SLOT_OF[word], word)
        elif word in BACKGROUNDS:
            reading.background = reading.background or word
        elif before in ROWS and word in COLUMNS and reading.last:
            reading.places.setdefault(reading.last, ROWS.index(before) * len(COLUMNS) + COLUMNS.index(word))
        elif word in ("left", "right"):
            reading.relation(f"{word} of")
        elif word in ("above", "below"):
            reading.relation(word)
        elif word == ".":
            reading.stop()
    families = [family for family in ORDER if family in reading.attributes]
    owned = {family: reading.attributes[family] for family in families}
    attributes = {family: tuple(slots[slot] for slot in SLOTS if slot in slots) for family, slots in owned.items()}
    if reading.background:
        attributes["background"] = (reading.background,)
    return SceneGraph(
        objects=tuple(families),
        names={family: reading.names[family] for family in families if family in reading.names},
        attributes={owner: words for owner, words in attributes.items() if words},
        relations=tuple(closure(reading.stated, reading.places)),
    )


def question(first: str, words: str, second: str) -> str:
    """A relation question about two families."""
    return f"Is the {first} {words} the {second}?"


def answer(asked: str, stated: SceneGraph) -> str:
    """Yes, No or n/a: what a caption's graph says to a question; n/a where it says nothing."""
    found = re.search(r"is the (\w+) (left of|right of|above|below) the (\w+)", asked.lower())
    if not found or found[1] not in FAMILY_OF or found[3] not in FAMILY_OF:
        return "n/a"
    first, words, second = FAMILY_OF[found[1]], found[2], FAMILY_OF[found[3]]
    ((subject, normal, other),) = closure([(first, words, second)], {})
    for known_subject, known, known_other in stated.relations:
        if (known_subject, known_other, AXIS[known]) == (subject, other, AXIS[normal]):
            return "Yes" if known == normal else "No"
    return "n/a"
