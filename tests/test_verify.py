"""`cim verify` finds every edit: scores, intervals, rows, captions, manifest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import cli
from tests.cli import Cim

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
