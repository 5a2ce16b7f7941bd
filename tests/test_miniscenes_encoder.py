"""The tiny dual encoder of miniscenes: whole, in the harness, and a reward that sees what captions leave out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from harness import registry
from harness.errors import CimError
from harness.retrieval import sources
from harness.retrieval.gallery import encoding, open_folder, place
from harness.train import audit
from harness.train.audit_result import Change
from tasks.miniscenes import edits

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


def test_the_audit_of_the_reward_on_the_gallery_that_ships() -> None:
    """What CIM with these encoders sees of captions, and what it does not: see docs/reward_audit.md."""
    from tasks.miniscenes import dual_encoder

    assert edits.HORIZON == dual_encoder.LONGEST
    gallery = open_folder(place("miniscenes-1000"))
    audited = audit.audit(sources.worlds()["miniscenes"], gallery, {"grc": 1.0, "qir": 1.0}, "base", 150)
    signs = {effect.edit: effect.changes["reward"].sign for effect in audited.effects}
    assert {signs[name] for name in ("true object added", "true background added")} == {1}
    assert {signs[name] for name in COSTS} == {-1}
    free = {signs[name] for name in ("relation made false", "caption said twice", "attributes swapped")}
    assert -1 not in free, "not punished"
    unseen, negated, again = (audited.effect(name) for name in ("beyond the horizon", "negation", "fact said again"))
    assert unseen and set(unseen.changes.values()) == {Change(0.0, (0.0, 0.0), 0.0, 0.0)}
    assert negated and again and negated.changes == again.changes, "the encoder does not know the word not"
    copied = audited.effect("gallery caption copied")
    assert copied and copied.false > copied.true > 0 and signs[copied.edit] == 1, "rewarded although less is true"
    price = audited.prices[0].price
    assert price is not None and price < 0, "a false fact costs"


COSTS = (
    "object left out",
    "object invented",
    "false background added",
    "false colour added",
    "false fine name added",
    "colour made false",
    "markdown",
    "hub caption",
)


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
    weak = AutoModelForImageTextToText.from_pretrained(tmp_path / "one", dtype=torch.float32).eval()
    measured = train.quality(weak, 60)
    assert measured["objects"] < 50 and measured["fine_names"] < 10, measured
