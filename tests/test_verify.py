"""`cim verify` finds every edit: scores, intervals, rows, captions, manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import cli
from tasks.miniscenes import samples
from tests.cli import Cim, captions_file

Edit = Callable[[Path], None]


def _document(name: str, change: Callable[[dict[str, Any]], None]) -> Edit:
    def edit(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return edit


def _rows(name: str, change: Callable[[list[dict[str, Any]]], None]) -> Edit:
    def edit(folder: Path) -> None:
        rows = [json.loads(line) for line in (folder / name).read_text().splitlines()]
        change(rows)
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    return edit


def _rescored(folder: Path) -> None:
    """A better caption, and scores that follow from it: only the manifest still knows."""
    _rows("captions.jsonl", lambda rows: rows[4].update(caption="something better"))(folder)
    assert cli.main(["score", "--model", "demo-terse", "--results", str(folder.parent.parent)]) == 0


EDITS: dict[str, Edit] = {
    "a value": _document("scores.json", lambda c: c["scores"][0]["values"].update(score=77.0)),
    "an interval": _document("scores.json", lambda c: c["scores"][0]["ci95"]["score"].__setitem__(0, 1.0)),
    "a control": _document(
        "scores.json", lambda c: c["scores"][0]["controls"]["wrong_image"]["values"].update(score=1.0)
    ),
    "n": _document("scores.json", lambda c: c["scores"][0].update(n=500)),
    "failed captions": _document("scores.json", lambda c: c["scores"][0].update(n_failed=1)),
    "a signature": _document("scores.json", lambda c: c["scores"][0].update(signature="bleu4|v:2")),
    "the captions' digest": _document("scores.json", lambda c: c.update(captions="0" * 12)),
    "the manifest's status": _document("manifest.json", lambda c: c.update(status="running")),
    "the manifest's data": _document("manifest.json", lambda c: c["settings"]["task"].update(data="0" * 12)),
    "the manifest's count": _document("manifest.json", lambda c: c["settings"]["samples"].update(n=11)),
    "a caption, scored again": _rescored,
    "a sample too many": _rows("per_sample.jsonl", lambda rows: rows.append({**rows[0], "sample_id": "zzz"})),
    "a row without sample": _rows("per_sample.jsonl", lambda rows: rows.append({"length": {"words": 1}})),
    "a caption": _rows("captions.jsonl", lambda rows: rows[4].update(caption="something better")),
    "a caption removed": _rows("captions.jsonl", lambda rows: rows.pop()),
    "a caption twice": _rows("captions.jsonl", lambda rows: rows.append(rows[0])),
    "a foreign caption": _rows("captions.jsonl", lambda rows: rows.append({**rows[0], "sample_id": "demo_99"})),
    "a value a sample": _rows("per_sample.jsonl", lambda rows: rows[2]["bleu4_char"].update(score=99.0)),
    "a row a sample removed": _rows("per_sample.jsonl", lambda rows: rows.pop()),
    "statistics": _rows("statistics.jsonl", lambda rows: rows[2]["bleu4"].__setitem__(2, 50)),
    "a value that is no number": _document("scores.json", lambda c: c["scores"][0]["values"].update(score="high")),
    "scores that are no list": _document("scores.json", lambda c: c.update(scores={"bleu4": 100})),
    "a score that is no object": _document("scores.json", lambda c: c["scores"].append(7)),
    "no interval": _document("scores.json", lambda c: c.pop("interval")),
    "no settings": _document("manifest.json", lambda c: c.pop("settings")),
    "another task in the scores": _document("scores.json", lambda c: c.update(task="docci500")),
    "another name in the scores": _document("scores.json", lambda c: c.update(model="somebody-else")),
    "another format": _document("scores.json", lambda c: c.update(format=2)),
    "another seed": _document("scores.json", lambda c: c["interval"].update(seed=1)),
    "another method": _document("scores.json", lambda c: c["interval"].update(method="exact")),
    "fewer draws": _document("scores.json", lambda c: c["interval"].update(draws=10)),
    "draws for days": _document("scores.json", lambda c: c["interval"].update(draws=10**12)),
    "draws below 0": _document("scores.json", lambda c: c["interval"].update(draws=-1)),
    "a metric twice": _document(
        "scores.json", lambda c: c["scores"].append({**c["scores"][0], "values": {"score": 99.0}})
    ),
    "a metric removed": _document("scores.json", lambda c: c["scores"].pop()),
    "a metric said not to be computed": _document("scores.json", lambda c: c["scores"][0].update(not_computed="no")),
    "a count": _document("scores.json", lambda c: c["scores"][0].update(counts={"skipped": 1})),
    "a value more": _document("scores.json", lambda c: c["scores"][0]["values"].update(f1=99.0)),
    "a value that is NaN": _document("scores.json", lambda c: c["scores"][0]["values"].update(score=float("nan"))),
    "the manifest's digest": _document("manifest.json", lambda c: c.update(captions="0" * 12)),
    "the manifest's data files": _document("manifest.json", lambda c: c["files"].update({"demo.json": "0" * 64})),
    "the manifest's prompt": _document("manifest.json", lambda c: c.update(prompt="Say everything.")),
    "the manifest's samples": _document("manifest.json", lambda c: c["settings"]["samples"].update(ids="0" * 8)),
    "the manifest's limit": _document("manifest.json", lambda c: c["settings"]["samples"].update(limit=5)),
    "the manifest's version": _document("manifest.json", lambda c: c["settings"]["task"].update(version="9")),
    "a caption that failed": _rows("captions.jsonl", lambda rows: rows[4].update(caption=None, error="no answer")),
    "a metric in the rows alone": _rows("per_sample.jsonl", lambda rows: [r.update(cider={"score": 9}) for r in rows]),
    "details": _rows("details.jsonl", lambda rows: rows[0].update(objects={"elements": []})),
    "an unknown task": _document("manifest.json", lambda c: c["settings"]["task"].update(name="nowhere")),
    "an unknown metric": _document("scores.json", lambda c: c["scores"][0].update(metric="nothing")),
    "a model setting": _document("manifest.json", lambda c: c["settings"].update(extra=1)),
    "an empty manifest": lambda folder: (folder / "manifest.json").write_text("{}"),  # type: ignore[dict-item, return-value]
    "a manifest that is no JSON": lambda folder: (folder / "manifest.json").write_text("{"),  # type: ignore[dict-item, return-value]
    "rows that are no JSON": lambda folder: (folder / "per_sample.jsonl").write_text("{\n"),  # type: ignore[dict-item, return-value]
    "scores removed": lambda folder: (folder / "scores.json").unlink(),
}


@pytest.fixture
def folder(cim: Cim) -> Path:
    assert cim("eval", "--model", "demo-terse", "--metrics", "bleu4,bleu4_char,length").code == 0
    return cim.results / "demo" / "demo-terse"


def test_a_whole_run_passes(cim: Cim, folder: Path) -> None:
    checks = cim("verify", folder, "--json").json
    assert len(checks) >= 8 and {check["result"] for check in checks} == {"ok"}
    assert cim("verify", "demo-terse").code == 0


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_found(cim: Cim, folder: Path, edit: str) -> None:
    EDITS[edit](folder)
    result = cim("verify", folder)
    assert result.code == 1 and "failed" in result.out, result


def test_a_poisoned_cache_is_not_believed(cim: Cim, folder: Path) -> None:
    (cache,) = (cim.results / ".cache" / "parses").glob("ptb-*.jsonl")
    lines = [json.loads(line) for line in cache.read_text().splitlines()]
    cache.write_text("".join(json.dumps({**line, "value": "a b c d"}, separators=(",", ":")) + "\n" for line in lines))
    cim("score", "--model", "demo-terse", "--metrics", "bleu4")
    result = cim("verify", folder)
    assert result.code == 1 and "bleu4" in result.out


def test_other_draws_replace_earlier_scores(cim: Cim, folder: Path) -> None:
    cim("score", "--model", "demo-terse", "--metrics", "length", "--draws", "0")
    assert cim("verify", folder).code == 0


def test_a_run_that_is_not_there(cim: Cim) -> None:
    assert "no stored run" in cim.refused("verify", "nobody")


def test_a_run_is_checked_wherever_it_lies(cim: Cim, folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "submitted" / "demo-terse"
    shutil.copytree(folder, moved)
    shutil.rmtree(cim.results)
    assert cim("verify", moved).code == 0
    EDITS["a caption"](moved)
    assert cim("verify", moved).code == 1


JUDGED: dict[str, Edit] = {
    "a reply": _rows("replies.relation_qa.rule-judge.jsonl", lambda rows: rows[0].update(reply="1: Yes, 2: Yes")),
    "a reply removed": _rows("replies.relation_qa.rule-judge.jsonl", lambda rows: rows.pop()),
    "an element": _rows("details.jsonl", lambda rows: rows[0]["objects"]["elements"].pop()),
    "a verdict": _rows("details.jsonl", lambda rows: rows[0]["relation_qa"]["verdicts"].__setitem__(0, "n/a")),
}


@pytest.mark.parametrize("edit", [None, *JUDGED])
def test_an_edit_of_what_a_judge_said_is_found(cim: Cim, tmp_path: Path, edit: str | None) -> None:
    captions = {sample.id: sample.references[0] for sample in samples.load(samples.FILE.parent)[:5]}
    path = captions_file(tmp_path / "few.jsonl", captions)
    assert cim("eval", "--model", path, "--partial", "--metrics", "objects,relation_qa").code == 0
    folder = cim.results / "miniscenes" / "few"
    if edit is None:
        assert cim("verify", folder).code == 0
    else:
        JUDGED[edit](folder)
        result = cim("verify", folder)
        assert result.code == 1 and "failed" in result.out
