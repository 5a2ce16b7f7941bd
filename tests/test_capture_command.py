"""CAPTURE, objects and attributes through ``cim``: fake parser and encoder, everything else real."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import registry
from harness.resources.wordnet import missing_wordnet
from tests import controls, fake_scenes
from tests.cli import Cim, captions_file

pytestmark = pytest.mark.skipif(missing_wordnet() is not None, reason=missing_wordnet() or "")
NAMES = "capture,objects,attributes,objects@compat,attributes@compat"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts are faked; every text they are asked for is noted."""
    asked, real = list[str](), registry.parser

    def parser(name: str) -> Any:
        return fake_scenes.parser(name, asked.append) if name.startswith("scene_graph") else real(name)

    monkeypatch.setattr(registry, "parser", parser)
    monkeypatch.setattr(registry, "encoder", lambda name: fake_scenes.encoder(name, asked.append))
    return asked


def captions(benchmarks: Path, folder: Path) -> Path:
    """The first 12 captions of COCO-LN500 with words dropped, two of them empty and without attributes."""
    texts = controls.perturbed(controls.references(benchmarks, "coco_ln500"), "drop10")
    first = dict(list(texts.items())[:12])
    first |= zip(list(first)[:2], ("", "There are puppies."), strict=True)
    return captions_file(folder / "some.jsonl", first)


def test_scored_stored_verified_and_shown(
    cim_on_benchmarks: Cim, benchmarks: Path, tmp_path: Path, seen: list[str]
) -> None:
    cim, path = cim_on_benchmarks, captions(benchmarks, tmp_path)
    given = ("--model", path, "--task", "coco_ln500", "--partial", "--metrics", NAMES)
    outcome = cim("eval", *given, "--verbose")
    assert outcome.code == 0 and "objects@compat: skipped 2, captions without attributes 2" in outcome.out
    assert "tokens cut" in outcome.out and "credit exact" in outcome.out and "│ capture " in outcome.out
    scores = {score["metric"]: score for score in cim("score", *given, "--json").json["scores"]}
    assert scores["attributes@compat"]["counts"]["skipped"] == 2
    compat, strict = (scores[name] for name in ("objects@compat", "objects"))
    assert compat["values"]["f1"] > strict["values"]["f1"] > strict["controls"]["wrong_image"]["values"]["f1"] > 0
    assert "|mode:compat|" in compat["signature"] and "|parser:scene_graph@cim-" in compat["signature"]
    rows = cim("verify", "some", "--task", "coco_ln500", "--json").json
    assert {row["result"] for row in rows} == {"ok"}, rows
    page = (cim.results / "coco_ln500" / "some" / "report.html").read_text()
    assert "attribute" in page and "invented" in page


def test_what_is_known_is_neither_parsed_nor_encoded_nor_looked_up_again(
    cim_on_benchmarks: Cim, benchmarks: Path, tmp_path: Path, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = (
        "--model",
        captions(benchmarks, tmp_path),
        "--task",
        "coco_ln500",
        "--partial",
        "--metrics",
        NAMES,
        "--json",
    )
    first = cim_on_benchmarks("eval", *given).json
    assert len(seen) > 500
    seen.clear()
    monkeypatch.setattr("harness.resources.wordnet_words.lemma_names", lambda _: pytest.fail("WordNet was opened"))
    assert cim_on_benchmarks("score", *given).json == first and seen == []


def test_an_encoder_that_stops_is_an_outage(
    cim_on_benchmarks: Cim, benchmarks: Path, tmp_path: Path, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: Callable[[str], Any] = registry.encoder
    monkeypatch.setattr(registry, "encoder", lambda name: fake_scenes.encoder(name, seen.append, after=100))
    given = ("--model", captions(benchmarks, tmp_path), "--task", "coco_ln500", "--partial", "--metrics", "capture")
    outcome = cim_on_benchmarks("eval", *given, "--json")
    assert (
        outcome.code == 1
        and outcome.json["scores"][0]["outage"]
        and outcome.json["scores"][0]["values"] == {"score": None}
    )
    monkeypatch.setattr(registry, "encoder", whole)
    assert cim_on_benchmarks("eval", *given, "--json").json["scores"][0]["values"]["score"] > 0


def test_two_runs_are_compared_on_the_images_that_count(
    cim_on_benchmarks: Cim, benchmarks: Path, tmp_path: Path, seen: list[str]
) -> None:
    texts = controls.references(benchmarks, "coco_ln500")
    first = list(texts)[:12]
    files = {"whole": {key: texts[key] for key in first}, "cut": {key: texts[key][:60] for key in first}}
    for name, captions in files.items():
        path = captions_file(tmp_path / f"{name}.jsonl", captions)
        given = ("--task", "coco_ln500", "--partial", "--metrics", "objects@compat,capture")
        assert cim_on_benchmarks("eval", "--model", path, *given).code == 0
    rows = cim_on_benchmarks("compare", "cut", "whole", "--task", "coco_ln500", "--json").json
    told = json.dumps(rows)
    assert "objects@compat" in told and "capture" in told and '"difference"' in told
