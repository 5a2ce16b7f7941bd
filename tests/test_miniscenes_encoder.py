"""The tiny dual encoder of miniscenes: whole, in the harness, and a reward that sees what captions leave out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness import registry
from harness.errors import CimError
from harness.retrieval import gallery, worlds
from harness.retrieval.encoders import opened
from harness.retrieval.scorer import SAFE, CimScorer
from tasks.miniscenes import draw, language, world
from tasks.miniscenes.language import LEVELS
from tasks.miniscenes.world import Dice, Scene

pytest.importorskip("torch", reason="torch is not installed: run `make setup-models`")
pytest.importorskip("transformers", reason="transformers is not installed: run `make setup-models`")

FULL = replace(LEVELS["full"], relation=0)


def test_the_committed_encoder_is_that_of_its_manifest() -> None:
    from tasks.miniscenes import encoders

    noted = json.loads((encoders.FOLDER / encoders.MANIFEST).read_text())
    content = (encoders.FOLDER / encoders.FILE).read_bytes()
    assert hashlib.sha256(content).hexdigest() == noted["files"][encoders.FILE]
    assert hashlib.sha256((encoders.TOWER / "model.safetensors").read_bytes()).hexdigest() == noted["tower"]
    assert noted["recall_at_1_of_400"]["full"] > 99 and noted["recipe"]["seed"] == 0
    assert sum(path.stat().st_size for path in encoders.FOLDER.parent.rglob("*")) < 8e6


def test_a_vector_depends_on_its_text_alone_and_is_unit() -> None:
    with opened(registry.encoder("miniscenes_text")) as encode:
        texts = ["a red ring in the upper left .", "a disc .", "", "nothing of that world", "a ring " * 400]
        together, alone = encode(texts), np.concatenate([encode([text]) for text in texts])
    assert together == pytest.approx(alone, abs=1e-5) and np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
    assert together[0] @ together[1] < 0.99


def test_pictures_of_other_sizes_are_refused(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 48)).save(tmp_path / "wide.png")
    (tmp_path / "page.png").write_text("<html>")
    with opened(registry.encoder("miniscenes_image")) as encode:
        for name, reason in (("wide.png", "is no picture of miniscenes"), ("page.png", "is no image")):
            with pytest.raises(CimError, match=reason):
                encode([str(tmp_path / name)])


def test_gallery_scenes_are_none_of_the_benchmarks() -> None:
    pairs = list(worlds.read("miniscenes", "20")) + list(worlds.read("miniscenes", "train:3"))
    assert [pair.image_id for pair in pairs][::22] == ["gallery_000000", "train_000002"]
    assert callable(pairs[0].image) and pairs[0].image()[:4] == b"\x89PNG"
    for wrong in ("0", "x", "test:5", "-1", "train:"):
        with pytest.raises(CimError, match="--from miniscenes"):
            worlds.read("miniscenes", wrong)


def _captions(scenes: Sequence[Scene], **level: float) -> list[str]:
    return [language.caption(made, replace(FULL, **level), Dice(f"one/{made.id}")) for made in scenes]


def test_the_reward_sees_details_left_out_and_false(tmp_path: Path) -> None:
    """Full captions of 200 unseen scenes against damaged ones: the share that the full one wins."""
    kept = [world.scene("gallery", number) for number in range(2000)]
    scenes = [world.scene("validation", number) for number in range(200)]
    files = []
    for made in (*kept, *scenes):
        files.append(str(tmp_path / f"{made.id}.png"))
        Path(files[-1]).write_bytes(draw.png(draw.pixels(made)))
    with opened(registry.encoder("miniscenes_image")) as see:
        images = see(files)
    with opened(registry.encoder("miniscenes_text")) as read:
        held = gallery.of_arrays(read(_captions(kept)), images[: len(kept)], [made.id for made in kept])
        scorer, names = CimScorer(held, read, SAFE), [made.id for made in scenes]

        def reward(captions: Sequence[str]) -> np.ndarray:
            return scorer.score(captions, names, source_vectors=images[len(kept) :]).reward

        full = reward(_captions(scenes))
        won = {slot: float((full > reward(_captions(scenes, **{slot: 0}))).mean()) for slot in SLOTS}
        fewer = [Scene(made.id, made.things[1:], made.background) for made in scenes]
        won["object"] = float((full > reward(_captions(fewer))).mean())
        shuffled = scorer.score(_captions(scenes), names, source_vectors=np.roll(images[len(kept) :], 1, axis=0)).qir
        own = scorer.score(_captions(scenes), names, source_vectors=images[len(kept) :]).qir
    assert all(share > 0.55 for share in won.values()), won
    assert own.mean() > shuffled.mean() + 0.4


SLOTS = ("name", "colour", "place", "background")
