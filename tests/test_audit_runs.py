"""The audit's command, and its checks of stored runs: a number edited by hand is found, whatever file it stands in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import registry, store
from harness.resources import data
from leaderboards import audit
from leaderboards.audit import record
from tests import paper_runs
from tests.boards import Boards
from tests.cli import Cim
from tests.conftest import ROOT

NAMES = ("qwen2-vl-7b", "gemini-1.5")
RUN = Path("docci500") / "qwen2-vl-7b"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    paper_runs.make(results, n=40, names=NAMES)
    return results


@pytest.fixture
def boards(two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Boards:
    shutil.copytree(two, tmp_path / "results")
    return Boards(tmp_path / "results", capsys)


def verdicts(boards: Boards, *arguments: str | Path) -> dict[tuple[str, str], dict[str, Any]]:
    done = boards("audit", *arguments, "--json")
    assert done.code == 0
    return {(check["id"], check.get("run", "")): check for check in done.json["checks"]}


def edit(path: Path, change: Callable[[Any], None]) -> None:
    """Change a JSON document, or every row of a JSONL file."""
    if path.suffix == ".json":
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))
        return
    rows = store.read_rows(path)
    for row in rows:
        change(row)
    store.write_rows(path, rows)


def test_runs_as_they_are_made_hold(boards: Boards) -> None:
    by_check = verdicts(boards, "--runs")
    assert {check["verdict"] for key, check in by_check.items() if key[0] != "A-6"} == {record.HOLDS}
    assert {run for _, run in by_check if run} == {
        "coco_ln500/qwen2-vl-7b",
        "docci500/qwen2-vl-7b",
        "docci500/gemini-1.5",
    }
    counted = by_check["A-3", "docci500/gemini-1.5"]["recomputed"]["counts"]["relation_qa"]
    assert counted["total"] == 200 and 0 < counted["correct"] < 200


@pytest.mark.parametrize(
    ("metric", "value", "checks"),
    [
        ("capture@cim", "score", {"A-1"}),
        ("relation_qa", "score", {"A-1", "A-3"}),
        ("relation_qa", "score_tolerant", {"A-1", "A-3"}),
        ("objects@compat", "recall", {"A-1"}),
    ],
)
def test_a_score_edited_by_hand_is_found(metric: str, value: str, checks: set[str], boards: Boards) -> None:
    def change(document: Any) -> None:
        (entry,) = [score for score in document["scores"] if score["metric"] == metric]
        entry["values"][value] += 0.01

    edit(boards.results / RUN / "scores.json", change)
    by_check = verdicts(boards, str(boards.results / RUN))
    assert {key[0] for key, check in by_check.items() if check["verdict"] == record.FAILS} == checks
    assert f"{metric} {value}" in by_check["A-1", RUN.as_posix()]["recomputed"]["faults"][0]


def test_an_f1_over_its_bound_is_found_in_rows_and_in_the_mean(boards: Boards) -> None:
    def change(row: Any) -> None:
        row["attributes@compat"]["f1"] += 10

    def change_mean(document: Any) -> None:
        (entry,) = [score for score in document["scores"] if score["metric"] == "attributes@compat"]
        entry["values"]["f1"] += 10

    edit(boards.results / RUN / "per_sample.jsonl", change)
    edit(boards.results / RUN / "scores.json", change_mean)
    check = verdicts(boards, str(boards.results / RUN))["A-4", RUN.as_posix()]
    assert check["verdict"] == record.FAILS and len(check["recomputed"]["faults"]) == 2
    assert check["recomputed"]["attributes@compat"]["over"] == 40
    assert check["recomputed"]["objects@compat"]["over"] == 0


def test_counts_that_are_no_counts_are_found(boards: Boards) -> None:
    def halve(row: Any) -> None:
        row["relation_qa"][0] += 0.5

    edit(boards.results / RUN / "statistics.jsonl", halve)
    check = verdicts(boards, str(boards.results / RUN))["A-3", RUN.as_posix()]
    assert check["verdict"] == record.FAILS and "0 of 40 images have integer counts" in check["recomputed"]["faults"][0]


def test_rows_that_are_gone_are_a_fault_and_no_crash(boards: Boards) -> None:
    (boards.results / RUN / "statistics.jsonl").write_text("")
    (boards.results / RUN / "per_sample.jsonl").write_text("")
    by_check = verdicts(boards, str(boards.results / RUN))
    assert by_check["A-1", RUN.as_posix()]["verdict"] == record.FAILS
    assert "score files lack numbers" in by_check["A-1", RUN.as_posix()]["recomputed"]["faults"][0]
    assert by_check["A-3", RUN.as_posix()]["verdict"] == record.FAILS


@pytest.mark.parametrize(
    "given", [float("nan"), float("inf"), "34", None, 10**400, [1]], ids=lambda given: str(given)[:5]
)
def test_what_is_no_number_is_a_fault_and_no_crash(given: object, boards: Boards) -> None:
    def change(document: Any) -> None:
        for score in document["scores"]:
            score["values"] = dict.fromkeys(score["values"], given)

    def change_counts(row: Any) -> None:
        row["relation_qa"] = [given] * 9

    edit(boards.results / RUN / "scores.json", change)
    by_check = verdicts(boards, "--runs", "--task", "docci500")
    assert [by_check[check, RUN.as_posix()]["verdict"] for check in ("A-1", "A-3", "A-4")] == [record.FAILS] * 3
    if not isinstance(given, float):
        edit(boards.results / RUN / "statistics.jsonl", change_counts)
        assert verdicts(boards, str(boards.results / RUN))["A-3", RUN.as_posix()]["verdict"] == record.FAILS


def test_a_metric_that_is_not_known_here_is_a_fault_and_no_crash(boards: Boards) -> None:
    def change(document: Any) -> None:
        document["scores"][0]["metric"] = "no_such"

    edit(boards.results / RUN / "scores.json", change)
    check = verdicts(boards, str(boards.results / RUN))["A-1", RUN.as_posix()]
    assert check["recomputed"]["faults"] == ["no_such: unknown metric 'no_such'"]


def test_a_whole_run_on_the_benchmarks_files_has_all_its_questions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said only of runs made on the task's own files: this one claims to be, and has 2,500 questions of 2,481."""
    paper_runs.make(tmp_path, names=["gemini-1.5"])

    def claim(manifest: Any) -> None:
        manifest["settings"]["task"]["data"] = data.fingerprint(registry.task("docci500"))

    fresh, key = Boards(tmp_path, capsys), ("A-3", "docci500/gemini-1.5")
    assert verdicts(fresh, "gemini-1.5")[key]["verdict"] == record.HOLDS
    edit(tmp_path / "docci500" / "gemini-1.5" / "manifest.json", claim)
    assert verdicts(fresh, "gemini-1.5")[key]["recomputed"]["faults"] == [
        "relation_qa: 2500 questions, docci500 has 2481"
    ]


def test_values_that_runs_share_are_listed(boards: Boards) -> None:
    shutil.copytree(boards.results / RUN, boards.results / "docci500" / "copy")
    recomputed = verdicts(boards, "--runs", "--task", "docci500")["A-6", ""]["recomputed"]
    shared = [row for row in recomputed["shared values"] if row["metric"] == "capture@cim"]
    assert [row["runs"] for row in shared] == [["copy", "qwen2-vl-7b"]]


def test_real_runs_hold(cim: Cim, capsys: pytest.CaptureFixture[str]) -> None:
    assert cim("eval", "--model", "demo-terse", "--metrics", "bleu4,bleu4_char,length").code == 0
    by_check = verdicts(Boards(cim.results, capsys), "demo-terse")
    assert by_check["A-1", "demo/demo-terse"]["verdict"] == record.HOLDS
    assert by_check["A-3", "demo/demo-terse"]["verdict"] == record.UNDEFINED


def test_the_published_tables_are_audited_alike_each_time(boards: Boards) -> None:
    first = boards("audit")
    folder = boards.results / audit.FOLDER
    written = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert first.code == 0 and set(written) == {"audit.json", "audit.md"}
    assert boards("audit").out == first.out
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == written
    records = json.loads(written["audit.json"])["checks"]
    assert [check["id"] for check in records] == [f"A-{number}" for number in (*range(1, 15), 18, 19, 20)]
    fields = {"id", "what", "inputs", "formula", "tolerance", "claimed", "recomputed", "verdict", "found"}
    assert all(check.keys() == fields for check in records)
    assert boards("audit", "--json").json == json.loads(written["audit.json"])
    assert str(boards.results) not in written["audit.json"].decode() + written["audit.md"].decode()


def test_the_page_shows_the_verdicts_that_were_computed(boards: Boards) -> None:
    page = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    lines = [line for line in boards("audit").out.splitlines() if line.startswith("| A-")]
    assert len(lines) == 17 and all(line in page for line in lines)
    checks = {key[0]: check for key, check in verdicts(boards).items()}
    page = " ".join(page.split())
    gains = checks["A-7"]["recomputed"]
    missed = [column for column, gain in gains.items() if gain.get("matches") is False]
    assert missed == ["capture", "obj_f1", "attr_f1", "rel_qa"]
    given, stated = (
        [f"{x:.1f}" for x in claim]
        for claim in (
            [gains[column]["larger, points"] for column in missed],
            [checks["A-7"]["claimed"][column] for column in missed],
        )
    )
    assert f"{', '.join(given[:3])} and {given[3]} where {', '.join(stated[:3])} and {stated[3]} are stated" in page
    (wrong,) = checks["A-4"]["recomputed"]
    cells = ", ".join(f"{name} {text}" for name, text in wrong["as_printed"].items())
    assert f"{wrong['row']}, Objects: {cells}) is above its bound of {wrong['bounds'][1]:.2f}" in page
    larger, own_base = (checks["A-8"]["recomputed"][name] for name in ("larger sibling", "own base"))
    assert sum("InternVL2, DOCCI500" in gain["losses"] for gain in larger.values()) == 6
    assert {c: 10 - gain["wins"] for c, gain in own_base.items() if gain["wins"] < 10} == {"obj_p": 8, "attr_p": 2}


def test_mistakes_are_told_in_one_line(boards: Boards, tmp_path: Path) -> None:
    assert "no stored run 'nobody'" in boards.refused("audit", "nobody")
    assert "say --task" in boards.refused("audit", "qwen2-vl-7b")
    (tmp_path / "x.csv").write_text("what")
    assert "x.csv: no row below the column names" in boards.refused("audit", str(tmp_path / "x.csv"))
    (boards.results / RUN / "scores.json").write_text("{")
    assert "is not JSON" in boards.refused("audit", str(boards.results / RUN))
    assert "one or the other" in boards.refused("audit", "--runs", str(tmp_path / "x.csv"))
