"""The battery of the reward audit: captions of a scene, without errors, and the same with one thing changed.

What an edit does to the truth follows from how it is made and is declared with it; ``truth.py``, which reads texts,
must count the same. ``KINDS`` of facts are told from each other, as an encoder may see one and miss another. A true
and a false fact are added at the same place of the same caption, so that they differ in nothing but their truth.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from harness.worlds import Edit
from tasks.miniscenes import language
from tasks.miniscenes.language import FAMILY_OF, LEVELS, NOWHERE, OPPOSITE, ORDER, SLOT_OF
from tasks.miniscenes.reading import BACKGROUND, Statement
from tasks.miniscenes.world import (
    BACKGROUNDS,
    CELLS,
    COLOURS,
    FAMILIES,
    SIZES,
    TEXTURES,
    Dice,
    Item,
    Scene,
    Thing,
    of_sample,
)

CHOICES = {"size": SIZES, "texture": TEXTURES, "colour": COLOURS}
KINDS = ("object", "fine name", *CHOICES, "place", "background", "relation")
CELL = {" ".join(word for word, _ in language.place(cell)): cell for cell in range(CELLS)}
PADDING = "the image shows the background"  # six words with the full stop; says nothing
HORIZON = 64  # words that the embedded text encoder reads (``dual_encoder.LONGEST``)
NOUN = re.compile(rf"\b({'|'.join(FAMILY_OF)})\b")


@dataclass(frozen=True, slots=True)
class Caption:
    """What a caption tells: objects as ``language.things`` gives them, the background or "", further sentences."""

    things: tuple[Thing, ...]
    background: str = ""
    more: tuple[str, ...] = ()

    @property
    def sentences(self) -> list[str]:
        """Its sentences, without full stops."""
        background = [f"the background is {self.background}"] if self.background else []
        return [f"there is {language.listed(self.things)}", *background, *self.more]

    def __str__(self) -> str:
        return " . ".join(self.sentences) + " ."

    def thing(self, family: str) -> Thing | None:
        """The object of a family; None where the caption tells of none."""
        return next((thing for thing in self.things if thing.family == family), None)

    def and_then(self, *sentences: str) -> Caption:
        """The caption with further sentences."""
        return replace(self, more=(*self.more, *sentences))

    def telling(self, *things: Thing) -> Caption:
        """The caption with these objects, in place of what it tells of their families."""
        families = {thing.family for thing in things}
        kept = [thing for thing in self.things if thing.family not in families]
        return replace(self, things=tuple(sorted([*kept, *things], key=lambda thing: ORDER.index(thing.family))))


Pair = tuple[Caption | str, Caption | str] | None


def caption(scene: Scene, level: str) -> Caption:
    """A scene's caption at a level, without errors and relations."""
    exact, dice = replace(LEVELS[level], error=0, relation=0), Dice(f"audit/{level}/{scene.id}")
    background = scene.background if dice.chance(exact.background) else ""
    return Caption(language.things(scene, exact, dice), background)


def facts(scene: Scene) -> Iterator[Statement]:
    """Every true statement about a scene."""
    for thing in scene.things:
        yield Statement("object", thing.family)
        yield Statement("fine name", thing.family, thing.name)
        yield from (Statement("attribute", thing.family, word) for word in (thing.size, thing.texture, thing.colour))
        yield Statement("place", thing.family, list(CELL)[thing.cell])
    yield Statement("background", BACKGROUND, scene.background)
    yield from (Statement("relation", *triple) for triple in language.graph(scene).relations)


def kind_of(fact: Statement) -> str:
    """Its one of the ``KINDS``."""
    return SLOT_OF[fact.value] if fact.kind == "attribute" else fact.kind


def tells(told: Caption, fact: Statement) -> bool:
    """Does the caption tell this fact?"""
    return _set(told, fact) == told


def _open(told: Caption, scene: Scene, kind: str) -> list[Statement]:
    """Facts of a kind that the caption leaves out and could tell of what it names."""
    named = {BACKGROUND, *(thing.family for thing in told.things)}
    possible = (fact for fact in facts(scene) if kind_of(fact) == kind and not tells(told, fact))
    return [fact for fact in possible if kind == "object" or {fact.subject, fact.other or BACKGROUND} <= named]


def _set(told: Caption, fact: Statement) -> Caption:
    """The caption with a fact told, in place of another one that it tells there; a relation is a further sentence."""
    if fact.kind == "background":
        return replace(told, background=fact.value)
    if fact.kind == "relation":
        return told.and_then(f"{_the(told, fact.subject)} is {fact.value} {_the(told, fact.other)}")
    thing = told.thing(fact.subject) or Thing(fact.subject, fact.subject, "", "", "", NOWHERE)
    if fact.kind == "fine name":
        thing = replace(thing, name=fact.value)
    elif fact.kind == "place":
        thing = replace(thing, cell=CELL[fact.value])
    elif fact.kind == "attribute":
        word: dict[str, Any] = {kind_of(fact): fact.value}
        thing = replace(thing, **word)
    return told.telling(thing)


def _without(told: Caption, fact: Statement) -> Caption:
    """The caption without a fact that it tells beside its objects."""
    thing = told.thing(fact.subject)
    if thing is None:
        return replace(told, background="")
    blank: dict[str, dict[str, Any]] = {"fine name": {"name": thing.family}, "place": {"cell": NOWHERE}}
    return told.telling(replace(thing, **blank.get(fact.kind, {kind_of(fact): ""})))


def _the(told: Caption, family: str) -> str:
    thing = told.thing(family)
    return f"the {thing.name if thing else family}"


def _false(fact: Statement, scene: Scene, dice: Dice) -> Statement:
    """A false statement in place of a fact."""
    if fact.kind == "object":
        return replace(fact, subject=_absent(scene, dice))
    if fact.kind == "relation":
        return replace(fact, value=OPPOSITE[fact.value])
    choices = {"fine name": FAMILIES.get(fact.subject, ()), "place": tuple(CELL), "background": BACKGROUNDS, **CHOICES}
    return replace(fact, value=dice.choose([word for word in choices[kind_of(fact)] if word != fact.value]))


def _absent(scene: Scene, dice: Dice) -> str:
    """A family of which the scene has no object."""
    return dice.choose([family for family in FAMILIES if family not in {thing.family for thing in scene.things}])


def _choose(items: list[Item], dice: Dice) -> Item | None:
    return dice.choose(items) if items else None


def _added(true: bool, kinds: tuple[str, ...], told: Caption, scene: Scene, dice: Dice) -> Pair:
    """A fact of one of these kinds, or a false statement in its place; both draw the same fact."""
    of_a_kind = _choose([left_out for kind in kinds if (left_out := _open(told, scene, kind))], dice)
    if of_a_kind is None:
        return None
    fact = dice.choose(of_a_kind)
    return told, _set(told, fact if true else _false(fact, scene, dice))


def _made_false(kind: str, told: Caption, scene: Scene, dice: Dice) -> Pair:
    if kind == "relation":
        fact = _choose(_open(told, scene, kind), dice)
    else:
        fact = _choose([fact for fact in facts(scene) if kind_of(fact) == kind and tells(told, fact)], dice)
    return (_set(told, fact), _set(told, _false(fact, scene, dice))) if fact else None


def _details(told: Caption, scene: Scene) -> list[Statement]:
    """What the caption tells beside its objects."""
    return [fact for fact in facts(scene) if fact.kind not in ("object", "relation") and tells(told, fact)]


def _half(told: Caption, scene: Scene, dice: Dice) -> Pair:
    details, less = _details(told, scene), told
    for fact in dice.sample(details, len(details) // 2):
        less = _without(less, fact)
    return (told, less) if less != told else None


def _object_left_out(told: Caption, scene: Scene, dice: Dice) -> Pair:
    out = dice.choose(told.things)
    left = tuple(thing for thing in told.things if thing != out)
    return (told, replace(told, things=left)) if left else None


def _invented(told: Caption, scene: Scene, dice: Dice) -> Pair:
    family, colour, size, texture = _absent(scene, dice), *map(dice.choose, (COLOURS, SIZES, TEXTURES))
    cell = dice.choose([cell for cell in range(CELLS) if cell not in {thing.cell for thing in scene.things}])
    return told, told.telling(Thing(family, dice.choose(FAMILIES[family]), colour, size, texture, cell))


def _swapped(told: Caption, scene: Scene, dice: Dice) -> Pair:
    swaps = [
        (replace(first, **{field: theirs}), replace(second, **{field: ours}))
        for field in CHOICES
        for at, first in enumerate(told.things)
        for second in told.things[at + 1 :]
        if "" not in (ours := getattr(first, field), theirs := getattr(second, field)) and ours != theirs
    ]
    return (told, told.telling(*dice.choose(swaps))) if swaps else None


def _again(words: str, told: Caption, scene: Scene, dice: Dice) -> Pair:
    fact = _choose([f for f in _details(told, scene) if f.kind in ("attribute", "background")], dice)
    return (told, told.and_then(f"{_the(told, fact.subject)} is {words}{fact.value}")) if fact else None


def _twice(told: Caption, scene: Scene, dice: Dice) -> Pair:
    return told, f"{told} {told}"


def _padded(told: Caption, scene: Scene, dice: Dice) -> Pair:
    return told, told.and_then(PADDING)


def _beyond(told: Caption, scene: Scene, dice: Dice) -> Pair:
    while len(str(told).split()) < HORIZON:
        told = told.and_then(PADDING)
    return told, told.and_then(f"there is a {_absent(scene, dice)}")


def _markdown(told: Caption, scene: Scene, dice: Dice) -> Pair:
    bold = [NOUN.sub(r"**\1**", sentence) for sentence in told.sentences]
    return told, "\n".join(f"- {sentence} ." for sentence in bold)


def _edit(
    about: str,
    change: Callable[[Caption, Scene, Dice], Pair],
    true: int | None = None,
    false: int | None = None,
    stream: str = "edit",
) -> Edit:
    """An edit by a change; those of one stream of chance draw the same."""

    def pair(sample_id: str, level: str) -> tuple[str, str] | None:
        scene = of_sample(sample_id)
        texts = change(caption(scene, level), scene, Dice(f"audit/{stream}/{level}/{sample_id}"))
        return (str(texts[0]), str(texts[1])) if texts else None

    return Edit(about, pair, true, false)


def _facts_added(name: str, kinds: tuple[str, ...]) -> dict[str, Edit]:
    true, false = (partial(_added, truth, kinds) for truth in (True, False))
    return {
        f"true {name} added": _edit(f"a true {name} that the caption leaves out is told", true, 1, 0, name),
        f"false {name} added": _edit(f"a false {name} in its place", false, 0, 1, name),
    }


EDITS: dict[str, Edit] = {
    **_facts_added("fact", KINDS),
    **{name: edit for kind in KINDS for name, edit in _facts_added(kind, (kind,)).items()},
    **{
        f"{kind} made false": _edit(
            f"a true {kind} is replaced by a false one", partial(_made_false, kind), -1, 1, kind
        )
        for kind in KINDS
        if kind != "object"
    },
    "half the facts left out": _edit("half of the words, places and fine names beside the objects", _half, None, 0),
    "object left out": _edit("an object with all that is told of it", _object_left_out, None, 0),
    "object invented": _edit("an object that is not there, in full detail", _invented, 0, 6),
    "attributes swapped": _edit("two objects exchange a size, texture or colour", _swapped, -2, 2),
    "negation": _edit("of an attribute that is told: 'the ring is not red'", partial(_again, "not "), 0, 1, "again"),
    "fact said again": _edit("an attribute that is told: 'the ring is red'", partial(_again, ""), 0, 0, "again"),
    "caption said twice": _edit("the whole caption again; a second ring is a false one", _twice, 0, None),
    "padding": _edit(f"'{PADDING} .'", _padded, 0, 0),
    "beyond the horizon": _edit(f"a false object after {HORIZON} words or more, padding among them", _beyond, 0, 1),
    "markdown": _edit("sentences as a list, nouns in bold", _markdown, 0, 0),
}
