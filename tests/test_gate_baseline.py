"""`python -m leaderboards baseline` moves the baseline; the committed one is small, whole, of no machine."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from harness.runs import stored_run
from leaderboards import gate
from tests.boards import Boards
from tests.cli import Cim
from tests.conftest import ROOT
from tests.edits import Edit, document

COMMITTED = gate.BASELINES / "miniscenes" / "mini-detailed"
FILES = {"manifest.json", "captions.jsonl", "per_sample.jsonl", "statistics.jsonl", "scores.json"}


def _git(dirty: bool) -> Edit:
    return document("manifest.json", lambda c: c["made_by"].update(git={"commit": "0" * 40, "dirty": dirty}))


@pytest.fixture
def folder(cim: Cim) -> Path:
    """A run made by committed code, as its manifest says."""
    assert cim("eval", "--model", "demo-terse", "--metrics", "bleu4_char,length").code == 0
    _git(dirty=False)(cim.results / "demo" / "demo-terse")
    return cim.results / "demo" / "demo-terse"


def test_a_baseline_is_what_the_gate_needs_and_compares_with_its_run(
    cim: Cim, boards: Boards, folder: Path, tmp_path: Path
) -> None:
    result = boards("baseline", "demo-terse", "--into", tmp_path / "kept")
    assert result.code == 0 and "length words: new, 7.67" in result.out
    baseline = tmp_path / "kept" / "demo" / "demo-terse"
    assert {path.name for path in baseline.iterdir()} == FILES
    assert f"wrote {sum(path.stat().st_size for path in baseline.iterdir()):,} bytes" in result.out
    checked = boards("check", "demo-terse", "--baseline", baseline)
    assert checked.code == 0 and "settings that differ" not in checked.out
    content = "".join(path.read_text() for path in baseline.iterdir())
    assert str(cim.results) not in content and str(ROOT) not in content
    kept = json.loads((baseline / "manifest.json").read_text())
    assert not {"origin", "started", "ended"} & kept.keys() and not {"platform", "cpus"} & kept["made_by"].keys()


def test_moving_says_what_changes_and_keeps_the_metrics(cim: Cim, boards: Boards, folder: Path, tmp_path: Path) -> None:
    into = ("--into", tmp_path / "kept")
    assert boards("baseline", "demo-terse", "--metrics", "length", *into).code == 0
    document("scores.json", lambda c: c["scores"][0]["values"].update(words=9.5))(tmp_path / "kept/demo/demo-terse")
    before = (tmp_path / "kept" / "demo" / "demo-terse" / "scores.json").read_bytes()
    dry = boards("baseline", "demo-terse", "--dry-run", *into)
    assert dry.code == 0 and "nothing written" in dry.out
    assert (tmp_path / "kept" / "demo" / "demo-terse" / "scores.json").read_bytes() == before
    moved = boards("baseline", "demo-terse", *into)
    assert "length words: 9.50 -> 7.67" in moved.out
    document("scores.json", lambda c: c["scores"][0]["values"].update(words=None))(tmp_path / "kept/demo/demo-terse")
    assert "length words: undefined -> 7.67" in boards("baseline", "demo-terse", "--dry-run", *into).out
    assert "of the run, not taken: bleu4_char (--metrics takes them)" in moved.out
    held = json.loads((tmp_path / "kept" / "demo" / "demo-terse" / "scores.json").read_text())["scores"]
    assert [row["metric"] for row in held] == ["length"]
    rows = (tmp_path / "kept" / "demo" / "demo-terse" / "per_sample.jsonl").read_text()
    assert "bleu4_char" not in rows and "words" in rows
    other = boards("baseline", "demo-terse", "--metrics", "bleu4_char", *into)
    assert "length: dropped" in other.out and "bleu4_char score: new" in other.out


def test_a_metric_of_the_baseline_is_not_lost_by_accident(
    cim: Cim, boards: Boards, folder: Path, tmp_path: Path
) -> None:
    into = ("--into", tmp_path / "kept")
    assert boards("baseline", "demo-terse", *into).code == 0
    document("scores.json", lambda c: c["scores"].pop(0))(folder)
    assert "the run lacks bleu4_char" in boards.refused("baseline", "demo-terse", *into)
    assert boards("baseline", "demo-terse", "--metrics", "length", *into).code == 0


REFUSED: dict[str, tuple[Edit, str]] = {
    "dirty": (_git(dirty=True), "made by uncommitted code"),
    "incomplete": (document("manifest.json", lambda c: c.update(status="captioned")), "the run is not complete"),
    "damaged": (document("scores.json", lambda c: c["scores"][0]["values"].update(score=1)), "the run is damaged"),
    "two builds": (
        document("manifest.json", lambda c: c.update(other_engines=[{"name": "vllm"}])),
        "made in several parts",
    ),
    "a task that is a path": (
        document("manifest.json", lambda c: c["settings"]["task"].update(name="../../x")),
        "unknown task '../../x'",
    ),
}


@pytest.mark.parametrize("edit", REFUSED)
def test_what_should_not_become_a_baseline_is_refused(boards: Boards, folder: Path, tmp_path: Path, edit: str) -> None:
    change, expected = REFUSED[edit]
    change(folder)
    assert expected in boards.refused("baseline", folder, "--into", tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_a_dry_run_tells_what_would_be_refused(boards: Boards, folder: Path, tmp_path: Path) -> None:
    _git(dirty=True)(folder)
    result = boards("baseline", "demo-terse", "--dry-run", "--into", tmp_path / "kept")
    assert result.code == 0 and "would be refused: made by uncommitted code" in result.err


def test_the_committed_baseline_is_small_whole_and_of_no_machine() -> None:
    run = stored_run.load(COMMITTED)
    gate.check_valid(run, "the baseline")
    assert {path.name for path in COMMITTED.iterdir()} == FILES
    assert sum(path.stat().st_size for path in COMMITTED.iterdir()) < 1_000_000
    assert run.manifest["made_by"]["git"]["dirty"] is False and run.failed == 0
    assert len(run.per_sample) == 500 and len(run.computed) == 14
    for path in COMMITTED.iterdir():
        text = path.read_text()
        assert not re.search(r'"(/|~|[A-Za-z]:\\)', text), path  # no text begins like a path
        assert os.uname().nodename not in text and str(Path.home()) not in text and "://" not in text
