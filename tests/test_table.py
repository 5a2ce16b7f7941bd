"""`cim table`: one's own runs as text, Markdown, LaTeX, CSV, JSON and HTML; what is best, and what differs."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest

from harness import registry
from harness.runs import compare, stats, stored_run
from tests import synthetic_runs
from tests.board_runs import EVIL, edit
from tests.cli import Cim
from tests.test_report import Page

FORMATS = ("text", "markdown", "latex", "csv", "html")


def _write(results: Path, name: str, task: str = "docci500", **levels: float) -> Path:
    """A run whose metrics have values around a level: 0, 1, ... 9 points above it on ten images each of forty."""
    folder = results / task / name
    columns = {
        metric: stats.Column(np.repeat(np.arange(10.0), 4)[:, None] + level, registry.metric(metric).aggregate)
        for metric, level in levels.items()
    }
    synthetic_runs.write(folder, task, columns)
    return folder


@pytest.fixture
def pair(cim: Cim) -> Cim:
    """Two runs: ``strong`` has two points more of ROUGE-L, half a point less of character BLEU on every image."""
    _write(cim.results, "weak", rouge_l=30, bleu4_char=50, length=20)
    _write(cim.results, "strong", rouge_l=32, bleu4_char=49.5, length=40)
    return cim


GOLDEN = {
    "text": """\
run      bleu4_char ↑  rouge_l ↑  length
weak           54.50*     34.50†   24.50
Ours_#1        54.00†     36.50*   44.50
*: best of a column.
†: significantly different from the best (paired permutation test over images, p < 0.05 after Holm's correction over \
the column).
docci500: n = 40 images.
""",
    "markdown": """\
| run | bleu4\\_char ↑ | rouge\\_l ↑ | length |
| --- | ---: | ---: | ---: |
| weak | **54.50** | 34.50† | 24.50 |
| Ours\\_\\#1 | 54.00† | **36.50** | 44.50 |

Bold: best of a column.  
†: significantly different from the best (paired permutation test over images, p \\< 0.05 after Holm's correction over \
the column).  
docci500: n = 40 images.
""",
    "latex": """\
% \\usepackage{booktabs}
\\begin{table}\\centering
\\caption{Bold: best of a column. $^\\dagger$: significantly different from the best (paired permutation test over \
images, p \\textless{} 0.05 after Holm's correction over the column). docci500: n = 40 images.}
\\begin{tabular}{lrrr}
\\toprule
 & bleu4\\_char $\\uparrow$ & rouge\\_l $\\uparrow$ & length \\\\
\\midrule
weak & \\textbf{54.50} & 34.50$^{\\dagger}$ & 24.50 \\\\
Ours\\_\\#1 & 54.00$^{\\dagger}$ & \\textbf{36.50} & 44.50 \\\\
\\bottomrule
\\end{tabular}
\\end{table}
% made by: weak: bleu4_char|n:40|task:docci500@synthetic|v:synthetic
% made by: weak: rouge_l|n:40|task:docci500@synthetic|v:synthetic
% made by: weak: length|n:40|task:docci500@synthetic|v:synthetic
% made by: Ours_#1: bleu4_char|n:40|task:docci500@synthetic|v:synthetic
% made by: Ours_#1: rouge_l|n:40|task:docci500@synthetic|v:synthetic
% made by: Ours_#1: length|n:40|task:docci500@synthetic|v:synthetic
""",
}


@pytest.mark.parametrize("form", GOLDEN)
def test_the_table_is_this(pair: Cim, form: str) -> None:
    assert pair("table", "weak", "Ours_#1=strong", "--format", form).out == GOLDEN[form]


def test_csv_and_json_hold_numbers_in_full(pair: Cim, tmp_path: Path) -> None:
    third = _write(pair.results, "third", rouge_l=30 + 1 / 3)
    words = ("table", "weak", "strong", "third", "--metrics", "rouge_l")
    cells = pair(*words, "--json").json["cells"]
    assert cells[2]["score"] == stats.point(stored_run.load(third).column(registry.metric("rouge_l")))[0] != 34.83
    rows = list(csv.DictReader(io.StringIO(pair(*words, "--format", "csv").out)))
    assert [float(row["score"]) for row in rows] == [cell["score"] for cell in cells]
    assert [row["best"] for row in rows] == ["False", "True", "False"]
    assert [cell["compared_with"] for cell in cells] == ["strong", None, "strong"]
    out = tmp_path / "table.csv"
    assert pair(*words, "--format", "csv", "--out", out).out == ""
    assert list(csv.DictReader(out.read_text().splitlines())) == rows


def test_daggers_are_paired_tests_corrected_over_the_column(cim: Cim) -> None:
    synthetic_runs.make(cim.results, models=4, n=60, tasks=("docci500",))
    names = [f"system-{at:02d}" for at in range(4)]
    loaded = {name: stored_run.load(cim.results / "docci500" / name) for name in names}
    for against in (None, "system-01"):
        options = ("--against", against) if against else ()
        cells = cim("table", *names, "--metrics", "capture,relation_qa.na_rate,length", "--json", *options).json[
            "cells"
        ]
        capture = [cell for cell in cells if cell["metric"] == "capture"]
        best = max(capture, key=lambda cell: cell["score"])
        base = against or best["row"]
        assert [cell["row"] for cell in capture if cell["best"]] == [best["row"]]
        others = [cell for cell in capture if cell["row"] != base]
        raw = [compare.compare(loaded[base], loaded[cell["row"]]) for cell in others]
        ps = [next(row.test.p_permutation for row in rows if row.metric == "capture" and row.test) for rows in raw]
        assert [cell["p_permutation_holm"] for cell in others] == stats.holm(ps)
        length = [cell for cell in cells if cell["metric"] == "length"]
        assert not any(cell["best"] for cell in length)
        assert [cell["compared_with"] for cell in length] == [against if c["row"] != against else None for c in length]
        shown = cim("table", *names, "--metrics", "capture", *options).out.splitlines()
        marked = {line.split()[0] for line in shown[1:5] if "†" in line}
        assert marked == {cell["row"] for cell in others if cell["p_permutation_holm"] < 0.05}
    assert {cell["p_permutation_holm"] > 0.05 for cell in others} == {True, False}


def test_other_signatures_are_not_compared_and_a_note_says_why(pair: Cim) -> None:
    edit(_write(pair.results, "other", rouge_l=99), lambda row: row.update(signature=row["signature"] + "|beta:9"))
    words = ("weak", "strong", "other", "--metrics", "rouge_l")
    cells = {cell["row"]: cell for cell in pair("table", *words, "--json").json["cells"]}
    assert cells["strong"]["best"] and not cells["other"]["best"] and cells["other"]["p_permutation_holm"] is None
    reason = cells["other"]["not_compared"]
    assert reason.startswith("not compared with weak: signatures differ (beta: ") and reason.endswith("9)")
    for form, mark in (("text", "103.50a"), ("markdown", "103.50<sup>a</sup>"), ("latex", "103.50$^{a}$")):
        out = pair("table", *words, "--format", form).out
        assert mark in out and "a: not compared with weak: signatures differ" in out


def test_tasks_are_groups_of_columns(pair: Cim) -> None:
    _write(pair.results, "weak", "coco_ln500", rouge_l=10)
    out = pair("table", "weak", "strong", "--metrics", "rouge_l").out
    assert "coco_ln500: rouge_l ↑  docci500: rouge_l ↑" in out.splitlines()[0]
    assert out.splitlines()[2].split() == ["strong", "–", "36.50*"]
    latex = pair("table", "weak", "strong", "--format", "latex").out
    assert r" & \multicolumn{1}{c}{coco\_ln500} & \multicolumn{3}{c}{docci500} \\" in latex
    assert r"\cmidrule(lr){2-2} \cmidrule(lr){3-5}" in latex
    assert "coco" not in pair("table", "weak", "strong", "--task", "docci500").out


def test_intervals_and_what_failed_are_shown_on_request(cim: Cim) -> None:
    synthetic_runs.make(cim.results, models=2, n=20, tasks=("docci500",))
    edit(cim.results / "docci500" / "system-01", lambda row: row.update(n_failed=3))
    words = ("table", "system-00", "system-01", "--metrics", "capture")
    score = stored_run.load(cim.results / "docci500" / "system-00").scores["capture"]
    low, high = score["ci95"]["score"]
    for form in ("text", "markdown", "latex", "html"):
        assert f"[{low:.2f}, {high:.2f}]" in cim(*words, "--interval", "--format", form).out
        assert f"{low:.2f}, {high:.2f}" not in cim(*words, "--format", form).out
    assert "system-01 on docci500: 3 failed captions count as empty." in cim(*words).out


def test_a_narrow_terminal_shows_whole_numbers_and_names_what_is_left_out(
    pair: Cim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "36")
    out = pair("table", "weak", "strong").out
    assert "left out for width: length; --wide" in " ".join(out.split()) and "36.50*" in out and "44.50" not in out
    assert "44.50" in pair("table", "weak", "strong", "--wide").out


@pytest.mark.parametrize("name", ["", EVIL + "|[3pt]\\input{x}\n& % $", "[1pt]", "*", "=HYPERLINK(1)", "- x"])
def test_hostile_names_stay_text_in_every_format(cim: Cim, name: str) -> None:
    """The row's name, or the run's own where that is empty; the signature is as bad."""
    _write(cim.results, "weak", rouge_l=30)
    run = _write(cim.results, EVIL.replace("/", ""), rouge_l=32)
    edit(run, lambda row: row.update(signature=f"{row['signature']}|x:{EVIL}\n\\end{{document}}"))
    out = dict[str, str]()
    for form in FORMATS:
        result = cim("table", "weak", f"{name}={run}" if name else run, "--format", form)
        assert result.code == 0 and not re.search("[\u200b-\u200f\u2028-\u202e\u2066-\u2069]", result.out), form
        out[form] = result.out
    assert all(line.isprintable() for line in out["text"].splitlines()) and out["text"].splitlines()[1][:4] == "weak"
    page = Page(out["html"])
    assert not {tag for tag, _ in page.elements} & {"img", "script", "a", "iframe"}
    assert not any(attribute.startswith("on") for _, attribute in page.attributes())
    assert (name or "alert(1)").strip("*").split("\n")[0][-8:] in page.text
    body = [line for line in out["latex"].splitlines() if not line.startswith("%")]
    assert [len(re.findall(r"(?<!\\)&", line)) for line in body if line.endswith("\\\\")] == [1, 1, 1]
    assert not any(line.startswith(("[", "*")) for line in body) and "\\input" not in "\n".join(body)
    assert "".join(body).count("\\end{") == 2
    rows = list(csv.reader(io.StringIO(out["csv"])))
    assert len(rows) == 3 and not any(cell.startswith(("=", "-", "+", "@")) for row in rows for cell in row)
    lines = out["markdown"].split("\n\n")[0].splitlines()
    assert len(lines) == 4 and all(line.replace("\\|", "").count("|") == 3 for line in lines)
    assert not re.search(r"(?<!\\)<(?!sup>|/sup>)", out["markdown"])


def test_bad_input_is_one_line(pair: Cim, tmp_path: Path) -> None:
    assert "no stored run 'x'" in pair.refused("table", "weak", "x")
    assert "no stored run 'x'" in pair.refused("table", "weak", "Ours=x")
    assert "two runs of docci500 are called 'weak'; give each a name" in pair.refused("table", "weak", "weak=strong")
    assert "no value 'bleu'" in pair.refused("table", "weak", "--metrics", "bleu")
    assert "no value 'length.score'" in pair.refused("table", "weak", "--metrics", "length.score")
    assert "no row 'x'" in pair.refused("table", "weak", "strong", "--against", "x")
    assert "'weak' has no run of pets" in pair.refused("table", "weak", "--task", "pets")
    out = tmp_path / "nosuch" / "table.tex"
    edit(pair.results / "docci500" / "strong", lambda row: row["values"].update(dict.fromkeys(row["values"], "x")))
    assert "is no number" in pair.refused("table", "weak", "strong", "--out", out) and not out.exists()
