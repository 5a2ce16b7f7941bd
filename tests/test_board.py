"""The board: what stands on it, the same bytes each time, groups apart, foreign text inert, its own files removed."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from harness import registry, store
from harness.pages import report, scores
from harness.runs import records, stats, stored_run
from leaderboards import __main__ as face
from leaderboards import standings
from leaderboards.board import tables
from leaderboards.board.about import About
from leaderboards.board.about import about as about_run
from tests import board_runs, synthetic_runs
from tests.boards import measured
from tests.cli import Cim, captions_file
from tests.conftest import ROOT
from tests.test_report import Page


def board(*arguments: str | Path) -> int:
    return face.main(["board", *map(str, arguments)])


def pages(site: Path) -> dict[str, str]:
    """Every page of a site by its path."""
    return {str(path.relative_to(site)): path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))}


def rows(html: str, at: int = 0) -> list[list[str]]:
    """The text of each cell of each run's row in one table of a task's page."""
    body = re.findall(r'<tbody class="runs">(.*?)</tbody>', html, re.DOTALL)[at]
    lines = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line, re.DOTALL) for line in lines]
    return [[" ".join(Page(cell.replace("<span", " <span")).text.split()) for cell in line] for line in cells]


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return board_runs.make(tmp_path_factory.mktemp("results"))


@pytest.fixture
def results(synthetic: Path, tmp_path: Path) -> Path:
    """Five synthetic systems on both benchmarks, to be changed by the test."""
    return Path(shutil.copytree(synthetic, tmp_path / "results"))


def test_a_page_a_task_and_a_page_a_run(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = results / ".leaderboards" / "board"
    assert board("--results", results) == 0
    assert capsys.readouterr().out == f"10 runs on 2 tasks; to look at: {site / 'index.html'}\n"
    listing = pages(site)
    names = [f"runs/{task}/system-0{at}.html" for task in synthetic_runs.TASKS for at in range(5)]
    assert set(listing) == {"index.html", "coco_ln500.html", "docci500.html", *names}
    assert board("--results", results, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["pages"] == 13 and told["tasks"]["docci500"] == {"runs": 5, "tables": 1} and told["left_out"] == []
    assert stored_run.load_all(results, lambda line: pytest.fail(line), "runs") == []


def test_every_link_leads_somewhere(results: Path, tmp_path: Path) -> None:
    odd = results / "docci500" / "100% a#b?c 'd' é"
    (results / "docci500" / "system-03").rename(odd)
    board_runs.edit(results / "docci500" / "system-01", lambda row: row.update(signature=row["signature"] + "|x:1"))
    (odd / "report.html").write_text("a report")
    for site, linked in ((results / ".leaderboards" / "board", 1), (tmp_path / "elsewhere", 0)):
        assert board("--results", results, "--out", site) == 0
        reports = 0
        for name, html in pages(site).items():
            ids = set(re.findall(r'\bid="([^"]+)"', html))
            for address in re.findall(r'href="([^"]+)"', html):
                if address.startswith("#"):
                    assert address[1:] in ids, (name, address)
                elif address != "data:,":
                    target = site / Path(name).parent / unquote(address)
                    assert target.is_file(), (name, address)
                    reports += target.read_text() == "a report"
        assert reports == linked
    assert not re.search(re.escape(str(tmp_path)), "".join(pages(tmp_path / "elsewhere").values()))


def test_the_page_of_a_run_is_that_of_its_folder(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same cards and numbers, with ranks; too many pictures or samples for a site are left out."""
    captions = {f"test_{number:06d}": "a red dog left of a cube ." for number in range(24)}
    arguments = ("--model", captions_file(tmp_path / "dogs.jsonl", captions), "--task", "miniscenes", "--partial")
    assert cim("eval", *arguments, "--metrics", "bleu4_char,length").code == 0
    in_folder = (cim.results / "miniscenes" / "dogs" / "report.html").read_text()

    def built() -> str:
        assert board("--results", cim.results, "--out", tmp_path / "site") == 0
        return (tmp_path / "site" / "runs" / "miniscenes" / "dogs.html").read_text()

    def cards(html: str) -> str:
        return html[html.index("<article") : html.rindex("</article>")]

    assert cards(built()) == cards(in_folder) and in_folder.count("data:image/png") == 24
    for cell in re.findall(r'<td class="number[^"]*">[^<]+</td>', in_folder):
        assert cell in built()
    assert "1 of 1" in built() and "1 of 1" not in in_folder
    monkeypatch.setattr("leaderboards.board.site.PICTURES", 1000)
    assert "data:image" not in built() and built().count("<article") == 24
    monkeypatch.setattr(report, "LARGEST", 23)
    assert built().count("<article") == 20 and "Shown are 20 of 24 samples" in built()
    monkeypatch.setattr(report, "LARGEST", 24)
    assert built().count("<article") == 24
    monkeypatch.setattr("leaderboards.board.site.CARDS", 23)
    assert built().count("<article") == 20
    stored = store.read_document(cim.results / "miniscenes" / "dogs" / "manifest.json") or {}
    stored["settings"]["task"]["data"] = "0" * 12
    store.write_document(cim.results / "miniscenes" / "dogs" / "manifest.json", stored)
    assert "made on another version of miniscenes" in built() and '<mark class="invented">' not in cards(built())


def test_the_same_runs_give_the_same_bytes(results: Path, tmp_path: Path) -> None:
    built = []
    for name, seed in (("one", "1"), ("two", "2")):
        command = [sys.executable, "-m", "leaderboards", "board", "--results", str(results), "--out", tmp_path / name]
        subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True)
        built.append(
            {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()}
        )
    assert built[0] == built[1] and len(built[0]) == 18 and not any(path.name.startswith(".") for path in built[0])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "one").rglob("*.html")}
    board("--results", results, "--out", tmp_path / "one")
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "one").rglob("*.html")}


def test_ranks_values_and_intervals_are_those_of_standings_and_score_files(results: Path, tmp_path: Path) -> None:
    board("--results", results, "--out", tmp_path / "site")
    shown = {cells[1].split()[0]: cells for cells in rows((tmp_path / "site" / "docci500.html").read_text())}
    ranked = list(standings.groups(stored_run.load_all(results, pytest.fail, "docci500")))
    columns = sorted(ranked, key=lambda group: scores.order(group.metric))
    assert next(iter(shown)) == columns[0].standings[0].run.model and columns[0].metric == "capture"
    joined = 0
    for at, group in enumerate(columns, start=2):
        for standing in group.standings:
            row = standing.run.scores[group.metric]
            low, high = row["ci95"][group.value]
            value = f"{row['values'][group.value]:.2f}"
            assert shown[standing.run.model][at] == f"{value} {low:.2f} – {high:.2f}"
            page = (tmp_path / "site" / "runs" / "docci500" / f"{standing.run.model}.html").read_text()
            rank = "–".join(str(end) for end in dict.fromkeys(standing.rank))
            if group.metric != "length":
                joined += standing.rank[0] != standing.rank[1]
                assert f">{rank} of 5</td>" in page
            assert group.metric != "capture" or shown[standing.run.model][0] == rank
    assert joined and len(shown["system-00"]) == len(columns) + 7


def test_downloads_hold_every_cell_and_the_index_who_leads(results: Path, tmp_path: Path) -> None:
    board("--results", results, "--out", tmp_path / "site")
    runs = stored_run.load_all(results, pytest.fail, "docci500")
    groups = list(standings.groups(runs))
    document = json.loads((tmp_path / "site" / "data" / "docci500.json").read_text())
    cells = {(row["run"], row["metric"], row["value"]): row for row in document}
    assert len(document) == len(cells) == sum(len(group.standings) for group in groups)
    for group in groups:
        for standing in group.standings:
            row = cells[standing.run.model, group.metric, group.value]
            assert (row["point"], row["ci95_low"], row["ci95_high"]) == (standing.point, *standing.ci95)
            ranks = (None, None) if group.metric == "length" else standing.rank
            assert (row["rank_best"], row["rank_worst"]) == ranks and row["date"] == "2026-01-01"
    with (tmp_path / "site" / "data" / "docci500.csv").open(newline="") as file:
        assert [float(row["point"]) for row in csv.DictReader(file)] == [row["point"] for row in document]
    (capture,) = (group for group in groups if group.metric == "capture")
    best, second = capture.standings[:2]
    low, high = stats.interval(best.resamples - second.resamples)
    text = " ".join(Page((tmp_path / "site" / "index.html").read_text()).text.split())
    gap = f"{best.point - second.point:+.2f} ({low:+.2f} to {high:+.2f})"
    assert f"{gap}{'yes' if second.rank[0] > 1 else 'no'}{second.run.model}" in text


def test_a_run_links_to_its_pinned_weights_and_to_nothing_else(results: Path) -> None:
    run = results / "docci500" / "system-00"
    stored = store.read_document(run / "manifest.json") or {}
    facts = registry.facts("qwen2.5-vl-7b")

    def about(name: str, **model: object) -> About:
        stored["settings"]["model"] = {"engine": "vllm", **model}
        store.write_document(run / "manifest.json", stored)
        return about_run(replace(stored_run.load(run), model=name))

    pinned = {"checkpoint": facts["checkpoint"], "revision": facts["revision"]}
    named = about("qwen2.5-vl-7b", **pinned)
    assert named.link == f"https://huggingface.co/{facts['checkpoint']}/tree/{facts['revision']}"
    assert (named.licence, named.gigabytes) == (facts["licence"], facts["memory_gb"])
    assert about("system-00", **pinned).licence == "" and about("qwen2.5-vl-7b", checkpoint="a/b").licence == ""
    for checkpoint in ("/home/ann/weights", "../a/b", "javascript:a/b", "a/b/c"):
        assert about("system-00", **{**pinned, "checkpoint": checkpoint}).link == ""
    assert about("system-00", checkpoint="a/b", revision="main").link == ""


def test_groups_are_never_mixed_and_say_what_differs(results: Path, tmp_path: Path) -> None:
    task = results / "docci500"

    def versioned(row: dict[str, Any]) -> None:
        row["signature"] = row["signature"].replace("v:synthetic", "v:other")

    def judged(row: dict[str, Any]) -> None:
        if row["metric"] == "relation_qa":
            row["signature"] += "|judge:another"

    board_runs.edit(task / "system-01", versioned)
    board_runs.edit(task / "system-02", judged)
    synthetic_runs.make(tmp_path / "fewer", models=1, n=40, tasks=("docci500",))
    (tmp_path / "fewer" / "docci500" / "system-00").rename(task / "fewer")
    shown = tables.board("docci500", stored_run.load_all(results, pytest.fail, "docci500"))
    seen = [(table.apart, sorted(line.run.model for line in table.lines)) for table in shown.tables]
    assert seen == [
        ((), ["system-00", "system-02", "system-03", "system-04"]),
        (("judge: - / another",), ["system-02"]),
        (("n: 60 / 40",), ["fewer"]),
        (("v: synthetic / other",), ["system-01"]),
    ]
    for table in shown.tables:
        for at, column in enumerate(table.columns):
            present = [line.run for line in table.lines if line.cells[at].standing]
            assert {run.scores[column.group.metric]["signature"] for run in present} == {column.group.signature}
            assert len({frozenset(run.per_sample) for run in present}) == 1
    board("--results", results, "--out", tmp_path / "site")
    html = (tmp_path / "site" / "docci500.html").read_text()
    assert "judge: - / another" in html and "n: 60 / 40" in html and "v: synthetic / other" in html
    assert [len(rows(html, at)) for at in range(4)] == [4, 1, 1, 1]
    assert "table 2" in next(cells for cells in rows(html) if cells[1].startswith("system-02"))


def test_cells_without_a_value_say_why_and_what_to_run(results: Path, tmp_path: Path) -> None:
    def absent(row: dict[str, Any]) -> None:
        if row["metric"] in ("capture", "rouge_l"):
            row.update(not_computed=f"no weights for {row['metric']}; run `make x`", signature=None, n=0)

    for at in range(5):
        if at:
            board_runs.edit(
                results / "docci500" / f"system-0{at}", lambda row: row["metric"] == "rouge_l" and absent(row)
            )
        else:
            board_runs.edit(results / "docci500" / "system-00", absent)
    document = store.read_document(results / "docci500" / "system-01" / stored_run.SCORES) or {}
    document["scores"] = [row for row in document["scores"] if row["metric"] != "objects"]
    store.write_document(results / "docci500" / "system-01" / stored_run.SCORES, document)
    board("--results", results, "--out", tmp_path / "site")
    text = Page((tmp_path / "site" / "docci500.html").read_text()).text
    assert "capture not computed: no weights for capture; run `make x`" in text
    assert "objects not scored: run `cim score --model RUN --task docci500 --metrics objects`" in text
    assert "rouge_l: no weights for rouge_l; run `make x`" in text  # nobody has it: no column, said below
    assert "not computed: no weights" in Page((tmp_path / "site/runs/docci500/system-00.html").read_text()).text


def _raise(row: dict[str, Any]) -> None:
    row["values"] = dict.fromkeys(row["values"], 99.0)


def _cut(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))


def _large(path: Path) -> None:
    rows = store.read_rows(path)
    rows[0]["capture"] = {"score": 10**400}
    store.write_rows(path, rows)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda run: board_runs.edit(run, _raise), "is 99.0 by scores.json, "),
        (
            lambda run: board_runs.edit(run, lambda row: row.update(n_failed=1)),
            "1 captions failed by scores.json, 0 by captions",
        ),
        (lambda run: board_runs.edit(run, lambda row: row.update(values={})), "is no number in scores.json"),
        (lambda run: board_runs.edit(run, lambda row: row.update(metric="nonsense")), "unknown metric"),
        (
            lambda run: board_runs.edit(run, lambda row: row.update(signature="bleu9|n:60")),
            "no signature of this metric",
        ),
        (lambda run: board_runs.edit(run, lambda row: row.update(controls={"wrong_image": []})), "lacks values"),
        (lambda run: _cut(run / "captions.jsonl"), "scores.json is about captions"),
        (lambda run: (run / "statistics.jsonl").write_text(""), "hold different samples"),
        (
            lambda run: board_runs.edit(run, lambda row: row.update(values={"score": 10**400})),
            "is no number in scores.json",
        ),
        (lambda run: _large(run / "per_sample.jsonl"), "lack numbers of capture"),
        (lambda run: _cut(run / "per_sample.jsonl"), "hold different samples"),
        (lambda run: (shutil.rmtree(run), run.symlink_to("system-01")), "is the same as system-01"),
        (lambda run: (run / "scores.json").write_text("{"), "is not JSON"),
        (lambda run: (run / "scores.json").unlink(), "this run has no scores"),
        (lambda run: run.rename(run.parent.parent / "demo" / "moved"), "made on task docci500, but stored under demo"),
    ],
)
def test_a_run_that_contradicts_itself_is_left_out_and_named(
    damage: Callable[[Path], object], reason: str, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(results / "coco_ln500")
    (results / "demo").mkdir()
    damage(results / "docci500" / "system-03")
    assert board("--results", results, "--out", tmp_path / "site") == 0
    done = capsys.readouterr()
    assert "4 runs" in done.out and "1 left out" in done.out and reason in done.err and done.err.count("\n") == 1
    index = Page((tmp_path / "site" / "index.html").read_text()).text
    assert reason in index and re.search("docci500/system-03|demo/moved", index) and str(tmp_path) not in index
    assert "system-03" not in (tmp_path / "site" / "docci500.html").read_text()


@pytest.mark.parametrize("depth", [300, 800, 900, 940, 970, 990, 3000])
def test_deep_nesting_is_shown_or_left_out(depth: int, results: Path, tmp_path: Path) -> None:
    """Where the limit lies is Python's business; no depth ends in a traceback."""
    shutil.rmtree(results / "coco_ln500")
    path = results / "docci500" / "system-03" / "manifest.json"
    lists, objects = "[" * depth + "]" * depth, '{"c":' * depth + "0" + "}" * depth
    path.write_text(path.read_text().replace("{", f'{{"a": {lists}, "b": {objects},', 1))
    assert board("--results", results, "--out", tmp_path / "site") == 0


def test_an_edited_row_is_for_verify_and_the_page_says_so(results: Path, tmp_path: Path) -> None:
    board("--results", results, "--out", tmp_path / "site")
    for name in ("index.html", "runs/docci500/system-00.html"):
        text = " ".join(Page((tmp_path / "site" / name).read_text()).text.split())
        assert "not checked here" in text.lower() and "cim verify" in text


def test_foreign_text_is_inert(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert board("--results", board_runs.hostile(results), "--out", tmp_path / "site") == 0
    assert "10 runs" in capsys.readouterr().out
    listing = pages(tmp_path / "site")
    scripts = set()
    for name, html in listing.items():
        page = Page(html)
        scripts |= set(page.scripts)
        assert not re.search("[\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\x01\x85]", html), name
        assert "/secret/place" not in html and str(tmp_path) not in html
        for tag, attributes in page.elements:
            assert tag not in ("img", "iframe", "form") or attributes.get("id") == "controls", (name, tag)
            for attribute, value in attributes.items():
                assert attribute not in ("src", "style", "action", "srcset") and not attribute.startswith("on")
                assert attribute != "href" or not re.match(r"\w+:(?!,)|//", str(value)), value
        assert re.fullmatch(r"[A-Za-z0-9./_-]+", name) and max(map(len, name.split("/"))) < 100
    assert scripts == {(ROOT / name).read_text() for name in ("leaderboards/board/board.js", "harness/pages/report.js")}
    (evil,) = [html for name, html in listing.items() if "left-" not in name and "img-src-x" in name]
    for text in ("<script>alert(1)</script>", "onerror=alert(2)", "{{ 7*7 }}", "Failed:", "[U+202E][U+200F]evil"):
        assert text in Page(evil).text, text
    assert 49 not in [int(n) for n in re.findall(r"evil (\d+)", evil)]


def test_only_what_it_made_is_removed(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = tmp_path / "site"
    board("--results", results, "--out", site)
    (site / "runs" / "docci500" / "mine.html").write_text("mine")
    (site / "CNAME").write_text("example.org")
    (tmp_path / "other.html").write_text("other")
    document = store.read_document(site / "made.json") or {}
    document["files"] += ["../other.html", "runs/../../other.html", "/etc/passwd", 7, "CNAME"]
    store.write_document(site / "made.json", document)
    shutil.rmtree(results / "coco_ln500")
    shutil.rmtree(results / "docci500" / "system-02")
    board("--results", results, "--out", site)
    names = {f"runs/docci500/{name}.html" for name in ("mine", *(f"system-0{at}" for at in (0, 1, 3, 4)))}
    assert set(pages(site)) == {"index.html", "docci500.html", *names}
    assert not (site / "runs" / "coco_ln500").exists()
    assert (site / "CNAME").read_text() == "example.org" and (tmp_path / "other.html").read_text() == "other"
    assert not list(site.rglob("*.tmp"))
    capsys.readouterr()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "index.html").write_text("my own site")
    assert board("--results", results, "--out", foreign) == 2
    assert "is in the way and not from this command" in capsys.readouterr().err
    assert [path.name for path in foreign.iterdir()] == ["index.html"]
    assert (foreign / "index.html").read_text() == "my own site"


def test_the_workflow_that_publishes_pins_its_actions() -> None:
    text = (ROOT / ".github" / "workflows" / "pages.yml").read_text()
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert text.startswith("# Never run") and len(used) == 4
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", action) and " # v" in version for action, version in used)


def test_no_runs_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results").mkdir()
    assert board("--results", tmp_path / "results") == 0
    html = (tmp_path / "results" / ".leaderboards" / "board" / "index.html").read_text()
    assert "No scored runs yet." in html and "make eval" in html
    assert capsys.readouterr().out.startswith("0 runs on 0 tasks")
    assert board("--results", tmp_path / "nowhere") == 2
    assert "no folder of stored runs" in capsys.readouterr().err


def test_real_runs_and_a_trained_one(cim: Cim, tmp_path: Path) -> None:
    """Runs of the demo; one is called a trained checkpoint by its manifest, and the record of a training is there."""
    captions = {f"demo_{number:02d}": "A red bicycle leans on a wall." for number in range(1, 13)}
    metrics = ("--metrics", "bleu4_char,length,rouge_l")
    assert cim("eval", "--model", "demo-terse,demo-detailed", *metrics).code == 0
    assert cim("eval", "--model", captions_file(tmp_path / "same.jsonl", captions), *metrics).code == 0
    assert cim("eval", "--model", "demo-detailed", "--limit", "5", "--results", tmp_path / "few", *metrics).code == 0
    (tmp_path / "few" / "demo" / "demo-detailed").rename(cim.results / "demo" / "limited")
    stored = store.read_document(cim.results / "demo" / "demo-detailed" / "manifest.json") or {}
    stored["origin"] = "/elsewhere/results/train/arm/model.toml"
    store.write_document(cim.results / "demo" / "demo-detailed" / "manifest.json", stored)
    arm = cim.results / "train" / "arm"
    arm.mkdir(parents=True)
    (arm / "manifest.json").write_text("{}")
    (arm / "model.toml").write_text('[training]\nbase = "demo-terse"\nrewards = ["grc", "qir"]\n')
    assert board("--results", cim.results) == 0
    site = cim.results / ".leaderboards" / "board"
    table = rows((site / "demo.html").read_text())
    assert [cells[1].split()[0] for cells in table] == ["demo-detailed", "demo-terse", "same"]
    shown = [float(re.findall(r"\d+\.\d+", cells[2])[0]) for cells in table]
    assert shown == sorted(shown, reverse=True)
    assert "n: 12 / 5/12@" in (site / "demo.html").read_text()
    text = " ".join(Page((site / "runs" / "demo" / "demo-detailed.html").read_text()).text.split())
    compared = cim("compare", "demo-terse", "demo-detailed", "--json").json["comparisons"]
    (rouge,) = [row for row in compared if row["metric"] == "rouge_l"]
    assert f"+{rouge['difference']:.2f} (+{rouge['ci95'][0]:.2f} to +{rouge['ci95'][1]:.2f})" in text
    html = (site / "runs" / "demo" / "demo-detailed.html").read_text()
    assert "to demo-terse" in text and "<dd><bdi>grc, qir</bdi></dd>" in html and "/elsewhere" not in html
    assert 'href="../../../../demo/demo-detailed/report.html"' in html
    assert 'href="../../../../train/arm/manifest.json"' in html
    captioned = records.read(cim.results / "demo" / "demo-detailed")
    assert sum((completion.text or "") in text for completion in captioned.values()) == 12  # six best, six worst


def test_a_benchmark_without_code_is_a_task_like_others(cim: Cim, tmp_path: Path) -> None:
    (tmp_path / "references.json").write_text(json.dumps({"one": ["a red dog"], "two": ["two cats sleep"]}))
    captions = captions_file(tmp_path / "mine.jsonl", {"one": "a dog", "two": "cats sleep"})
    options = ("--references", tmp_path / "references.json", "--metrics", "rouge_l,length")
    assert cim("eval", "--model", captions, *options).code == 0 and board("--results", cim.results) == 0
    (task,) = {path.parent.parent.name for path in cim.results.glob("*/*/scores.json")}
    site = cim.results / ".leaderboards" / "board"
    assert rows((site / f"{task}.html").read_text())[0][1] == "mine" and (site / "data" / f"{task}.csv").is_file()
    page = Page((site / "runs" / task / "mine.html").read_text()).text
    assert "two cats sleep" in page and "Captions alone" not in page


def test_what_a_reader_of_screens_hears(results: Path, tmp_path: Path) -> None:
    """Every control, link, region and header has a name; charts are told in words beside them."""
    board("--results", results, "--out", tmp_path / "site")
    for html in pages(tmp_path / "site").values():
        ids = set(re.findall(r'\bid="([^"]+)"', html))
        for tag, attributes in Page(html).elements:
            if tag == "th":
                assert attributes.get("scope") in ("col", "row")
            if tag in ("section", "nav") or attributes.get("role") == "region":
                assert attributes.get("aria-label") or attributes.get("aria-labelledby") in ids, attributes
            if tag == "svg":
                assert attributes.get("aria-hidden") == "true"
        for opened in re.findall(r"<(?:a|button)\b[^>]*>.*?</(?:a|button)>", html, re.DOTALL):
            assert Page(opened).text.strip() or "aria-label" in opened
        assert len(re.findall(r"<label>[^<]+<(?:input|select)\b", html)) == len(
            re.findall(r"<(?:input|select)\b", html)
        )
        assert '<html lang="en">' in html and html.count("<h1") == 1 and html.count('aria-current="') == 1


def test_thirty_models_on_two_benchmarks(thirty_models: Path, tmp_path: Path) -> None:
    """One table a task, in which all thirty have a place; seconds are printed by ``tests/bench_boards.py``."""
    assert measured(thirty_models, "board", "--out", str(tmp_path / "site")).peak < 1000
    listing = pages(tmp_path / "site")
    assert len(listing) == 63
    for task in synthetic_runs.TASKS:
        assert len(rows(listing[f"{task}.html"])) == 30 and listing[f"{task}.html"].count('<tbody class="runs">') == 1


def test_a_value_that_no_run_has_is_on_no_table(cim: Cim, tmp_path: Path) -> None:
    """Of captions that state no relation, the share of true ones is undefined."""
    path = captions_file(tmp_path / "terse.jsonl", {f"test_{number:06d}": "a ring ." for number in range(3)})
    assert cim("eval", "--model", path, "--partial", "--metrics", "statements", "--draws", "100").code == 0
    board = tables.board("miniscenes", [stored_run.load(cim.results / "miniscenes" / "terse")], draws=100)
    shown = {column.value.name for table in board.tables for column in table.columns}
    assert "share_true" in shown and "relations_true" not in shown
