"""The language of miniscenes: the graph of a scene, and its captions at a level of detail; ``reading.py`` reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

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
NOWHERE = -1  # the cell of an object whose place a caption leaves out

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
        here, other, words = first.column, second.column, ("left of", "right of")
    else:
        here, other, words = first.row, second.row, ("above", "below")
    return None if here == other else words[here > other]


def graph(scene: Scene) -> SceneGraph:
    """The scene's graph: families, fine names, attributes with the background, and every relation."""
    places = {thing.family: thing.cell for thing in scene.things}
    attributes = {thing.family: (thing.size, thing.texture, thing.colour) for thing in scene.things}
    return SceneGraph(
        objects=tuple(places),
        names={thing.family: (thing.name,) for thing in scene.things},
        attributes={**attributes, "background": (scene.background,)},
        relations=tuple(closure((), places)),
    )


def closure(stated: Iterable[Triple], places: Mapping[str, int]) -> list[Triple]:
    """All relations as stated, and those that places imply of pairs and axes that no relation was stated of.

    Subjects are in family order: "the dome is right of the ring" becomes (circle, left of, arch).
    """
    triples = {_ordered(triple) for triple in stated}
    known = {_about(triple) for triple in triples}
    triples |= {triple for triple in _implied(places) if _about(triple) not in known}
    return sorted(triples, key=lambda triple: (*_about(triple), triple[1]))


def _ordered(triple: Triple) -> Triple:
    subject, words, other = triple
    return triple if ORDER.index(subject) < ORDER.index(other) else (other, OPPOSITE[words], subject)


def _about(triple: Triple) -> tuple[int, int, str]:
    return ORDER.index(triple[0]), ORDER.index(triple[2]), AXIS[triple[1]]


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
    told = things(scene, level, dice)
    sentences = [" ".join(filter(None, (dice.choose(OPENERS), listed(told))))]
    if dice.chance(level.background):
        colour = _or_wrong(scene.background, BACKGROUNDS, level, dice)
        if dice.chance(0.5):
            sentences[0] += f" on a {colour} background"
        else:
            sentences.append(f"the background is {colour}")
    if len(told) > 1 and dice.chance(level.relation):
        nouns = {thing.family: thing.name for thing in told}
        first, second = dice.sample([thing for thing in scene.things if thing.family in nouns], 2)
        sentences.append(_statement(first, second, nouns, level, dice))
    return " . ".join(sentences) + " ."


def things(scene: Scene, level: Level, dice: Dice) -> tuple[Thing, ...]:
    """The objects as a caption tells them: what it leaves out is "", ``NOWHERE``, or the family for the fine name."""
    said = [thing for thing in scene.things if dice.chance(level.thing)] or [dice.choose(scene.things)]
    names = [_name(thing, level, dice) for thing in said]
    return tuple(_told(thing, name, level, dice) for thing, name in zip(said, names, strict=True))


def listed(told: Sequence[Thing]) -> str:
    """The objects that a caption tells, as a list in words."""
    phrases = [_phrase(thing) for thing in told]
    return " and ".join(filter(None, (" , ".join(phrases[:-1]), phrases[-1])))


def _or_wrong(word: str, words: Sequence[str], level: Level, dice: Dice) -> str:
    return dice.choose([other for other in words if other != word]) if dice.chance(level.error) else word


def _name(thing: Thing, level: Level, dice: Dice) -> str:
    if not dice.chance(level.name):
        return thing.family
    return _or_wrong(thing.name, FAMILIES[thing.family], level, dice)


def _told(thing: Thing, name: str, level: Level, dice: Dice) -> Thing:
    size, texture, colour = (
        _or_wrong(word, choices, level, dice) if dice.chance(chance) else ""
        for chance, word, choices in (
            (level.size, thing.size, SIZES),
            (level.texture, thing.texture, TEXTURES),
            (level.colour, thing.colour, COLOURS),
        )
    )
    cell = NOWHERE
    if dice.chance(level.place):
        row, column = (_or_wrong(word, words, level, dice) for word, words in place(thing.cell))
        cell = ROWS.index(row) * len(COLUMNS) + COLUMNS.index(column)
    return Thing(thing.family, name, colour, size, texture, cell)


def _phrase(thing: Thing) -> str:
    where = () if thing.cell == NOWHERE else ("in", "the", *(word for word, _ in place(thing.cell)))
    return " ".join(filter(None, ("a", thing.size, thing.texture, thing.colour, thing.name, *where)))


def place(cell: int) -> tuple[tuple[str, tuple[str, ...]], tuple[str, tuple[str, ...]]]:
    """The words for a cell's row and column, each with all words that there are."""
    row, column = divmod(cell, len(COLUMNS))
    return (ROWS[row], ROWS), (COLUMNS[column], COLUMNS)


def _statement(first: Thing, second: Thing, nouns: Mapping[str, str], level: Level, dice: Dice) -> str:
    relations = [words for axis in ("horizontal", "vertical") if (words := relation(first, second, axis))]
    relations = [OPPOSITE[words] if dice.chance(level.error) else words for words in relations]
    return f"the {nouns[first.family]} is {' and '.join(relations)} the {nouns[second.family]}"


def question(first: str, words: str, second: str) -> str:
    """A relation question about two families."""
    return f"Is the {first} {words} the {second}?"
