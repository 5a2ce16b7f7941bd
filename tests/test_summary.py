"""What an evaluation prints: main values side by side in 24 lines, controls beside, a verdict, where the files are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import registry
from harness.command import summary
from harness.parts import Metric, Value
from harness.types import Score
from tests.cli import Cim, captions_file


def score(metric: str, value: str, number: float, bounds: tuple[float, float], control: float) -> Score:
    """A score of one value with one control."""
    controls = {"wrong_image": {"values": {value: control}, "ci95": {value: bounds}}}
    return Score(metric, {value: number}, {value: bounds}, 500, 0, f"{metric}|v:1", controls)


def runs(cim: Cim, folder: Path, count: int) -> list[Path]:
    """Captions files of the demo task, each better than the one before."""
    return [
        captions_file(folder / f"run-{at}.jsonl", {f"demo_{n:02d}": f"A red ring {n} " * at for n in range(1, 13)})
        for at in range(1, count + 1)
    ]


def test_the_default_run_is_a_page_of_24_lines(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two embedded models with every metric; ``--limit`` keeps it quick."""
    pytest.importorskip("transformers", reason="transformers is not installed: run `make setup-models`")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    command = ("eval", "--model", "mini-base,mini-detailed", "--limit", "30", "--draws", "200")
    done = cim(*command)
    lines = done.out.splitlines()
    assert done.code == 0 and len(lines) <= 24 and max(map(len, lines)) <= 80, done.out
    assert re.search(r"miniscenes +mini-base +mini-detailed$", lines[0])
    assert re.search(r"n = 30 +value +95 % interval +floor +value +95 % interval +floor$", lines[1])
    task = registry.task("miniscenes")
    metrics = [metric for metric in map(registry.metric, registry.names("metrics")) if metric.needs <= task.provides]
    for metric in metrics:
        for value in metric.values:
            rows = [line for line in lines if line.split("  ")[0] == metric.label(value.name)]
            computed = value.main and "@" not in metric.name and not (metric.of_graphs or metric).missing()
            assert len(rows) == computed, (metric.name, value.name, rows)
    (fine,) = [line for line in lines if line.startswith("fine_names f1 ")]
    assert (
        len(re.findall(r"\d+\.\d+\.\.\d+\.\d+", fine)) == 2
        and len(re.findall(r"(?<![.\d])\d+\.\d\d(?![.\d])", fine)) == 4
    )
    (relations,) = [line for line in lines if line.startswith("relation_qa ")]
    assert relations.count("▾") == 1 and "▾: no better" in done.out  # mini-base says nothing of relations
    assert "cim: gallery miniscenes-1000, 1000 rows, self policy include" in lines
    assert "mini-detailed is significantly better than mini-base in " in done.out.replace("\n", " ")
    folder = cim.results.relative_to(tmp_path) / "miniscenes"
    assert f"pages: {folder}/{{mini-base,mini-detailed}}/report.html (files beside)" in lines
    assert lines[-1].startswith("next: -v ") and "cim compare mini-base mini-detailed" in lines[-1]
    assert "|v:" not in done.out

    loud = cim(*command, "-v").out
    assert loud.count("wrong image") > 10 and "objects precision" in loud and "|self:include|" in loud
    assert loud.endswith("Holm-corrected p < 0.05)\n")
    (mini_base, _) = cim(*command, "--json").json
    assert {row["metric"] for row in mini_base["scores"]} >= {"cim", "objects"}


@pytest.mark.parametrize(("width", "tables"), [(60, 3), (80, 2), (120, 1)])
def test_what_does_not_fit_beside_stands_below_and_no_number_is_cut(
    cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, tables: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    names = ",".join(map(str, runs(cim, tmp_path, 3)))
    lines = cim("eval", "--model", names, "--metrics", "bleu4_char,length", "--draws", "100").out.splitlines()
    assert sum(line.startswith("n = 12 ") for line in lines) == tables
    shown = [line for line in lines if line.startswith("length ")]
    assert len(shown) == tables and all(len(line) <= width for line in shown)
    assert re.findall(r"(?<![.\d])\d+\.\d\d(?![.\d])", " ".join(shown)) == ["4.00", "8.00", "12.00"]
    verdicts = " ".join(lines)
    assert "run-2 and run-1" in verdicts or "run-2 is significantly" in verdicts or "run-1 is significantly" in verdicts
    assert "run-3" in verdicts.split("bleu4_char")[-1]


def test_a_terminal_too_narrow_for_intervals_says_that_they_are_left_out(
    cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "36")
    (path,) = runs(cim, tmp_path, 1)
    out = cim("eval", "--model", path, "--metrics", "bleu4_char,length", "--draws", "100").out
    assert "95 % intervals are left out: they need more than 36 columns (-v)" in out.splitlines()
    assert "interval control" not in out and re.search(r"^bleu4_char +\d+\.\d\d[▾ ]", out, re.MULTILINE)


def test_eighty_columns_hold_two_runs_with_the_widest_numbers() -> None:
    """CIDEr x 100 and full marks; the columns of a run as the table lays them out."""
    wide = [
        score("cider", "score", 721.62, (695.23, 747.54), 161.26),
        score("taxonomy", "species", 100, (100, 100), 99.8),
    ]
    rows: list[tuple[Metric, Value, bool]] = [
        (registry.metric("cider"), Value("score"), False),
        (registry.metric("taxonomy"), Value("species"), False),
    ]
    columns = summary._columns(summary.Scored(None, wide), rows, "▾")  # type: ignore[arg-type]
    block = summary._beside(columns)
    assert len("taxonomy species") + 2 * (summary.GAP + len(block[0])) <= 80
    assert "721.62 " in block[1] and "695.23..747.54" in block[1] and "100.00..100.00" in block[2]


def test_a_value_no_better_than_a_control_is_marked_by_its_own_direction() -> None:
    def cells(number: float, control: float, higher: bool | None) -> tuple[str, str, str]:
        value = Value("score", higher_is_better=higher)
        return summary._cells(score("x", "score", number, (0, 1), control), value, None, "▾")

    assert cells(3, 4, True)[0] == cells(4, 4, True)[0].replace("4", "3") == "3.00▾"
    assert cells(5, 4, True)[0] == "5.00 " and cells(5, 4, True)[2] == "4.00"
    assert cells(5, 4, False)[0] == "5.00▾" and cells(3, 4, False)[0] == "3.00 "
    assert cells(3, 4, None) == ("3.00 ", "0.00..1.00", "")
    assert [summary._mark(name) for name in ("utf-8", "ascii", "latin-1", "none such")] == ["▾", "v", "v", "v"]


def test_one_reason_stands_once_with_all_its_metrics(cim: Cim, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.resources import java

    monkeypatch.setattr(java, "find_java", lambda: None)
    monkeypatch.setenv("COLUMNS", "300")
    lines = cim("eval", "--model", "demo-terse,demo-detailed", "--draws", "0").out.splitlines()
    without_java = [line for line in lines if "no Java" in line]
    assert len(without_java) == 1 and without_java[0].startswith("not computed: bleu4, cider, meteor, rouge_l (")
    assert not any(line.startswith(("bleu4 ", "meteor ")) for line in lines)


def test_tasks_have_a_table_each_and_one_run_no_verdict(cim: Cim, tmp_path: Path) -> None:
    whole = captions_file(tmp_path / "whole.jsonl", {"test_000000": "a red ring ."})
    terse = cim("eval", "--model", "demo-terse", "--metrics", "length").out
    assert "significant" not in terse and "compare demo-terse OTHER" in terse
    both = cim("eval", "--model", f"demo-terse,{whole}", "--metrics", "length", "--partial").out.splitlines()
    assert [line.split()[0] for line in both if line.startswith(("demo ", "miniscenes "))] == ["demo", "miniscenes"]
    assert sum(line.startswith("page: ") for line in both) == 2
