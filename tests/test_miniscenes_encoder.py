"""The tiny dual encoder of miniscenes: whole, in the harness, and a reward that sees what captions leave out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from harness import registry
from harness.errors import CimError
from harness.retrieval import sources
from harness.retrieval.consistency import SAFE
from harness.retrieval.gallery import encoding
from harness.retrieval.scorer import CimBatch, CimScorer
from harness.types import SceneGraph
from tasks.miniscenes import damage, draw, reading, samples, sensitivity, world
from tests.galleries import of_arrays

pytest.importorskip("torch", reason="torch is not installed: run `make setup-models`")
pytest.importorskip("transformers", reason="transformers is not installed: run `make setup-models`")


def test_the_committed_encoder_is_that_of_its_manifest() -> None:
    from tasks.miniscenes import dual_encoder

    noted = json.loads((dual_encoder.FOLDER / dual_encoder.MANIFEST).read_text())
    content = (dual_encoder.FOLDER / dual_encoder.FILE).read_bytes()
    assert hashlib.sha256(content).hexdigest() == noted["files"][dual_encoder.FILE]
    assert hashlib.sha256((dual_encoder.TOWER / "model.safetensors").read_bytes()).hexdigest() == noted["tower"]
    assert noted["recall_at_1_of_400"]["full"] > 99 and noted["recipe"]["seed"] == 0
    assert sum(path.stat().st_size for path in dual_encoder.FOLDER.parent.rglob("*")) < 8e6


def test_a_vector_depends_on_its_text_alone_and_is_unit() -> None:
    with encoding(registry.encoder("miniscenes_text")) as encode:
        texts = ["a red ring in the upper left .", "a disc .", "", "nothing of that world", "a ring " * 400]
        together, alone = encode(texts), np.concatenate([encode([text]) for text in texts])
    assert together == pytest.approx(alone, abs=1e-5) and np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
    assert together[0] @ together[1] < 0.99


def test_pictures_of_other_sizes_are_refused(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 48)).save(tmp_path / "wide.png")
    (tmp_path / "page.png").write_text("<html>")
    with encoding(registry.encoder("miniscenes_image")) as encode:
        for name, reason in (("wide.png", "is no picture of miniscenes"), ("page.png", "is no image")):
            with pytest.raises(CimError, match=reason):
                encode([str(tmp_path / name)])


def test_gallery_scenes_are_none_of_the_benchmarks() -> None:
    pairs = list(sources.read_world("miniscenes", "20")) + list(sources.read_world("miniscenes", "train:3"))
    assert [pair.image_id for pair in pairs][::22] == ["gallery_000000", "train_000002"]
    assert callable(pairs[0].image) and pairs[0].image()[:4] == b"\x89PNG"
    for wrong in ("0", "x", "test:5", "-1", "train:"):
        with pytest.raises(CimError, match="--from miniscenes"):
            sources.read_world("miniscenes", wrong)


def test_the_reward_sees_details_left_out_and_false(tmp_path: Path) -> None:
    """Full captions of 200 unseen scenes against damaged ones: the share that the full one wins."""
    kept = [world.scene("gallery", number) for number in range(2000)]
    scenes = [world.scene("validation", number) for number in range(200)]
    files = []
    for made in (*kept, *scenes):
        files.append(str(tmp_path / f"{made.id}.png"))
        Path(files[-1]).write_bytes(draw.png(draw.pixels(made)))
    with encoding(registry.encoder("miniscenes_image")) as see:
        images = see(files)
    with encoding(registry.encoder("miniscenes_text")) as read:
        keys, texts = [made.id for made in kept], [samples.reference(made) for made in kept]
        stored = of_arrays(read(texts), images[: len(kept)], keys)
        scorer, names, own = CimScorer(stored, read, SAFE), [made.id for made in scenes], images[len(kept) :]

        def score(captions: Sequence[str]) -> CimBatch:
            return scorer.score(captions, names, source_vectors=own)

        rows = sensitivity.compare(score, registry.training("cim_rl").worlds["miniscenes"], names)
        full = score([damage.pair("said twice", made.id)[0] for made in scenes])
    won = {row["damage"]: row["win"] for row in rows}
    for name in SEEN:
        assert won[name]["reward"] > 0.6 and won[name]["qir"] > 0.65, (name, won[name])
    assert won["one object missing"]["grc"] < 0.5, "GRC alone prefers to leave things out"
    assert won["relation wrong"]["reward"] < 0.5 and won["said twice"]["reward"] < 0.6, (
        "free of charge: see docs/cim.md"
    )
    assert full.qir.mean() > scorer.qir(full.rows, keys[:200]).mean() + 0.4


SEEN = (
    "background omitted",
    "colours omitted",
    "fine names omitted",
    "places omitted",
    "one colour wrong",
    "one fine name wrong",
    "one place wrong",
    "one object missing",
    "one object invented",
)


@pytest.mark.parametrize("name", damage.PAIRS)
def test_a_damage_changes_what_it_names_and_nothing_else(name: str) -> None:
    changed = {
        "background omitted": "attributes",
        "fine names omitted": "names",
        "places omitted": "relations",
        "one fine name wrong": "names",
        "one place wrong": "relations",
    }
    for number in range(60):
        full, damaged = (reading.read(text) for text in damage.pair(name, f"validation_{number:06d}"))
        same = [
            part
            for part in ("objects", "names", "attributes", "relations")
            if _part(full, part) == _part(damaged, part)
        ]
        if name == "one object missing":
            assert len(damaged.objects) == len(full.objects) - 1 and set(damaged.names.items()) < set(
                full.names.items()
            )
        elif name == "one object invented":
            assert len(damaged.objects) == len(full.objects) + 1 and set(damaged.names.items()) > set(
                full.names.items()
            )
        elif name in ("said twice", "relation omitted"):
            assert len(same) == 4, "the same is stated"
        elif name in ("relation wrong", "one place wrong"):
            assert set(same) >= {"objects", "names", "attributes"}
        else:
            other = changed.get(name, "attributes")
            assert set(same) == {"objects", "names", "attributes", "relations"} - {other}, (full, damaged)


def _part(graph: SceneGraph, part: str) -> object:
    value = getattr(graph, part)
    return dict(value) if isinstance(value, dict) else value


def test_a_weakened_model_is_the_same_each_time_and_hardly_sees(tmp_path: Path) -> None:
    """Its weights are those of mini-base but for the vision tower; its captions of other scenes often agree."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForImageTextToText

    from harness.stages import model
    from tasks.miniscenes import train, weaken

    for name in ("one", "two"):
        weaken.weaken(tmp_path / name)
    first, again, start = (
        load_file(folder / "model.safetensors") for folder in (tmp_path / "one", tmp_path / "two", weaken.START)
    )
    assert all(torch.equal(first[name], again[name]) for name in first) and first.keys() == start.keys()
    assert {name for name in first if not torch.equal(first[name], start[name])} == {
        n for n in first if ".visual." in n
    }
    assert model.resolve(str(tmp_path / "one"), tmp_path)[0].tasks == ("miniscenes",)
    found = AutoModelForImageTextToText.from_pretrained(tmp_path / "one", dtype=torch.float32).eval()
    measured = train.quality(found, 60)
    assert measured["objects"] < 50 and measured["fine_names"] < 10, measured
