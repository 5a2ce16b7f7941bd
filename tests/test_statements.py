"""Statements of captions against their scenes: every mention counts, once as a truth and as often as it is false."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from harness import registry
from harness.parts import Records
from harness.types import Sample
from tasks.miniscenes import language, samples, truth, world
from tasks.miniscenes.world import Dice, Scene, Thing

FAMILY = {name: family for family, names in world.FAMILIES.items() for name in (family, *names)}
ADJECTIVES = {*world.SIZES, *world.TEXTURES, *world.COLOURS, *world.BACKGROUNDS}
CLAUSE = {"and", ",", "the", "a", "an", "in", "on"}
SCENE = Scene(
    "validation_000000",
    (
        Thing("triangle", "delta", "green", "small", "striped", 5),
        Thing("cross", "tee", "orange", "small", "striped", 0),
    ),
    "brown",
)
SAMPLE = samples.sample(samples.row(SCENE))
FULL = "a small striped green delta in the middle right and a small striped orange tee in the upper left ."


def measured(captions: list[str], of: list[Sample] | None = None) -> dict[str, float]:
    """The metric's values of these captions."""
    metric = registry.metric("statements")
    records = Records(of or [SAMPLE] * len(captions), captions, lambda *_: [], lambda _: [])
    totals = metric.measure(records).statistics.sum(axis=0)
    return dict(zip(metric.names, metric.aggregate(totals, len(captions)).tolist(), strict=True))


TRUTHS = {
    FULL: (12, 0, 0),
    FULL + " the background is brown . the tee is left of and above the delta .": (15, 0, 0),
    "a delta .": (2, 0, 0),
    "a delta . the delta is green .": (3, 0, 0),  # "the delta" refers back
    "a triangle . the delta is green .": (3, 0, 0),  # and says which triangle it is
    "a triangle . the funnel .": (1, 1, 0),
    "a delta and a delta .": (2, 1, 1),  # there is no second one
    "a green delta . a green delta .": (3, 1, 2),
    "a green red delta .": (3, 1, 0),
    "a green green green delta .": (3, 0, 2),
    "a blue ring .": (0, 3, 0),
    "the delta is brown .": (2, 1, 0),
    "a delta on a brown background . the background is brown .": (3, 0, 1),
    "the background is navy . the background is navy .": (0, 2, 0),
    "a delta and a tee . the tee is left of the delta . the delta is right of the tee .": (5, 0, 1),
    "a delta and a tee . the tee is right of the delta . the tee is left of the delta .": (5, 1, 0),
    "a delta . the delta is left of the delta .": (2, 1, 0),
    "a delta . the delta is right of and below the background is brown .": (3, 2, 0),
    "a delta . the delta is left of .": (2, 1, 0),
    "a red .": (0, 1, 0),
    "in the upper left .": (0, 1, 0),
    "": (0, 0, 0),
    "nothing to see here": (0, 0, 0),
}


@pytest.mark.parametrize("caption", TRUTHS)
def test_truths(caption: str) -> None:
    verdicts = Counter(verdict for _, verdict in truth.verdicts(caption, SAMPLE))
    assert (verdicts["true"], verdicts["false"], verdicts["repeated"]) == TRUTHS[caption]
    assert plain(caption, SCENE) == TRUTHS[caption]


WELL_FORMED = {
    FULL: 100,
    "there is a delta on a brown background . the background is brown .": 100,
    "a delta , a ring and a red tee . the delta is right of and below the tee .": 100,
    "the delta . the delta .": 0,
    "a delta a delta . a delta .": 50,
    "a yellow yellow bar .": 0,
    "the delta is right of and left of the tee .": 0,
    "the delta is right of and below the background is brown .": 0,
}


@pytest.mark.parametrize("caption", WELL_FORMED)
def test_well_formed_sentences(caption: str) -> None:
    assert measured([caption])["well_formed"] == WELL_FORMED[caption]


def test_values_are_shares_and_means_over_all_captions() -> None:
    values = measured([FULL, "a blue ring . the ring is above the tee .", ""])
    expected = {"true": 14 / 3, "false": 4 / 3, "repeated": 0, "relations": 1 / 3, "relations_true": 0.0}
    expected |= {"share_true": 100 * 14 / 18, "clean": 100 / 3, "well_formed": 100.0}
    assert values == pytest.approx(expected)
    assert measured([""])["share_true"] == 0 and np.isnan(measured([""])["relations_true"])


def test_full_captions_are_all_true_and_other_images_captions_are_not() -> None:
    scenes = [world.scene("test", number) for number in range(200)]
    full = [language.caption(scene, language.LEVELS["full"], Dice(scene.id)) for scene in scenes]
    rows = [sample(scene) for scene in scenes]
    values = measured(full, rows)
    assert values["share_true"] == values["clean"] == values["relations_true"] == values["well_formed"] == 100
    assert values["repeated"] == values["false"] == 0
    assert measured(full[1:] + full[:1], rows)["share_true"] < 40


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: f"{text} {text}",
        lambda text: f"{text} the ring is left of the ring .",
        lambda text: f"{text} the arch is above the bar .",
    ],
    ids=["repeated", "relation with itself", "invented relation"],
)
def test_a_captioner_that_repeats_itself_or_invents_relations_falls(spoil) -> None:  # type: ignore[no-untyped-def]
    scenes = [world.scene("test", number) for number in range(100)]
    rows = [sample(scene) for scene in scenes]
    captions = [language.caption(scene, language.LEVELS["medium"], Dice(scene.id)) for scene in scenes]
    before, after = measured(captions, rows), measured([spoil(text) for text in captions], rows)
    assert after["share_true"] < before["share_true"] - 5 and after["clean"] < before["clean"] - 30


def test_the_metric_agrees_with_a_plain_second_implementation(trained_captions: dict[str, str]) -> None:
    """3,000 random captions, half of them of no grammar at all, and 500 of a trained captioner."""
    dice = Dice("statements")
    others = ["is", "is", ".", ".", "above", "below", "left", "right", "of", "of", "the", "a", "background"]
    words = [*FAMILY, *sorted(ADJECTIVES), *sorted(CLAUSE), *world.ROWS, *world.COLUMNS, *others]
    for number in range(3000):
        scene = world.scene("validation", number % 500)
        if number % 2:
            caption = " ".join(dice.choose(words) for _ in range(dice.number(40)))
        else:
            other = world.scene("validation", (number + dice.number(2)) % 500)
            caption = language.caption(other, language.LEVELS["base" if number % 4 else "full"], dice)
        assert_same(caption, scene)
    for name, caption in trained_captions.items():
        assert_same(caption, world.scene("test", int(name.rpartition("_")[2])))


@pytest.fixture(scope="module")
def trained_captions() -> dict[str, str]:
    rows = (Path(__file__).parent / "data" / "trained_captions.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["sample_id"]: row["caption"] for row in map(json.loads, rows)}


@cache
def sample(scene: Scene) -> Sample:
    return samples.sample(samples.row(scene))


def assert_same(caption: str, scene: Scene) -> None:
    verdicts = Counter(verdict for _, verdict in truth.verdicts(caption, sample(scene)))
    assert (verdicts["true"], verdicts["false"], verdicts["repeated"]) == plain(caption, scene), caption


class Count:
    """Verdicts on what is said of a scene, from the scene itself."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.things = scene, {thing.family: thing for thing in scene.things}
        self.before, self.verdicts = set[object](), Counter[str]()

    def say(self, what: object, is_true: bool, once: bool = False) -> None:
        again = what in self.before
        if is_true and again and not once:
            self.verdicts["repeated"] += 1
        else:
            self.verdicts["true" if is_true and not again else "false"] += 1
        if is_true:
            self.before.add(what)

    def describe(self, family: str, adjective: str) -> None:
        thing = self.things.get(family)
        if family == "background":
            self.say(("background", adjective), adjective == self.scene.background)
        else:
            self.say((family, adjective), thing is not None and adjective in (thing.size, thing.texture, thing.colour))

    def relate(self, first: str, words: str, second: str) -> None:
        if first not in self.things or second not in self.things or first == second:
            return self.say("nothing", False)
        a, b = self.things[first], self.things[second]
        holds = {"left of": a.column < b.column, "right of": a.column > b.column}
        holds |= {"above": a.row < b.row, "below": a.row > b.row}
        return self.say((frozenset((first, second)), words in ("above", "below")), holds[words])


def plain(caption: str, scene: Scene) -> tuple[int, int, int]:
    """True, false and repeated statements, counted noun by noun."""
    count = Count(scene)
    mentioned: set[str] = set()
    for sentence in re.sub(r"[^a-z.,]+", " ", caption.lower()).replace(",", " , ").split("."):
        words = sentence.split()
        nouns = [at for at, word in enumerate(words) if word in FAMILY or word == "background"]
        previous, pending = "", list[str]()
        for start, end in zip([-1, *nouns], [*nouns, len(words)], strict=True):
            between, noun = words[start + 1 : end], words[end] if end < len(words) else ""
            family = FAMILY.get(noun, noun)
            waiting, copula = list[str](), False
            for at, word in enumerate([*between, *([] if noun else [","])], start=start + 1):
                if word in CLAUSE and copula and previous:
                    for adjective in waiting:
                        count.describe(previous, adjective)
                    waiting, copula = [], False
                copula |= word in ("is", "are")
                waiting += [word] * (word in ADJECTIVES)
                if word in world.COLUMNS and at and words[at - 1] in world.ROWS:
                    thing = count.things.get(previous)
                    place = (world.ROWS[thing.row], world.COLUMNS[thing.column]) if thing else None
                    count.say((previous, words[at - 1], word), place == (words[at - 1], word))
                elif word in ("left", "right"):
                    pending += [f"{word} of"] * (words[at + 1 : at + 2] == ["of"])
                elif word in ("above", "below"):
                    pending.append(word)
            if family in world.FAMILIES:
                clauses = [word for word in between if word in CLAUSE]
                back = bool(clauses) and clauses[-1] == "the" and family in mentioned
                if not back:
                    count.say(family, family in count.things, once=True)
                if noun != family and not (back and noun in mentioned):
                    count.say(noun, family in count.things and count.things[family].name == noun)
                mentioned |= {family, noun}
            for adjective in waiting:
                count.describe(family or ("background" if adjective in world.BACKGROUNDS else ""), adjective)
            for relation in pending:
                count.relate(previous, relation, family)
            previous, pending = family, []
    return count.verdicts["true"], count.verdicts["false"], count.verdicts["repeated"]
