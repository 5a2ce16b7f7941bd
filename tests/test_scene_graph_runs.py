"""Scene graphs in a run: made by name, told with what they lost, kept with the run, scored without the weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from harness import registry
from harness.parsers import factual, scene_graph
from harness.parts import Measurement, Metric, Records, Value
from harness.resources import pretrained, wordnet
from tests.cli import Cim, captions_file
from tests.tiny_t5 import THINGS

if wordnet.missing_wordnet():
    pytest.skip(f"lemmas need WordNet: {wordnet.COMMAND}", allow_module_level=True)

CAPTIONS = {
    "demo_01": "A red bicycle leans on a white wall. The dog is on the table.",
    "demo_02": f"The {', the '.join(THINGS)}.",
    "demo_03": "",
}


def _measure(records: Records) -> Measurement:
    values = np.array([[float(len(graph["objects"]))] for graph in records.parse("scene_graph@sc", records.captions)])
    return Measurement(values, values)


# A fake metric that stands for those that read scene graphs: how many objects a caption has.
FAKE = Metric(
    "objects_named",
    (Value("count", None),),
    _measure,
    lambda: {"v": "1"},
    (0.0,),
    frozenset(),
    ("scene_graph@sc",),
    scale=None,
)


@pytest.fixture
def weights(tmp_path: Path, tiny_t5_folder: Path, tiny_nltk: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The small parser where the hub's cache would have the real one, and a metric that reads it."""
    place = tmp_path / "hub" / "models--lizhuang144--flan-t5-base-VG-factual-sg" / "snapshots"
    shutil.copytree(tiny_t5_folder, place / pretrained.FACTUAL.revision)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("CIM_MODELS", raising=False)
    monkeypatch.setattr(scene_graph, "_gpu", lambda: False)
    names, metric = registry.names, registry.metric
    monkeypatch.setattr(
        registry, "names", lambda kind: [*names(kind), *(["objects_named"] if kind == "metrics" else [])]
    )
    monkeypatch.setattr(registry, "metric", lambda name: FAKE if name == FAKE.name else metric(name))
    yield place


def test_a_run_is_scored_again_without_the_weights(
    cim: Cim, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = captions_file(tmp_path / "mine.jsonl", CAPTIONS)
    given = ("--model", path, "--partial", "--draws", "0")
    by_default = cim("eval", *given, "--json").json["scores"]
    (row,) = [row for row in by_default if row["metric"] == FAKE.name]
    assert "--metrics capture" in row["not_computed"] and not row["outage"]
    folder = cim.results / "demo" / "mine"
    assert not (folder / "parses.jsonl").exists()

    told = cim("parse", *given, "--metrics", FAKE.name)
    assert told.code == 0 and "scene_graph@sc, 3 captions: tokens cut " in told.out
    assert (
        "scene_graph@sc: " in told.err
        and " texts to parse, about 0." in told.err
        and "references: tokens cut" in told.out
    )
    rows = [json.loads(line) for line in (folder / "parses.jsonl").read_text().splitlines()]
    assert {row["parser"].rpartition("-")[0] for row in rows} == {"scene_graph@sc"}
    again = cim("parse", *given, "--metrics", FAKE.name)
    assert "texts to parse" not in again.err and again.out == told.out

    before = cim("score", *given, "--metrics", FAKE.name, "--json").json["scores"][0]
    assert before["values"]["count"] > 0
    shutil.rmtree(weights)
    shutil.rmtree(cim.results / ".cache")
    monkeypatch.setattr(factual.Loaded, "generate", lambda *_: pytest.fail("parsed again"))
    assert cim("score", *given, "--metrics", FAKE.name, "--json").json["scores"][0] == before
    by_default = cim("score", *given, "--json").json["scores"]
    assert [row["values"] for row in by_default if row["metric"] == FAKE.name] == [before["values"]]
    new = captions_file(tmp_path / "new.jsonl", {**CAPTIONS, "demo_03": "A new caption."})
    assert "cim data fetch factual" in cim.refused("eval", "--model", new, "--partial", "--metrics", FAKE.name)


def test_a_second_model_parses_its_captions_alone(
    cim: Cim, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, real = list[int](), factual.Loaded.generate
    monkeypatch.setattr(factual.Loaded, "generate", lambda self, rows: (counts.append(len(rows)), real(self, rows))[1])
    first = captions_file(tmp_path / "first.jsonl", {"demo_01": "A dog."})
    second = captions_file(tmp_path / "second.jsonl", {"demo_01": "A cat. A dog."})
    for path, most in ((first, 200), (second, 1)):
        counts.clear()
        for verb in ("caption", "parse"):
            assert cim(verb, "--model", path, "--partial", "--metrics", FAKE.name).code == 0
        assert 0 < sum(counts) <= most
