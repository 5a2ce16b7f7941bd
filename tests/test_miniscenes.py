"""The embedded world: stable to the byte, exact to the point, and any text can be read."""

from __future__ import annotations

import hashlib
import io
import zlib
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import registry
from harness.resources import data
from tasks.miniscenes import draw, language, pearson, reading, samples, truth, world
from tasks.miniscenes.world import Dice, Thing
from tests.cli import Cim, captions_file

GRAPH_METRICS = ("objects", "attributes", "fine_names", "capture", "relation_qa", "taxonomy")
PIXELS = "2a97c7f1ce7d"
VARIED = "09c414e826df"
CAPTIONS = [
    "a yellow target .",
    "a yellow target in the upper center and a large saltire .",
    "the image shows a orange circle in the lower center .",
]
SCENES = [world.scene("test", number) for number in range(500)]


def test_the_test_split_is_pinned() -> None:
    """Made again, byte for byte: the first, tenth and last sample, the whole file, and pixels."""
    assert samples.FILE.read_text(encoding="utf-8") == samples.lines()
    loaded = data.samples(registry.task("miniscenes"))
    assert [loaded[i].id for i in (0, 9, -1)] == ["test_000000", "test_000009", "test_000499"]
    assert loaded[0].references == (
        "a large plain blue diamond in the middle left and a large plain cyan pyramid in the upper right . "
        "the background is gray .",
    )
    digest = hashlib.sha256(b"".join(draw.pixels(scene).tobytes() for scene in SCENES)).hexdigest()
    assert digest.startswith(PIXELS), digest


def test_the_pearson_split_is_pinned(tmp_path: Path) -> None:
    """3,000 scenes, drawn: the rows by their sha256, three of them and their captions in full."""
    loaded = data.samples(registry.task("miniscenes_pearson"))
    assert pearson.PIN.read_text(encoding="utf-8") == pearson.pin() and len(loaded) == 3000
    assert data.fingerprint(registry.task("miniscenes_pearson")) == "f1276fd8fa88"
    assert [loaded[i].id for i in (0, 9, -1)] == ["pearson_000000", "pearson_000009", "pearson_002999"]
    varied = registry.training("cim_rl").worlds["miniscenes"].varied
    assert [varied(loaded[i].id) for i in (0, 9, -1)] == CAPTIONS
    digest = hashlib.sha256("\n".join(varied(sample.id) for sample in loaded).encode()).hexdigest()
    assert digest.startswith(VARIED), digest
    (tmp_path / pearson.PIN.name).write_text(pearson.pin().replace('"sha256": "', '"sha256": "0'))
    with pytest.raises(RuntimeError, match="split pearson is drawn otherwise here"):
        pearson.load(tmp_path)


def test_a_picture_is_a_png(tmp_path: Path) -> None:
    picture = draw.pixels(SCENES[0])
    content = draw.png(picture)
    assert picture.shape == (48, 48, 3) and content.startswith(b"\x89PNG\r\n\x1a\n")
    body = content[content.index(b"IDAT") + 4 : content.index(b"IEND") - 8]
    lines = np.frombuffer(zlib.decompress(body), np.uint8).reshape(48, 1 + 48 * 3)
    assert (lines[:, 0] == 0).all() and (lines[:, 1:].reshape(48, 48, 3) == picture).all()
    pillow = pytest.importorskip("PIL.Image", reason="Pillow comes with the models extra")
    assert (np.asarray(pillow.open(io.BytesIO(content)).convert("RGB")) == picture).all()


def test_every_detail_changes_the_picture() -> None:
    """No two fine names, colours, sizes, textures, cells or backgrounds look alike (far beyond the noise)."""
    plain = Thing("circle", "ring", "red", "large", "plain", 4)
    names = [(family, name) for family, names in world.FAMILIES.items() for name in names]
    kinds = product(names, world.SIZES, world.TEXTURES)
    things = [Thing(family, name, "red", size, texture, 4) for (family, name), size, texture in kinds]
    things += [Thing("circle", "ring", colour, "large", "plain", 4) for colour in world.COLOURS[1:]]
    things += [Thing("circle", "ring", "red", "large", "plain", cell) for cell in range(9) if cell != 4]
    pictures = [draw.pixels(world.Scene("same", (thing,), "black")).astype(float) for thing in things]
    pictures += [draw.pixels(world.Scene("same", (plain,), name)).astype(float) for name in world.BACKGROUNDS[1:]]
    flat = np.stack(pictures).reshape(len(pictures), -1)
    distances = np.sqrt(((flat[:, None] - flat[None]) ** 2).sum(-1)) + 1e9 * np.eye(len(flat))
    assert distances.min() > 100


def test_scenes_keep_their_rules() -> None:
    for scene in SCENES:
        families, cells = [t.family for t in scene.things], [t.cell for t in scene.things]
        assert len(scene.things) in (2, 3) and len(set(families)) == len(families) and len(set(cells)) == len(cells)
        assert families == sorted(families, key=language.ORDER.index)
        if len(scene.things) == 2:
            assert len({t.row for t in scene.things}) == len({t.column for t in scene.things}) == 2


def test_splits_share_no_id_and_no_scene() -> None:
    by_split = {split: [world.scene(split, n) for n in range(500)] for split in world.SPLITS}
    ids = [scene.id for scenes in by_split.values() for scene in scenes]
    assert len(set(ids)) == len(ids)
    contents = {split: {(s.things, s.background) for s in scenes} for split, scenes in by_split.items()}
    assert all(not contents["test"] & contents[split] for split in contents if split != "test")
    with pytest.raises(ValueError, match="no scene 500 in split 'test'"):
        world.scene("test", 500)


def test_questions_are_fair() -> None:
    asked = [samples.questions(scene) for scene in SCENES]
    assert all(len({question.text for question in five}) == 5 for five in asked)
    yes = sum(question.answer == "Yes" for five in asked for question in five)
    assert 1150 < yes < 1350
    for scene, five in zip(SCENES, asked, strict=True):
        assert all(reading.answer(question.text, language.graph(scene)) == question.answer for question in five)


@pytest.mark.parametrize("seed", range(3))
def test_full_captions_score_exactly_100(cim: Cim, tmp_path: Path, seed: int) -> None:
    full = {s.id: language.caption(s, language.LEVELS["full"], Dice(f"{seed}/{s.id}")) for s in SCENES}
    path = captions_file(tmp_path / "full.jsonl", full)
    result = cim("eval", "--model", path, "--metrics", ",".join(GRAPH_METRICS), "--draws", "0", "--json")
    assert result.code == 0
    for score in result.json["scores"]:
        rates = {name: value for name, value in score["values"].items() if name.endswith("_rate")}
        assert all(value == 0 for value in rates.values())
        assert all(value == 100 for name, value in score["values"].items() if name not in rates), score


def test_other_images_captions_lose_their_points(cim: Cim, tmp_path: Path) -> None:
    """Full captions shifted by one image: objects and attributes fall by far more than 15 points."""
    full = [language.caption(s, language.LEVELS["full"], Dice(s.id)) for s in SCENES]
    shifted = {scene.id: text for scene, text in zip(SCENES, full[1:] + full[:1], strict=True)}
    path = captions_file(tmp_path / "shifted.jsonl", shifted)
    result = cim("eval", "--model", path, "--metrics", "objects,attributes", "--draws", "0", "--json")
    assert all(score["values"]["f1"] < 60 for score in result.json["scores"])


READINGS: dict[str, dict[str, object]] = {
    "a ring left of a dome": {
        "relations": (("circle", "left of", "arch"),),
        "names": {"circle": ("ring",), "arch": ("dome",)},
    },
    "the dome is right of and below the ring .": {
        "relations": (("circle", "left of", "arch"), ("circle", "above", "arch"))
    },
    "a ring in the upper left and a bowl in the lower left": {"relations": (("circle", "above", "arch"),)},
    "a ring in the upper left and a bowl in the upper left": {"relations": ()},
    "a red blue ring": {"attributes": {"circle": ("red", "blue")}},
    "a red ring and a small blue disc": {"attributes": {"circle": ("small", "red", "blue")}, "objects": ("circle",)},
    "a ring and a disc": {"names": {"circle": ("ring", "disc")}},
    "ring ring ring": {"objects": ("circle",), "names": {"circle": ("ring",)}},
    "a circle . the ring": {"names": {"circle": ("ring",)}},
    "the ring is red and the dome is small .": {"attributes": {"circle": ("red",), "arch": ("small",)}},
    "a red . a ring": {"attributes": {}},
    "the ring is navy .": {"attributes": {"circle": ("navy",)}},
    "RED RING!": {"attributes": {"circle": ("red",)}},
    "the background is navy . a black background": {"attributes": {"background": ("navy", "black")}},
    "above above left of": {"relations": (), "objects": ()},
    "the ring is above . the dome": {"relations": ()},
    "a ring above a target": {"relations": ()},
    "the ring is left of the dome . the dome is left of the ring": {
        "relations": (("circle", "left of", "arch"), ("circle", "right of", "arch"))
    },
    "a ring on the left": {"relations": ()},
    "": {"objects": (), "attributes": {}, "relations": (), "names": {}},
}


@pytest.mark.parametrize("text", READINGS)
def test_reading(text: str) -> None:
    graph = reading.read(text)
    parts = {name: getattr(graph, name) for name in READINGS[text]}
    if "relations" in parts:
        assert sorted(parts.pop("relations")) == sorted(READINGS[text]["relations"])  # type: ignore[call-overload]
    assert parts == {name: value for name, value in READINGS[text].items() if name != "relations"}


VOCABULARY = sorted({word for scene in SCENES[:200] for word in samples.reference(scene).split()})


@given(st.one_of(st.text(max_size=80), st.lists(st.sampled_from(VOCABULARY), max_size=40).map(" ".join)))
def test_any_text_can_be_read(text: str) -> None:
    graph = reading.read(text)
    assert set(graph.names) <= set(graph.objects) <= set(world.FAMILIES)
    assert set(graph.attributes) <= {*graph.objects, "background"}
    assert all(truth.normal(statement).kind == statement.kind for statement in reading.statements(text))
    assert all(first != second and {first, second} <= set(graph.objects) for first, _, second in graph.relations)
    again = reading.read(text + " . " + text)
    assert set(again.objects) == set(graph.objects) and graph.names == again.names


@pytest.mark.parametrize("level", language.LEVELS)
def test_levels_say_more_and_more(level: str) -> None:
    words = [len(language.caption(s, language.LEVELS[level], Dice(s.id)).split()) for s in SCENES]
    low, high = {"base": (11, 15), "medium": (18, 23), "full": (32, 37)}[level]
    assert low < sum(words) / 500 < high and max(words) <= 50


def test_captions_without_errors_say_nothing_wrong() -> None:
    for number, scene in enumerate(SCENES):
        dice = Dice(f"random/{number}")
        said, true = reading.read(language.caption(scene, language.random_level(dice), dice)), language.graph(scene)
        assert set(said.objects) <= set(true.objects) and said.names.items() <= true.names.items()
        assert set(said.relations) <= set(true.relations)
        assert all(set(words) <= set(true.attributes[owner]) for owner, words in said.attributes.items())
