"""Metric cim through the commands: looked up once, kept with the run, scored without gallery or encoder."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from harness import registry
from harness.parts import Encoder
from harness.resources import data
from harness.retrieval import build, gallery
from harness.retrieval.consistency import PAPER
from harness.retrieval.scorer import CimScorer
from harness.retrieval.sources import Pair
from tasks.miniscenes import TASK, draw, samples, world
from tests.cli import Cim, captions_file
from tests.conftest import ROOT
from tests.test_gallery import Fake


def picture(scene: world.Scene) -> bytes:
    """PNG of a made scene."""
    return draw.png(draw.pixels(scene))


class World:
    """Miniscenes with a gallery of made scenes, fake encoders, and captions of six test scenes."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.captions = folder / "scenes", folder / "six.jsonl"
        self.fakes = {"fake_text": Fake("text", 8), "fake_image": Fake("image", 6)}
        task = replace(TASK, gallery=str(self.folder), provides=TASK.provides | {"gallery"})
        known, encoder = registry.task, registry.encoder
        monkeypatch.setattr(registry, "task", lambda name: task if name == "miniscenes" else known(name))
        monkeypatch.setattr(
            registry, "encoder", lambda name: self.fakes[name].encoder if name in self.fakes else encoder(name)
        )
        self.samples = data.samples(task)[:6]
        texts = {sample.id: sample.references[0] for sample in self.samples}
        texts[self.samples[5].id] = " "
        captions_file(self.captions, texts)

    def build(self, n: int = 12, folder: Path | None = None) -> gallery.Gallery:
        """Build the gallery from made scenes."""
        scenes = [world.scene("gallery", number) for number in range(n)]
        pairs = [
            Pair("miniscenes", sample.id, samples.reference(sample), partial(picture, sample)) for sample in scenes
        ]
        encoders: list[Encoder] = [self.fakes[name].encoder for name in ("fake_text", "fake_image")]
        build.build(build.Plan(folder or self.folder, lambda: iter(pairs), [], *encoders))
        return gallery.open_folder(folder or self.folder)

    def arguments(self, verb: str, *more: str) -> list[str]:
        """A command on the captions."""
        return [verb, "--model", str(self.captions), "--task", "miniscenes", "--partial", *more]


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_looked_up_once_and_scored_without_gallery_or_encoder(built: World, cim: Cim) -> None:
    opened = built.build()
    assert cim(*built.arguments("caption")).code == 0
    assert cim(*built.arguments("retrieve", "--json")).json["retrievals"] == 6
    asked = built.fakes["fake_text"].asked
    assert cim(*built.arguments("retrieve", "--json")).json["retrievals"] == 0
    assert built.fakes["fake_text"].asked == asked
    shutil.rmtree(built.folder)
    (row,) = cim(*built.arguments("score", "--metrics", "cim", "--json")).json["scores"]
    texts = [sample.references[0] for sample in built.samples[:5]]
    pixels = np.stack([built.fakes["fake_image"].vector(TASK.draw(item.id)) for item in built.samples[:5]])  # type: ignore[misc]
    scorer = CimScorer(
        opened, lambda asked: np.stack([built.fakes["fake_text"].vector(item.encode()) for item in asked])
    )
    batch = scorer.score(texts, [f"miniscenes:{item.id}" for item in built.samples[:5]], source_vectors=pixels)
    for name in ("reward", "grc", "qir"):
        assert row["values"][name] == pytest.approx(getattr(batch, name).sum() / 6)
    assert row["n"] == 6 and PAPER.k == 3
    assert row["counts"] == {"n_empty": 1, "n_own_image_first": 0, "n_own_image_retrieved": 0}
    for field in (f"gallery:scenes@{opened.sha[:12]}", "rows:12", "k:3", "self:include", "search:exact", "v:1"):
        assert f"|{field}|" in f"{row['signature']}|"
    folder = cim.results / "miniscenes" / "six"
    before = [*built.samples[:4], built.samples[5]]  # the image of each caption's previous sample; one caption is empty
    pixels = np.stack([built.fakes["fake_image"].vector(TASK.draw(sample.id)) for sample in before])  # type: ignore[misc]
    sources = [f"miniscenes:{sample.id}" for sample in before]
    of_next_image = scorer.score([*texts[1:], texts[0]], sources, source_vectors=pixels)
    assert set(row["controls"]) == {"wrong_image", "next_caption"}
    assert row["controls"]["next_caption"]["values"]["qir"] == pytest.approx(of_next_image.qir.sum() / 6)
    stored = [json.loads(line) for line in (folder / "retrievals.jsonl").read_text().splitlines()]
    assert stored[0]["rows"] == batch.rows[0].tolist() and stored[5]["rows"] == [] and stored[5]["empty"]
    assert cim("verify", folder).code == 0


def test_a_cut_off_row_is_made_again_and_another_gallery_refused(built: World, cim: Cim, tmp_path: Path) -> None:
    built.build()
    assert cim(*built.arguments("eval", "--metrics", "cim")).code == 0
    file = cim.results / "miniscenes" / "six" / "retrievals.jsonl"
    whole = file.read_text()
    file.write_text(whole[:-40])
    unfinished = cim(*built.arguments("score", "--metrics", "cim", "--json"))
    assert unfinished.code == 1 and "1 of 6 captions were not looked up" in unfinished.json["scores"][0]["not_computed"]
    assert cim(*built.arguments("eval", "--metrics", "cim")).code == 0 and file.read_text() == whole
    built.build(5, tmp_path / "other")
    file.write_text(whole[:-40])
    refused = cim.refused(*built.arguments("retrieve", "--gallery", str(tmp_path / "other")))
    assert "looked up with gallery scenes; leave that option out to keep them, delete retrievals.jsonl" in refused
    file.write_text(whole)
    assert "looked up with gallery scenes" in cim.refused(
        *built.arguments("score", "--gallery", str(tmp_path / "other"))
    )
    file.unlink()
    assert cim(*built.arguments("retrieve", "--gallery", str(tmp_path / "other"))).code == 0


def test_without_a_gallery_the_command_is_named(built: World, cim: Cim) -> None:
    assert "no gallery scenes; run `cim gallery build scenes" in cim.refused(*built.arguments("retrieve"))
    rows = cim(*built.arguments("eval", "--json")).json["scores"]
    (row,) = [row for row in rows if row["metric"] == "cim"]
    assert "run `cim gallery build" in row["not_computed"] and row["values"]["reward"] is None


def test_the_self_policy_is_chosen_signed_kept_and_another_refused(
    built: World, cim: Cim, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gallery holds the images of the captions, so that the policy decides what is retrieved first."""
    pairs = [
        Pair("miniscenes", sample.id, sample.references[0], partial(TASK.draw or str.encode, sample.id))
        for sample in built.samples
    ]
    fakes = [built.fakes[name].encoder for name in ("fake_text", "fake_image")]
    monkeypatch.setattr(build.leaks, "benchmark_ids", lambda: ({}, {}))  # a gallery must not hold these, else
    build.build(build.Plan(built.folder, lambda: iter(pairs), [], *fakes))
    folder, scores = cim.results / "miniscenes" / "six", {}
    for policy in ("include", "exclude", "exclude_near"):
        done = cim(*built.arguments("eval", "--metrics", "cim", "--self-policy", policy, "--fresh", "--json"))
        (scores[policy],) = done.json["scores"]
        assert f"|self:{policy}|" in scores[policy]["signature"]
        first = json.loads((folder / "retrievals.jsonl").read_text().splitlines()[0])
        assert first["how"]["self"] == policy
        assert (f"miniscenes:{built.samples[0].id}" in first["images"]) == (policy == "include")
    assert scores["include"]["values"]["qir"] > scores["exclude"]["values"]["qir"]
    for verb in ("eval", "retrieve", "score"):
        refused = cim.refused(*built.arguments(verb, "--metrics", "cim", "--self-policy", "include"))
        assert "looked up with self exclude_near; leave that option out" in refused
    file = folder / "retrievals.jsonl"
    whole = file.read_text()
    file.write_text(whole[:-40])
    assert cim(*built.arguments("eval", "--metrics", "cim")).code == 0 and file.read_text() == whole


def test_the_gallery_that_ships_with_the_task_is_whole_and_found_by_name(cim: Cim) -> None:
    folder = gallery.place("miniscenes-1000")
    assert folder.is_relative_to(ROOT / "tasks" / "miniscenes") and TASK.gallery == folder.name
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1.5e6
    assert gallery.open_folder(folder).sha == "251884765394973c63f479734c2ad7511ffb27b950f818131db9483834cce705"
    assert {row["state"] for row in cim("gallery", "verify", "miniscenes-1000", "--json").json} == {"ok"}
    encoders = json.loads((folder / "manifest.json").read_text())
    for kind in ("text", "image"):  # the weights that ship are those it was built with
        named = encoders[f"{kind}_encoder"]
        assert dict(registry.encoder(named["name"]).settings()) == named["settings"]


def test_a_gallery_of_that_name_that_was_built_here_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIM_DATA", str(tmp_path))
    here = tmp_path / "galleries" / "miniscenes-1000"
    assert gallery.home("miniscenes-1000") == here != gallery.place("miniscenes-1000")
    shutil.copytree(gallery.place("miniscenes-1000"), here)
    assert gallery.place("miniscenes-1000") == here and gallery.place("nowhere") == gallery.home("nowhere")


def test_a_gallery_smaller_than_k_shrinks_it_and_says_so(built: World, cim: Cim) -> None:
    built.build(2)
    (row,) = cim(*built.arguments("eval", "--metrics", "cim", "--json")).json["scores"]
    assert "|rows:2|" in row["signature"] and row["values"]["grc"] > 0


def test_an_encoder_that_stops_is_no_score_and_goes_on(built: World, cim: Cim) -> None:
    built.build()
    built.fakes["fake_image"].stop = built.fakes["fake_image"].asked + 2
    stopped = cim(*built.arguments("eval", "--metrics", "cim", "--json"))
    assert stopped.code == 1 and stopped.json["scores"][0]["values"]["qir"] is None
    built.fakes["fake_image"].stop = 10**9
    assert cim(*built.arguments("eval", "--metrics", "cim")).code == 0


def test_other_encoders_than_the_gallery_s_are_refused(built: World, cim: Cim) -> None:
    built.build()
    other = Fake("text", 8)
    other.encoder = replace(other.encoder, settings=lambda: {"v": "2"})
    built.fakes["fake_text"] = other
    assert "text encoder fake_text differs from the gallery's in v" in cim.refused(*built.arguments("retrieve"))
