"""`cim verify` finds every edit: scores, intervals, rows, captions, manifest."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness import store
from harness.command import cli
from tasks.miniscenes import samples
from tests.cli import Cim, captions_file
from tests.edits import Edit, document, rows


def _rescored(folder: Path) -> None:
    """A better caption, and scores that follow from it: only the manifest still knows."""
    rows("captions.jsonl", lambda listed: listed[4].update(caption="something better"))(folder)
    assert cli.main(["score", "--model", "demo-terse", "--results", str(folder.parent.parent)]) == 0


EDITS: dict[str, Edit] = {
    "a value": document("scores.json", lambda c: c["scores"][0]["values"].update(score=77.0)),
    "an interval": document("scores.json", lambda c: c["scores"][0]["ci95"]["score"].__setitem__(0, 1.0)),
    "a control": document(
        "scores.json", lambda c: c["scores"][0]["controls"]["wrong_image"]["values"].update(score=1.0)
    ),
    "n": document("scores.json", lambda c: c["scores"][0].update(n=500)),
    "failed captions": document("scores.json", lambda c: c["scores"][0].update(n_failed=1)),
    "a signature": document("scores.json", lambda c: c["scores"][0].update(signature="bleu4|v:2")),
    "the captions' digest": document("scores.json", lambda c: c.update(captions="0" * 12)),
    "the manifest's status": document("manifest.json", lambda c: c.update(status="running")),
    "the manifest's data": document("manifest.json", lambda c: c["settings"]["task"].update(data="0" * 12)),
    "the manifest's count": document("manifest.json", lambda c: c["settings"]["samples"].update(n=11)),
    "a caption, scored again": _rescored,
    "a sample too many": rows("per_sample.jsonl", lambda listed: listed.append({**listed[0], "sample_id": "zzz"})),
    "a row without sample": rows("per_sample.jsonl", lambda listed: listed.append({"length": {"words": 1}})),
    "a caption": rows("captions.jsonl", lambda listed: listed[4].update(caption="something better")),
    "a caption removed": rows("captions.jsonl", lambda listed: listed.pop()),
    "a caption twice": rows("captions.jsonl", lambda listed: listed.append(listed[0])),
    "a foreign caption": rows("captions.jsonl", lambda listed: listed.append({**listed[0], "sample_id": "demo_99"})),
    "a value a sample": rows("per_sample.jsonl", lambda listed: listed[2]["bleu4_char"].update(score=99.0)),
    "a row a sample removed": rows("per_sample.jsonl", lambda listed: listed.pop()),
    "statistics": rows("statistics.jsonl", lambda listed: listed[2]["bleu4"].__setitem__(2, 50)),
    "a value that is no number": document("scores.json", lambda c: c["scores"][0]["values"].update(score="high")),
    "scores that are no list": document("scores.json", lambda c: c.update(scores={"bleu4": 100})),
    "a score that is no object": document("scores.json", lambda c: c["scores"].append(7)),
    "no interval": document("scores.json", lambda c: c.pop("interval")),
    "no settings": document("manifest.json", lambda c: c.pop("settings")),
    "another task in the scores": document("scores.json", lambda c: c.update(task="docci500")),
    "another name in the scores": document("scores.json", lambda c: c.update(model="somebody-else")),
    "another format": document("scores.json", lambda c: c.update(format=2)),
    "another seed": document("scores.json", lambda c: c["interval"].update(seed=1)),
    "another method": document("scores.json", lambda c: c["interval"].update(method="exact")),
    "fewer draws": document("scores.json", lambda c: c["interval"].update(draws=10)),
    "draws for days": document("scores.json", lambda c: c["interval"].update(draws=10**12)),
    "draws below 0": document("scores.json", lambda c: c["interval"].update(draws=-1)),
    "a metric twice": document(
        "scores.json", lambda c: c["scores"].append({**c["scores"][0], "values": {"score": 99.0}})
    ),
    "a metric removed": document("scores.json", lambda c: c["scores"].pop()),
    "a metric said not to be computed": document("scores.json", lambda c: c["scores"][0].update(not_computed="no")),
    "a count": document("scores.json", lambda c: c["scores"][0].update(counts={"skipped": 1})),
    "a value more": document("scores.json", lambda c: c["scores"][0]["values"].update(f1=99.0)),
    "a value that is NaN": document("scores.json", lambda c: c["scores"][0]["values"].update(score=float("nan"))),
    "the manifest's digest": document("manifest.json", lambda c: c.update(captions="0" * 12)),
    "the manifest's data files": document("manifest.json", lambda c: c["files"].update({"demo.json": "0" * 64})),
    "the manifest's prompt": document("manifest.json", lambda c: c.update(prompt="Say everything.")),
    "the manifest's samples": document("manifest.json", lambda c: c["settings"]["samples"].update(ids="0" * 8)),
    "the manifest's limit": document("manifest.json", lambda c: c["settings"]["samples"].update(limit=5)),
    "the manifest's version": document("manifest.json", lambda c: c["settings"]["task"].update(version="9")),
    "a caption that failed": rows("captions.jsonl", lambda listed: listed[4].update(caption=None, error="no answer")),
    "a metric in the rows alone": rows(
        "per_sample.jsonl", lambda listed: [r.update(cider={"score": 9}) for r in listed]
    ),
    "details": rows("details.jsonl", lambda listed: listed[0].update(objects={"elements": []})),
    "an unknown task": document("manifest.json", lambda c: c["settings"]["task"].update(name="nowhere")),
    "an unknown metric": document("scores.json", lambda c: c["scores"][0].update(metric="nothing")),
    "a model setting": document("manifest.json", lambda c: c["settings"].update(extra=1)),
    "an empty manifest": lambda folder: (folder / "manifest.json").write_text("{}"),
    "a manifest that is no JSON": lambda folder: (folder / "manifest.json").write_text("{"),
    "rows that are no JSON": lambda folder: (folder / "per_sample.jsonl").write_text("{\n"),
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
    rows = [{**row, "value": "a b c d"} for row in store.read_rows(cache)]
    store.write_rows(cache, rows, sealed=True)  # whole rows of another content: only the texts themselves contradict
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


def test_what_names_the_machine_may_be_deleted(cim: Cim, folder: Path) -> None:
    document("manifest.json", lambda c: [c.pop(name) for name in ("origin", "made_by", "started", "ended")])(folder)
    assert cim("verify", folder).code == 0


JUDGED: dict[str, Edit] = {
    "a reply": rows("replies.relation_qa.rule-judge.jsonl", lambda listed: listed[0].update(reply="1: Yes, 2: Yes")),
    "a reply removed": rows("replies.relation_qa.rule-judge.jsonl", lambda listed: listed.pop()),
    "an element": rows("details.jsonl", lambda listed: listed[0]["objects"]["elements"].pop()),
    "a judged fact": rows("judged.jsonl", lambda listed: listed[0]["relation_qa"][0].__setitem__(1, "unread")),
    "a verdict": rows("details.jsonl", lambda listed: listed[0]["relation_qa"]["verdicts"].__setitem__(0, "n/a")),
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
