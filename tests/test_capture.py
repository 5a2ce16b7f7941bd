"""CAPTURE and the refined metrics on given graphs: goldens of the protocol, declared values, order, modes, elements.

Goldens use given cosines; everything else fake graphs and vectors (``fake_scenes.py``). Against the reference:
``test_capture_parity.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import registry
from harness.errors import CimError
from harness.metrics import _match
from harness.parts import Records
from harness.runs import signature, stats
from harness.types import Element, Sample
from tests import fake_scenes
from tests.conftest import ROOT

NAMES = ("capture", "capture@cim", "capture@sc", "objects", "objects@compat", "attributes", "attributes@compat")
ZERO = dict.fromkeys(("sentences", "tokens", "tokens_cut", "inputs_cut", "outputs_cut", "malformed", "nouns_lost"), 0)
E = 1e-6


def no_synonyms(name: str, phrases: Sequence[str]) -> list[Any]:
    """A fake synonym table: nothing is a synonym of anything."""
    assert name == "synonyms"
    return [[] for _ in phrases]


def scene(objects: str = "", attributes: str = "", relations: str = "") -> dict[str, Any]:
    """A parse value: "dog, bus", "dog: brown big, bus: red", "dog/on/bus, ..."."""
    owned = dict(part.split(": ") for part in attributes.split(", ") if part)
    return {
        "objects": [part for part in objects.split(", ") if part],
        "attributes": {owner: words.split() for owner, words in owned.items()},
        "relations": [part.split("/") for part in relations.split(", ") if part],
        **ZERO,
    }


def vectors(cosines: Mapping[tuple[str, str], float], phrases: Sequence[str]) -> Any:
    """Unit vectors with these cosines between their phrases, 0 between all others."""
    known = sorted({phrase for pair in cosines for phrase in pair} | set(phrases))
    gram = np.eye(len(known))
    for (first, other), cosine in cosines.items():
        gram[known.index(first), known.index(other)] = gram[known.index(other), known.index(first)] = cosine
    return np.linalg.cholesky(gram)[[known.index(phrase) for phrase in phrases]]


def given_scenes(
    generated: Sequence[dict[str, Any]],
    true: Sequence[dict[str, Any]],
    cosines: Mapping[tuple[str, str], float] | None = None,
    objects: Sequence[str] = (),
    attributes: Mapping[str, tuple[str, ...]] | None = None,
    synonyms: Any = no_synonyms,
) -> Records:
    """Records whose captions and references have these graphs."""
    samples = [
        Sample(f"s{at}", (f"reference {at}",), objects=tuple(objects), attributes=attributes or {})
        for at in range(len(generated))
    ]
    table = {f"caption {at}": scene for at, scene in enumerate(generated)} | {
        f"reference {at}": t for at, t in enumerate(true)
    }

    def parse(name: str, texts: Sequence[str]) -> list[Any]:
        return [table[text] for text in texts] if name.startswith("scene_graph") else synonyms(name, texts)

    captions = [f"caption {at}" for at in range(len(generated))]
    encode = lambda _, phrases: vectors(cosines or {}, phrases) if phrases else np.zeros((0, 0))  # noqa: E731
    return Records(samples, captions, parse, lambda _: [], encode=encode)


def values(name: str, records: Records) -> Any:
    return registry.metric(name).measure(records).values


def of_texts(references: Sequence[str], captions: Sequence[str], **annotated: Any) -> Records:
    """Records of texts, read by the fake parser; without synonyms."""
    samples = [Sample(f"s{at}", (text,), **annotated) for at, text in enumerate(references)]
    return fake_scenes.records(samples, captions, no_synonyms)


def test_worked_examples_of_matching() -> None:
    """protocol 8: 'bus' is a substring of 'bush'; the embedding of bus finds car."""
    cosines = {("bus", "car"): 0.8, ("tree", "car"): 0.1}
    plain = given_scenes([scene("dog, bus, tree")], [scene("dog, car")], cosines)
    assert values("objects", plain)[0, 1] == pytest.approx(100 * 1.8 / (2 + E), rel=1e-12)
    bush = given_scenes([scene("bus, dog, tree")], [scene("bush, car, dog, tree")], cosines)
    row = values("objects", bush)[0]
    assert row.round(4).tolist() == [100.0, 75.0, 85.7142]
    pair = _match.match([(("bus", "dog", "tree"), ("bush", "car", "dog", "tree"))], bush, "mpnet")
    assert pair.stages.tolist() == [[2, 1, 0]] and pair.soft.tolist() == [[0, 0]]
    wide = given_scenes([scene("bus, dog, tree")], [scene("car, dog")], cosines, objects=("tree", "bush"))
    assert values("objects", wide)[0].round(4).tolist() == [100.0, 90.0, 94.7368]


def test_worked_example_of_attributes() -> None:
    """protocol 9: R = 1.96 / (2.6 + e)."""
    cosines = {("bus", "car"): 0.8, ("red", "old"): 0.2}
    annotated = {"dog": ("brown",), "bus": ("red",)}
    pair = ([scene("", "dog: brown, bus: red")], [scene("", "dog: brown, car: red old")])
    for name in ("attributes", "attributes@compat"):
        precision, recall, f1 = values(name, given_scenes(*pair, cosines, attributes=annotated))[0] / 100
        assert recall == pytest.approx(1.96 / (2.6 + E), rel=1e-12) and precision == pytest.approx(2 / (2 + E))
        assert f1 == pytest.approx(2 * precision * recall / (precision + recall + E))


def test_a_caption_equal_to_its_reference_lacks_what_its_graph_lacks() -> None:
    graphs = [
        scene("dog", "dog: red", "dog/on/dog"),
        scene("dog", "dog: red"),
        scene("dog", "", "dog/on/dog"),
        scene("dog"),
        scene(),
    ]
    row = values("capture", given_scenes(graphs, graphs))[:, 0]
    assert row.round(3).tolist() == [100.0, 83.333, 58.333, 41.667, 0.0]


def test_owners_do_not_count_in_capture_and_repeats_do() -> None:
    caption, true = scene("", "car: blue, dog: red"), scene("", "car: red, dog: blue")
    assert values("capture", given_scenes([caption], [true]))[0, 0] == pytest.approx(100 * 0.5 / 1.2, abs=1e-4)
    twice = values("capture", given_scenes([scene("", "car: red, dog: red")], [scene("", "car: red")]))[0, 0]
    assert twice == pytest.approx(100 * 0.5 * (2 / 3) / 1.2, abs=1e-4)


def test_relations_need_all_three_slots() -> None:
    def synonyms(_: str, phrases: Sequence[str]) -> list[list[str]]:
        return [["canine"] if phrase in ("dog", "hound") else [] for phrase in phrases]

    pairs = [
        ([("dog", "on", "mat")], [("hound", "on", "mat")]),
        ([("dog", "on", "mat")], [("hound", "near", "mat")]),
        ([("dog", "on", "mat")], [("dog", "on top of", "mats")]),
        ([("dog", "", "mat")], [("dog", "near", "mat")]),
    ]
    records = given_scenes([], [], synonyms=synonyms)
    assert [
        (counts.exact, counts.substring, counts.synonym, len(counts.candidates))
        for counts in _match.hard(pairs, records)
    ] == [
        (0, 0, 1, 0),
        (0, 0, 0, 1),
        (0, 1, 0, 0),
        (0, 1, 0, 0),
    ]


def test_greedy_takes_the_first_free_partner() -> None:
    """Not the best matching: 'man' takes 'woman' and leaves 'mankind' to nobody else."""
    (counts,) = _match.hard([(("man", "woman"), ("mankind", "woman"))], given_scenes([], []))
    assert counts.matched == [(1, 1), (0, 0)]
    (two,) = _match.hard([(("a", "b", "b"), ("b", "b", "b"))], given_scenes([], []))
    assert two.exact == 2 and two.matched == [(1, 0), (2, 1)] and two.candidates == [0] and two.references == [2]


PHRASES = st.lists(
    st.sampled_from(["", "a", "man", "woman", "hair", "chair", "red car", "car", "Ü", "猫", "MAN", "traffic light"]),
    max_size=8,
)


@given(PHRASES, PHRASES, st.randoms(use_true_random=False))
def test_matching_of_any_lists(caption: list[str], true: list[str], dice: Any) -> None:
    """Every place is matched once or left; an order changes no exact count; nothing is beyond 1 but by soft credit."""
    records = given_scenes([], [])
    (counts,) = _match.hard([(caption, true)], records)
    assert sorted([i for i, _ in counts.matched] + counts.candidates) == list(range(len(caption)))
    assert sorted([j for _, j in counts.matched] + counts.references) == list(range(len(true)))
    assert len(counts.matched) == counts.exact + counts.substring + counts.synonym
    assert not any(
        a in b or b in a for a in (caption[i] for i in counts.candidates) for b in (true[j] for j in counts.references)
    )
    shuffled = (dice.sample(caption, len(caption)), dice.sample(true, len(true)))
    assert _match.hard([shuffled], records)[0].exact == counts.exact
    match = _match.match([(caption, true)], records, "mpnet")
    precision, recall = match.ratios()
    assert 0 <= precision[0] <= 1 and 0 <= recall[0] <= 1 and np.isfinite(_match.f1(precision, recall)[0])
    if not caption or not true:
        assert precision[0] == recall[0] == match.soft.sum() == 0


def test_strict_counts_every_image_and_compat_says_what_it_skips() -> None:
    full, bare, empty = scene("dog", "dog: red"), scene("dog"), scene()
    records = given_scenes([full, bare, empty, full], [full, full, empty, bare], attributes={"dog": ("red",)})
    assert values("objects", records).round(2).tolist() == [[100] * 3, [100] * 3, [100] * 3, [100] * 3]
    assert values("attributes", records).round(2).tolist() == [[100] * 3, [0] * 3, [0, 100, 0], [100, 0, 0]]
    for name in ("objects@compat", "attributes@compat"):
        metric = registry.metric(name)
        measured = metric.measure(records)
        assert measured.counts["skipped"] == 3 and measured.statistics[:, 3].tolist() == [1, 0, 0, 0]
        assert measured.values.round(2).tolist() == [[100] * 3, [0] * 3, [0] * 3, [0] * 3]
        assert metric.aggregate(measured.statistics.sum(axis=0), 4).round(2).tolist() == [100] * 3
        assert metric.aggregate(np.zeros(4), 4).tolist() == [0] * 3
        (drawn,) = stats.bootstrap([stats.Column(measured.statistics, metric.aggregate)], draws=50)
        assert set(drawn[:, 2].round(2)) == {0.0, 100.0}
        assert measured.counts["captions_without_attributes"] == measured.counts["references_without_attributes"] == 2
    nothing = given_scenes([empty], [empty])
    assert (
        values("objects", nothing).round(3).tolist() == [[100] * 3] == values("attributes", nothing).round(3).tolist()
    )


@pytest.mark.parametrize("count", [1, 2, 500])
@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_captions(name: str, count: int) -> None:
    annotated = {"objects": ("dog",), "attributes": {"dog": ("red", "old")}}
    records = of_texts(["A red puppy on green grass."] * count, ["A red puppy."] * count, **annotated)
    metric = registry.metric(name)
    measured = metric.measure(records)
    assert measured.values.shape == (count, len(metric.names)) and len(np.unique(measured.values, axis=0)) == 1
    point = stats.point(stats.Column(measured.statistics, metric.aggregate))
    assert point == pytest.approx(measured.values[0]) and (point > 30).all()


ODD = [
    "",
    " ",
    "Dog",
    "There are dogs.",
    "word " * 3000,
    "Un chien rouge près d'un arbre vert.",
    "赤い犬",
    "🐕 😀",
    "\x00|||",
    "(((",
    "a",
]


@pytest.mark.parametrize("name", NAMES)
def test_odd_captions_have_finite_values_and_leave_others_alone(name: str) -> None:
    annotated = {"objects": ("dog",), "attributes": {"dog": ("red",)}}
    reference = "A red puppy on green grass."
    metric = registry.metric(name)
    measured = metric.measure(of_texts([reference] * (len(ODD) + 1), [*ODD, reference], **annotated))
    assert np.isfinite(measured.values).all() and (measured.values <= 100).all()
    assert measured.values[:2] == pytest.approx(np.array([metric.empty] * 2))
    alone = metric.measure(of_texts([reference], [reference], **annotated))
    assert measured.values[-1] == pytest.approx(alone.values[0], abs=1e-12)
    assert metric.measure(of_texts([""], [""])).values.shape == (1, len(metric.names))


def test_several_references_are_averaged_and_none_is_an_empty_one() -> None:
    texts = ("A red puppy on green grass.", "Two old horses near a small chair.")
    both = Sample("s", texts)
    single, two, mean, none = (
        values("capture", fake_scenes.records([sample], [texts[0]], no_synonyms))[0, 0]
        for sample in (Sample("s", texts[:1]), Sample("s", texts[1:]), both, Sample("s", ()))
    )
    assert mean == pytest.approx((single + two) / 2) and single > 99.9 > two and none == 0


def test_a_foreign_parse_is_refused() -> None:
    for broken in (
        {},
        {**scene(), "relations": [["a", "b"]]},
        {**scene(), "tokens": "9"},
        {**scene(), "objects": [1]},
        3,
    ):
        with pytest.raises(CimError, match="a stored scene graph has another form"):
            values("capture", given_scenes([broken], [scene()]))  # type: ignore[list-item]


def test_counts_of_what_was_cut_and_of_credit() -> None:
    caption = {**scene("dog, man, sky"), "tokens": 10, "tokens_cut": 4, "inputs_cut": 1, "nouns_lost": 2}
    counts = (
        registry.metric("capture").measure(given_scenes([caption], [{**scene("dog, sun, woman"), "tokens": 5}])).counts
    )
    assert counts["captions_tokens_cut_percent"] == 40 and counts["references_tokens_cut_percent"] == 0
    assert counts["captions_inputs_cut"] == 1 and counts["captions_nouns_lost"] == 2
    shares = {name: round(value, 3) for name, value in counts.items() if name.startswith("credit")}
    assert shares == {
        "credit_exact_percent": 50.0,
        "credit_substring_percent": 50.0,
        "credit_synonym_percent": 0.0,
        "credit_soft_percent": 0.0,
    }


def test_elements_for_the_report() -> None:
    caption = scene("car, dog, man, sky", "dog: brown old", "dog/on/mat")
    true = scene("cat, dog, woman", "dog: brown, mat: red", "dog/on/mats, cat/near/dog")
    records = given_scenes([caption], [true], objects=("car",), attributes={"dog": ("old",)})
    by_metric = {name: registry.metric(name).elements(records)[0] for name in ("objects", "attributes", "capture")}  # type: ignore[misc]
    assert by_metric["objects"] == [
        Element("object", "dog", "matched"),
        Element("object", "man", "matched", marks=("man", "woman")),
        Element("object", "car", "matched"),
        Element("object", "sky", "invented"),
        Element("object", "cat", "missed"),
    ]
    assert by_metric["attributes"] == [
        Element("attribute", "brown dog", "matched", marks=("brown",), near=("dog",)),
        Element("attribute", "old dog", "matched", marks=("old",), near=("dog",)),
        Element("attribute", "red mat", "missed", marks=("red",), near=("mat",)),
    ]
    assert by_metric["capture"] == [
        Element("relation", "dog on mat", "matched", marks=("dog on mat", "dog on mats")),
        Element("relation", "cat near dog", "missed"),
    ]


def test_hash_seeds_change_nothing() -> None:
    """The reference iterates sets, so its scores move with the hash seed; ours are the same bytes."""
    code = (
        "from tests.test_capture import of_texts, values, NAMES\n"
        "texts = ['A red puppy on green grass near two old men.', 'A small wooden chair beside a tall tree.']\n"
        "records = of_texts(texts, texts[::-1], objects=('man', 'woman'), attributes={'dog': ('red', 'old')})\n"
        "print([values(name, records).tobytes().hex() for name in NAMES])"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            text=True,
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(seen) == 1


@pytest.mark.parametrize("name", NAMES)
def test_signatures_name_parser_encoder_wordnet_and_mode(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "parser", fake_scenes.parser)
    monkeypatch.setattr(registry, "encoder", fake_scenes.encoder)
    monkeypatch.setattr("harness.metrics._scenes.checksum", lambda: "0123456789ab")
    metric = registry.metric(name)
    fields = signature.read(signature.render(name, metric.signature()))
    assert metric.name == name == fields["metric"] and fields["order"] == "sorted" and fields["eps"] == "1e-6"
    assert fields["mode"] == (name.partition("@")[2] or "strict") and fields["wn"] == "3.0-0123456789ab"
    assert fields["parser"].startswith(metric.parsers[0] + "-") and fields["enc"].startswith("mpnet-")
    assert len({json.dumps(dict(registry.metric(other).signature())) + other for other in NAMES}) == len(NAMES)


def test_without_weights_or_wordnet_reason_and_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.resources.wordnet.search_path", list)
    assert "-m harness.resources.wordnet" in str(registry.metric("capture").missing())


@pytest.mark.parametrize("name", ["capture", "objects", "attributes"])
def test_made_scenes_keep_their_own_metric(name: str) -> None:
    without_match = registry.metric(name).of_graphs
    assert (
        without_match is not None
        and without_match.name == name
        and without_match.signature()["match"] == "exact-family"
    )
    assert registry.metric(name).needs >= {"references"} and without_match.needs == {"graph"}
