"""Stored runs in the forms of other tools, each read back by that tool's own reader where it is installed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness import registry
from harness.errors import OutageError
from harness.parts import Engine
from harness.runs import stored_run
from harness.stages import caption, parse, score
from harness.types import Completion, Model, Request
from leaderboards.export import eee, facts, hub
from tests import mock_engine
from tests.cli import Cim, captions_file
from tests.conftest import ROOT

BASELINE = ROOT / "results" / "baseline" / "miniscenes" / "mini-detailed"
ERROR = "no answer of http://box.lan:8000 for /home/ann/pictures/a.png"


@pytest.fixture
def mocked(cim: Cim, monkeypatch: pytest.MonkeyPatch) -> Cim:
    """A run whose fifth caption failed."""
    monkeypatch.setattr(registry, "engine", registry.engine)  # the mock engine replaces it
    mock_engine.main(cim.results)
    return cim


def fail(cim: Cim, monkeypatch: pytest.MonkeyPatch, *, captioned: int) -> None:
    """A run ``mock`` whose captions but so many were refused, for a reason that names a host, a user and a folder."""

    def generate(_: Model, requests: Sequence[Request]) -> Iterator[Completion]:
        for at, request in enumerate(requests):
            answer = Completion(request.sample_id, "a wall", "stop")
            yield answer if at < captioned else Completion(request.sample_id, None, "refusal", error=ERROR)

    monkeypatch.setattr(registry, "engine", registry.engine)
    monkeypatch.setattr(mock_engine, "ENGINE", Engine("mock", generate))
    planned = mock_engine.plan(cim.results)
    with contextlib.nullcontext() if captioned else pytest.raises(OutageError, match="none of 12 captions"):
        caption.caption(planned)
    with parse.Parses(cim.results) as parses:
        score.score(planned, [registry.metric(name) for name in mock_engine.METRICS], parses, draws=50)


@pytest.fixture
def several(cim: Cim, tmp_path: Path) -> Cim:
    """Two captions of one image, for which CIDEr is not defined."""
    file = tmp_path / "several.json"
    file.write_text(json.dumps({"demo_01": ["a red bicycle", "a dog \u2028 runs"]}))
    options = ("--several", "--partial", "--metrics", "length,cider,bleu4_char", "--draws", "50")
    assert cim("eval", "--model", file, *options).code == 0
    return cim


def read(out: Path) -> tuple[dict[str, Any], list[dict[str, Any]], Path]:
    """The one aggregate record below a folder, its samples, and its path."""
    (file,) = (path for path in out.rglob("*.json"))
    log = json.loads(file.read_text())
    lines = (out / log["detailed_evaluation_results"]["file_path"]).read_bytes()
    assert hashlib.sha256(lines).hexdigest() == log["detailed_evaluation_results"]["checksum"]
    rows = [json.loads(line) for line in lines.decode().splitlines()]
    assert len(rows) == log["detailed_evaluation_results"]["total_rows"]
    return log, rows, file


def result(log: dict[str, Any], name: str) -> dict[str, Any]:
    (entry,) = (row for row in log["evaluation_results"] if row["evaluation_result_id"] == name)
    return dict(entry)


def test_eee_says_what_the_run_says(cim: Cim, tmp_path: Path) -> None:
    assert cim("export", BASELINE, "--to", "eee", "--out", tmp_path, "--organization", "A lab").code == 0
    log, rows, file = read(tmp_path)
    stored = {row["metric"]: row for row in json.loads((BASELINE / "scores.json").read_text())["scores"]}
    assert file.parent.relative_to(tmp_path).as_posix() == "data/miniscenes/unknown/mini-detailed"
    assert uuid.UUID(file.stem).version == 4 and log["source_metadata"]["source_organization_name"] == "A lab"
    f1 = result(log, "objects.f1")
    low, high = stored["objects"]["ci95"]["f1"]
    uncertainty = f1["score_details"]["uncertainty"]
    assert f1["score_details"]["score"] == stored["objects"]["values"]["f1"]
    assert (uncertainty["confidence_interval"]["lower"], uncertainty["confidence_interval"]["upper"]) == (low, high)
    assert (uncertainty["num_samples"], uncertainty["num_bootstrap_samples"]) == (500, 10_000)
    assert f1["score_details"]["details"]["signature"] == stored["objects"]["signature"]
    control = stored["objects"]["controls"]["wrong_image"]["values"]["f1"]
    assert float(f1["score_details"]["details"]["control.wrong_image"]) == control
    assert f1["generation_config"]["generation_args"]["max_tokens"] == 64

    config = {name: result(log, name)["metric_config"] for name in ("relation_qa.unparsed_rate", "length.words")}
    assert config["relation_qa.unparsed_rate"]["lower_is_better"] and not config["length.words"]["lower_is_better"]
    assert config["length.words"]["max_score"] == "Infinity" and "llm_scoring" not in config["length.words"]
    scoring = config["relation_qa.unparsed_rate"]["llm_scoring"]
    assert scoring["judges"][0]["model_info"]["name"] == "rule-judge" and "{caption}" in scoring["input_prompt"]

    assert len(rows) == 500 * len(log["evaluation_results"])
    assert {(row["evaluation_id"], row["model_id"]) for row in rows} == {
        (log["evaluation_id"], "unknown/mini-detailed")
    }
    first = next(row for row in rows if row["evaluation_result_id"] == "objects.precision")
    assert first["evaluation"] == {"score": 100.0, "is_correct": True} and first["sample_id"] == "test_000000"
    caption_row = json.loads((BASELINE / "captions.jsonl").read_text().splitlines()[0])
    assert first["output"]["raw"] == [caption_row["caption"]]
    assert first["token_usage"]["total_tokens"] == caption_row["prompt_tokens"] + caption_row["completion_tokens"]


def test_an_export_is_the_same_twice(cim: Cim, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for form in ("eee", "hub", "parquet"):
        files = list[dict[str, bytes]]()
        for name in ("first", "second"):
            out = tmp_path / form / name
            assert cim("export", BASELINE, "--to", form, "--out", out).code == 0
            files.append({str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()})
        assert files[0] == files[1] and files[0]


def test_failed_captions_and_several_of_an_image(mocked: Cim, several: Cim, tmp_path: Path) -> None:
    for name in ("mock", "several"):
        assert mocked("export", name, "--to", "eee", "--out", tmp_path / name).code == 0
    log, rows, _ = read(tmp_path / "mock")
    (row,) = (line for line in rows if line["sample_id"] == "demo_05" and line["evaluation_result_id"] == "bleu4_char")
    assert row["error"] == "the mock engine cannot read this image" and row["evaluation"]["score"] == 0
    assert row["output"] == {"raw": []} and row["answer_attribution"] == []
    details = result(log, "bleu4_char")["score_details"]["details"]
    assert (details["n_failed"], details["images"]) == ("1", "12")

    log, rows, _ = read(tmp_path / "several")
    assert [line["metadata"]["image_id"] for line in rows][::2] == ["demo_01", "demo_01"]
    assert log["eval_library"]["additional_details"]["not_computed"] == "cider"
    assert result(log, "length.words")["score_details"]["details"]["images"] == "1"
    assert "generation_config" not in result(log, "length.words")  # how a file's captions were made is not known


def test_a_judge_is_named_without_its_address() -> None:
    run = stored_run.load(BASELINE)
    settings = {"base_url": "http://box.lan:8000/v1", "model": "Qwen/Qwen3-8B", "sampling": {"temperature": 0.5}}
    run.manifest["judges"] = {"rule-judge": {"settings": settings, "engines": [{"name": "openai"}]}}
    log = eee.aggregate(run, "A lab")
    (judge,) = result(log, "relation_qa.score")["metric_config"]["llm_scoring"]["judges"]
    assert (judge["model_info"]["id"], judge["temperature"]) == ("Qwen/Qwen3-8B", 0.5)
    assert "box.lan" not in json.dumps(log)
    run.manifest["judges"]["rule-judge"]["settings"] = {"engine": "rules"}
    assert "llm_scoring" not in result(eee.aggregate(run, "A lab"), "relation_qa.score")["metric_config"]


def test_parquet_has_a_row_per_value_control_and_sample(mocked: Cim, several: Cim, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert mocked("export", "mock", "several", BASELINE, "--to", "parquet", "--out", tmp_path).code == 0
    scores = parquet.read_table(tmp_path / "scores.parquet").to_pylist()
    (floor,) = (
        row for row in scores if (row["run"], row["metric"], row["control"]) == ("mock", "bleu4_char", "wrong_image")
    )
    assert floor["score"] is not None and floor["n_failed"] is None
    (missing,) = (row for row in scores if (row["run"], row["metric"], row["value"]) == ("several", "cider", "score"))
    assert missing["score"] is None and missing["not_computed"]
    samples = parquet.read_table(tmp_path / "samples.parquet").to_pylist()
    assert len(samples) == 12 + 2 + 500
    by_id = {(row["run"], row["sample_id"]): row for row in samples}
    fifth = by_id["mock", "demo_05"]
    assert (fifth["caption"], fifth["error"], fifth["length.words"]) == (
        None,
        "the mock engine cannot read this image",
        0.0,
    )
    assert by_id["several", "demo_01#2"]["image_id"] == "demo_01" and by_id["several", "demo_01#2"]["rouge_l"] is None
    assert mocked("export", "several", "several", "--to", "parquet", "--out", tmp_path / "more").code == 0
    for name, more in (("scores", 4), ("samples", 2)):
        both = [parquet.read_table(folder / f"{name}.parquet") for folder in (tmp_path, tmp_path / "more")]
        appended = pytest.importorskip("pyarrow").concat_tables(both, promote_options="default")
        assert (appended.schema, appended.num_rows - both[0].num_rows) == (both[0].schema, more)


def test_reasons_name_no_place(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(cim, monkeypatch, captioned=1)
    for form in ("eee", "hub", "parquet"):
        assert cim("export", "mock", "--to", form, "--out", tmp_path / "out" / form).code == 0
    content = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    for place in (b"box.lan", b"/home/ann", str(cim.results).encode(), str(ROOT).encode()):
        assert place not in content
    errors = {row.get("error") for row in read(tmp_path / "out" / "eee")[1]}
    assert errors == {None, "no answer of http://… for …/a.png"}


def test_a_run_of_failures_only(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(cim, monkeypatch, captioned=0)
    for form in ("eee", "hub"):
        assert "no value to export; 12 of 12 captions" in cim.refused("export", "mock", "--to", form)
    parquet = pytest.importorskip("pyarrow.parquet")
    assert cim("export", "mock", "--to", "parquet", "--out", tmp_path).code == 0
    assert {row["error"] is None for row in parquet.read_table(tmp_path / "samples.parquet").to_pylist()} == {False}
    assert all(row["score"] is None for row in parquet.read_table(tmp_path / "scores.parquet").to_pylist())


def test_the_hub_reads_its_files(several: Cim, tmp_path: Path) -> None:
    hub_reader, yaml = pytest.importorskip("huggingface_hub"), pytest.importorskip("yaml")
    assert "OWNER/NAME" in several("export", "several", "--to", "hub", "--out", tmp_path).err
    assert several("export", "several", "--to", "hub", "--out", tmp_path, "--dataset", "lab/demo").code == 0
    folder = tmp_path / "demo" / "several"
    results = hub_reader.ModelCard.load(folder / "README.md").data.eval_results
    assert {(entry.metric_type, entry.metric_value) for entry in results} >= {("length.words", 3.0)}
    entries = yaml.safe_load((folder / ".eval_results" / "demo.yaml").read_text())
    words = next(entry for entry in hub_reader.parse_eval_result_entries(entries) if entry.task_id == "length.words")
    assert (words.dataset_id, words.value) == ("lab/demo", 3.0) and "signature: length|" in words.notes


def test_yaml_is_read_as_it_was_written() -> None:
    yaml = pytest.importorskip("yaml")
    value = {"a": [{"b: c\n": "x # y", "d": 1e-05}, {"e": [{"f": "\x85 'ü' \""}]}], "g": None, "yes": True, "n": "no"}
    again = yaml.safe_load("\n".join(hub.yaml(value)))
    assert again["a"][0]["d"] == 1e-05 and again["n"] == "no" and again["g"] is None and again[True] is True
    assert list(again["a"][0]) == ["b: c", "d"] and "ü" in again["a"][1]["e"][0]["f"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("docci500", "docci500"), ("data", "_data"), ("..", "_"), ("a/b:c", "a_b_c"), ("NUL.x", "_NUL.x"), ("a. ", "a")],
)
def test_a_folder_of_the_datastore_is_portable(name: str, expected: str) -> None:
    assert eee.component(name) == expected


def test_models_are_named_as_the_hub_names_them() -> None:
    assert facts.model_id({"checkpoint": "Qwen/Qwen3-8B"}, "mine") == "Qwen/Qwen3-8B"
    assert facts.model_id({"checkpoint": "sha256:ab"}, "mine") == "unknown/mine"
    assert facts.model_id({"checkpoint": "/home/ann/model"}, "mine") == "unknown/mine"
    assert facts.model_id({"base_url": "http://box", "model": "gpt-5"}, "mine") == "unknown/gpt-5"
    assert facts.epoch("1970-01-01T01:00:00+00:00") == facts.epoch("1970-01-01T01:00:00") == "3600"
    assert facts.epoch(None) is None


def test_what_cannot_be_exported_is_refused(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = captions_file(tmp_path / "single.jsonl", {"demo_01": "a"})
    assert cim("eval", "--model", file, "--partial", "--metrics", "cider").code == 0
    assert "no value to export" in cim.refused("export", "single", "--to", "eee")
    assert "OWNER/NAME" in cim.refused("export", BASELINE, "--to", "hub", "--dataset", "name")
    assert "--dataset" in cim.refused("export", BASELINE, "--to", "eee", "--dataset", "a/b")
    with (cim.results / "demo" / "single" / "captions.jsonl").open("a") as rows:
        rows.write('{"sample_id": "demo_02", "caption": "b"}\n')
    assert "is about captions" in cim.refused("export", "single", "--to", "parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert 'pip install "cim-harness[formats]"' in cim.refused("export", BASELINE, "--to", "parquet")
    assert not (cim.results / ".leaderboards").exists()


def test_every_eval_ever_accepts_the_records(mocked: Cim, several: Cim, tmp_path: Path) -> None:
    """Its own validator, where ``EEE_PYTHON`` names a Python that has it."""
    python = os.environ.get("EEE_PYTHON")
    if not python:
        pytest.skip("Every Eval Ever's validator: set EEE_PYTHON to a Python with the package every-eval-ever")
    assert mocked("export", "mock", "several", BASELINE, "--to", "eee", "--out", tmp_path).code == 0
    command = [python, "-m", "every_eval_ever", "validate", "--format", "json", f"{tmp_path}/data/*/*/*/*.json*"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
