"""Damaged captions of miniscenes: a full caption, and one that lacks, misstates or repeats something and nothing else.

A reward teaches what wins clearly more than half the time (``sensitivity.py``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from tasks.miniscenes import language
from tasks.miniscenes.language import LEVELS, OPPOSITE
from tasks.miniscenes.world import CELLS, COLOURS, FAMILIES, SIZES, TEXTURES, Dice, Scene, Thing, scene

FULL = replace(LEVELS["full"], relation=0)
RELATED = replace(FULL, relation=1)


def _say(made: Scene, **omitted: float) -> str:
    return language.caption(made, replace(FULL, **omitted), Dice.fixed())


def _related(made: Scene) -> str:
    return language.caption(made, RELATED, Dice.fixed())


def _one(made: Scene, change: Callable[[Thing, Dice], Thing]) -> Scene:
    """The scene with one thing changed."""
    dice = Dice(f"damage/{made.id}")
    at = dice.number(len(made.things))
    return replace(made, things=(*made.things[:at], change(made.things[at], dice), *made.things[at + 1 :]))


def _other(words: tuple[str, ...], word: str, dice: Dice) -> str:
    return dice.choose([one for one in words if one != word])


def _wrong_colour(thing: Thing, dice: Dice) -> Thing:
    return replace(thing, colour=_other(COLOURS, thing.colour, dice))


def _wrong_name(thing: Thing, dice: Dice) -> Thing:
    return replace(thing, name=_other(FAMILIES[thing.family], thing.name, dice))


def _wrong_size(thing: Thing, dice: Dice) -> Thing:
    return replace(thing, size=_other(SIZES, thing.size, dice))


def _wrong_place(thing: Thing, dice: Dice) -> Thing:
    return replace(thing, cell=(thing.cell + 1 + dice.number(CELLS - 1)) % CELLS)


def _missing(made: Scene) -> str:
    at = Dice(f"damage/{made.id}").number(len(made.things))
    return _say(replace(made, things=made.things[:at] + made.things[at + 1 :]))


def _invented(made: Scene) -> str:
    dice, there = Dice(f"damage/{made.id}"), {thing.family for thing in made.things}
    family = dice.choose([one for one in FAMILIES if one not in there])
    cell = dice.choose([one for one in range(CELLS) if one not in {thing.cell for thing in made.things}])
    words = (dice.choose(FAMILIES[family]), dice.choose(COLOURS), dice.choose(SIZES), dice.choose(TEXTURES))
    things = [*made.things, Thing(family, *words, cell)]
    return _say(replace(made, things=tuple(sorted(things, key=lambda thing: language.ORDER.index(thing.family)))))


def _turned(made: Scene) -> str:
    """The caption with its relations turned round."""
    return re.sub("|".join(OPPOSITE), lambda found: OPPOSITE[found[0]], _related(made))


# Full caption and damaged one of a scene.
PAIRS: Mapping[str, tuple[Callable[[Scene], str], Callable[[Scene], str]]] = {
    "background omitted": (_say, lambda made: _say(made, background=0)),
    "colours omitted": (_say, lambda made: _say(made, colour=0)),
    "fine names omitted": (_say, lambda made: _say(made, name=0)),
    "sizes omitted": (_say, lambda made: _say(made, size=0)),
    "textures omitted": (_say, lambda made: _say(made, texture=0)),
    "places omitted": (_say, lambda made: _say(made, place=0)),
    "one colour wrong": (_say, lambda made: _say(_one(made, _wrong_colour))),
    "one fine name wrong": (_say, lambda made: _say(_one(made, _wrong_name))),
    "one size wrong": (_say, lambda made: _say(_one(made, _wrong_size))),
    "one place wrong": (_say, lambda made: _say(_one(made, _wrong_place))),
    "one object missing": (_say, _missing),
    "one object invented": (_say, _invented),
    "relation omitted": (_related, _say),
    "relation wrong": (_related, _turned),
    "said twice": (_say, lambda made: f"{_say(made)} {_say(made)}"),
}


def pair(name: str, sample_id: str) -> tuple[str, str]:
    """A scene's full caption and its damaged one."""
    split, _, number = sample_id.rpartition("_")
    made = scene(split, int(number))
    full, damaged = PAIRS[name]
    return full(made), damaged(made)
