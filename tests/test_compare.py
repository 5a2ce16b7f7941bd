"""`cim compare`: paired tests from stored statistics, only where signatures agree."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest

from harness import registry
from harness.runs import compare, stats, stored_run
from tests import controls, synthetic_runs
from tests.cli import Cim, captions_file
from tests.conftest import ROOT
from tests.edits import unsummed

METRICS = "bleu4,bleu4_char,length"


def _by_name(report: dict[str, list[dict[str, object]]]) -> dict[object, dict[str, object]]:
    return {row["metric"]: row for row in report["comparisons"]}


def test_a_real_difference_is_found_and_corrected(cim_on_benchmarks: Cim, benchmarks: Path, tmp_path: Path) -> None:
    references = controls.references(benchmarks, "docci500")
    a, b = (
        captions_file(tmp_path / f"{kind}.jsonl", controls.perturbed(references, kind))
        for kind in ("drop10", "shuffled")
    )
    scores = cim_on_benchmarks("eval", "--model", f"{a},{b}", "--metrics", METRICS, "--json").json
    rows = _by_name(cim_on_benchmarks("compare", "drop10", "shuffled", "--task", "docci500", "--json").json)
    for first, second in zip(scores[0]["scores"], scores[1]["scores"], strict=True):
        row = rows[first["metric"]]
        (value,), (other,) = first["values"].values(), second["values"].values()
        assert row["a"] == pytest.approx(value) and row["b"] == pytest.approx(other)
        assert row["difference"] == pytest.approx(other - value)
        low, high = row["ci95"]  # type: ignore[misc]
        assert low <= other - value <= high
        assert row["p_permutation_holm"] == pytest.approx(min(1, 3 * row["p_permutation"]), abs=1e-9)  # type: ignore[operator]
        assert row["p_permutation"] == pytest.approx(1 / 10_001)
        assert row["minimum_detectable_difference"] > 0  # type: ignore[operator]


def test_a_run_against_itself(cim: Cim) -> None:
    cim("eval", "--model", "demo-terse", "--metrics", METRICS)
    for row in cim("compare", "demo-terse", "demo-terse", "--json").json["comparisons"]:
        assert (row["difference"], row["p_bootstrap"], row["p_permutation_holm"]) == (0, 1, 1)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with three systems; system-02 is a few points better than system-00."""
    results = tmp_path_factory.mktemp("synthetic")
    synthetic_runs.make(results, models=3, n=60, tasks=("docci500",))
    return results


@pytest.fixture
def systems(cim: Cim, synthetic: Path, monkeypatch: pytest.MonkeyPatch) -> Cim:
    """``cim`` on these results, in a pipe."""
    monkeypatch.setenv("CIM_RESULTS", str(synthetic))
    monkeypatch.delenv("COLUMNS", raising=False)
    return cim


def _terminal(results: Path, columns: int, *words: str) -> str:
    """Standard output of ``cim compare`` in a pseudo-terminal so wide."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"CIM_RESULTS": str(results)}
    command = [sys.executable, "-m", "harness", "compare", *words]
    process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=follower, stderr=follower)
    os.close(follower)
    shown = b""
    with contextlib.suppress(OSError):  # Linux ends a terminal whose processes have gone with EIO
        while part := os.read(leader, 4096):
            shown += part
    os.close(leader)
    assert process.wait() == 0, shown
    return shown.decode().replace("\r\n", "\n")


def _texts(row: compare.Comparison) -> dict[str, str]:
    """The cells of a row, by heading."""
    digits, test = registry.metric(row.metric).value(row.value).decimals, row.test
    assert test is not None
    return {
        "a": f"{test.a:.{digits}f}",
        "b": f"{test.b:.{digits}f}",
        "b - a": f"{test.difference:+.{digits}f}{'*' if row.holm_permutation < 0.05 else ''}",
        "95 % interval": f"{test.ci95[0]:.{digits}f} .. {test.ci95[1]:.{digits}f}",
        "p Holm": f"{row.holm_permutation:.4f}",
        "p boot": f"{test.p_bootstrap:.4f}",
        "p perm": f"{test.p_permutation:.4f}",
        "detectable": f"{test.detectable:.{digits}f}",
    }


# Width (None: a pipe), whether it is a terminal's or in COLUMNS, and the columns that it shows.
WIDTHS = [(60, "terminal", 3), (80, "terminal", 5), (120, "terminal", 8), (None, "pipe", 8)]
WIDTHS += [(40, "COLUMNS", 4), (60, "COLUMNS", 3), (98, "COLUMNS", 7), (120, "COLUMNS", 8), (30, "COLUMNS", 3)]


@pytest.mark.parametrize(("columns", "where", "shown"), WIDTHS)
def test_no_number_or_label_is_cut_at_any_width(
    systems: Cim, synthetic: Path, monkeypatch: pytest.MonkeyPatch, columns: int | None, where: str, shown: int
) -> None:
    words = ("system-00", "system-02")
    if where == "COLUMNS":
        monkeypatch.setenv("COLUMNS", str(columns))
    out = _terminal(synthetic, columns or 0, *words) if where == "terminal" else systems("compare", *words).out
    lines, told = out.splitlines(), " ".join(out.split())
    assert columns is None or max(map(len, lines)) <= columns
    rows = compare.compare(*(stored_run.load(synthetic / "docci500" / name) for name in words))
    for row in rows:
        arrow = {True: " ↑", False: " ↓", None: ""}[row.higher_is_better]
        at = next(at for at, line in enumerate(lines) if f"{line}  ".startswith(f"{row.label}{arrow}  "))
        cells = list(_texts(row).values())[:shown]
        text = lines[at].removeprefix(row.label + arrow) or lines[at + 1]
        assert text.split() == " ".join(cells).split()
    left_out = list(_texts(rows[0]))[shown:]
    said = f"left out for width: {', '.join(left_out)}; --wide, or --json, shows all"
    assert said in told if left_out else "left out" not in told
    assert ("p boot, p perm: paired" in told) == (shown > 6) and ("detectable: smallest" in told) == (shown > 7)
    assert told.endswith(compare.verdict(rows, *words, 60))


def test_wide_shows_all_columns_in_a_narrow_terminal(
    cim: Cim, synthetic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIM_RESULTS", str(synthetic))
    pipe = cim("compare", "system-00", "system-02").out
    monkeypatch.setenv("COLUMNS", "40")
    table = [line for line in cim("compare", "system-00", "system-02", "--wide").out.splitlines() if " .. " in line]
    assert table == [line for line in pipe.splitlines() if " .. " in line] and "detectable" in pipe


def test_main_values_come_first_and_metrics_in_their_order(systems: Cim) -> None:
    lines = systems("compare", "system-00", "system-02").out.splitlines()
    labels = [line.split("  ")[0].rstrip(" ↑↓") for line in lines[2 : lines.index("")]]
    assert " ".join(labels) == (
        "capture objects f1 attributes f1 relation_qa bleu4_char meteor_nltk rouge_l bleu4 length"
    )


def test_several_runs_stand_beside_the_first(systems: Cim) -> None:
    words = ("system-00", "system-01", "system-02")
    out, documents = systems("compare", *words).out, systems("compare", *words, "--json").json
    assert [Path(document["b"]).name for document in documents] == ["system-01", "system-02"]
    assert out.splitlines()[-2:] == [document["verdict"] for document in documents]
    pairs = [document["comparisons"] for document in documents]
    for kind in ("p_bootstrap", "p_permutation"):
        raw, holm = ([row[name] for rows in pairs for row in rows] for name in (kind, f"{kind}_holm"))
        assert holm == stats.holm(raw)  # over all values and runs
    marks = {row["p_permutation_holm"] < 0.05 for rows in pairs for row in rows}
    assert marks == {True, False}, "the runs must differ in some values and not in others"
    lines = {line.split("  ")[0].rstrip(" ↑↓"): line for line in out.splitlines()}
    for row, other in zip(*pairs, strict=True):
        label, digits = registry.metric(row["metric"]).label(row["value"]), 2
        cells = [f"{cell['b']:.{digits}f}{'*' if cell['p_permutation_holm'] < 0.05 else ''}" for cell in (row, other)]
        assert lines[label].removeprefix(label).strip(" ↑↓").split() == [f"{row['a']:.{digits}f}", *cells]


def test_runs_that_do_not_fit_are_named(systems: Cim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    out = systems("compare", "system-00", "system-01", "system-02").out
    assert "left out for width: c; --wide" in out and "c = system-02" in " ".join(out.split())


def test_why_a_metric_is_not_compared_is_said_once(cim: Cim, tmp_path: Path) -> None:
    texts = {"demo_01": "a b", "demo_02": "a"}
    files = [captions_file(tmp_path / f"{name}.jsonl", texts) for name in ("one", "two", "three")]
    cim("eval", "--model", f"{files[0]},{files[2]}", "--partial", "--metrics", METRICS)
    cim("eval", "--model", files[1], "--partial", "--metrics", "length")
    out = cim("compare", "one", "two", "three").out
    assert out.count("not compared") == 1 and "bleu4_char, bleu4 not compared in b: not computed in two" in out
    assert next(line.split() for line in out.splitlines() if line.startswith("bleu4_char "))[3] == "-"
    assert "not compared in" not in cim("compare", "one", "two").out


def test_runs_over_different_images_are_not_compared(cim: Cim, tmp_path: Path) -> None:
    short = captions_file(tmp_path / "one.jsonl", {"demo_01": "a b", "demo_02": "a"})
    other = captions_file(tmp_path / "other.jsonl", {"demo_01": "a b", "demo_03": "a"})
    cim("eval", "--model", f"{short},{other}", "--partial", "--metrics", METRICS)
    line = cim.refused("compare", "one", "other")
    assert "nothing to compare" in line and "signatures differ (n: 2/12@" in line


def test_a_changed_signature_is_left_out_and_said(cim: Cim) -> None:
    cim("eval", "--model", "demo-terse,demo-detailed", "--metrics", METRICS)
    path = cim.results / "demo" / "demo-terse" / "scores.json"
    unsummed(path.parent)
    path.write_text(path.read_text().replace("smooth:method3", "smooth:method1"))
    rows = _by_name(cim("compare", "demo-terse", "demo-detailed", "--json").json)
    assert rows["bleu4_char"] == {
        "metric": "bleu4_char",
        "not_compared": "signatures differ (smooth: method1 / method3)",
    }
    assert "p_permutation" in rows["bleu4"]


def test_runs_that_are_not_there(cim: Cim) -> None:
    assert "no stored run 'x'" in cim.refused("compare", "x", "y")
    cim("caption", "--model", "demo-terse")
    assert "this run has no scores" in cim.refused("compare", "demo-terse", "demo-terse")


@pytest.mark.parametrize("value", ["null", "NaN", '"x"', "[1]", "{}", "1e999"])
def test_a_cell_that_is_no_number_is_refused(cim: Cim, value: str) -> None:
    cim("eval", "--model", "demo-terse,demo-detailed", "--metrics", METRICS)
    path = cim.results / "demo" / "demo-terse" / "per_sample.jsonl"
    unsummed(path.parent)
    path.write_text(path.read_text().replace('"words":6.0', f'"words":{value}', 1))
    assert "lack numbers of length" in cim.refused("compare", "demo-terse", "demo-detailed", "--json")


@pytest.mark.parametrize("content", ['{"captions":"x"}', '{"scores":[{}]}', '{"scores":5}', "[]", "7"])
def test_a_score_file_of_another_form_is_refused(cim: Cim, content: str) -> None:
    cim("eval", "--model", "demo-terse,demo-detailed", "--metrics", METRICS)
    (cim.results / "demo" / "demo-terse" / "scores.json").write_text(content)
    assert "scores.json" in cim.refused("compare", "demo-terse", "demo-detailed")


def test_order_of_rows_does_not_matter_and_columns_are_what_they_say(cim: Cim) -> None:
    cim("eval", "--model", "demo-terse,demo-detailed", "--metrics", METRICS)
    rows = cim("compare", "demo-terse", "demo-detailed", "--json").json["comparisons"]
    unsummed(cim.results / "demo" / "demo-terse")
    for name in ("per_sample.jsonl", "statistics.jsonl"):
        path = cim.results / "demo" / "demo-terse" / name
        path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert cim("compare", "demo-terse", "demo-detailed", "--json").json["comparisons"] == rows
    for kind in ("p_bootstrap", "p_permutation"):
        raw = [row[kind] for row in rows]
        assert [row[f"{kind}_holm"] for row in rows] == stats.holm(raw)
    assert [row["value"] for row in rows] == ["score", "score", "words"]


def test_a_score_file_that_lacks_rows_is_refused(cim: Cim) -> None:
    cim("eval", "--model", "demo-terse", "--metrics", METRICS)
    path = cim.results / "demo" / "demo-terse" / "per_sample.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    del rows[3]["length"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "score the run again" in cim.refused("compare", "demo-terse", "demo-terse")


def test_a_share_of_an_empty_set_is_not_compared(cim: Cim) -> None:
    """No question has gold answer No; one image in ten has one with Yes, so some resamples have none."""
    metric, n = registry.metric("relation_qa"), 10
    for name, right in (("a", 0), ("b", 1)):
        asked = (np.arange(n) == 0).astype(float)
        counts = [right * asked, right * asked, right * asked, 0 * asked, 0 * asked, 0 * asked, asked, asked, 0 * asked]
        column = stats.Column(np.stack(counts, axis=1), metric.aggregate)
        synthetic_runs.write(cim.results / "docci500" / name, "docci500", {"relation_qa": column})
    out = cim("compare", "a", "b").out
    assert "relation_qa no_accuracy not compared: undefined in a and b" in out and "nan" not in out
    row = next(line for line in out.splitlines() if line.startswith("relation_qa yes_recall"))
    assert row.split()[3:7] == ["0.00", "100.00", "+100.00", "-"] and row.split()[8] == "1.0000", "p boot"
    assert "NaN" not in cim("compare", "a", "b", "--json").out
    table = cim("table", "a", "b", "--metrics", "relation_qa,relation_qa.yes_recall").out
    assert table.splitlines()[2].split() == ["b", "100.00*", "100.00*"]
    assert "no value 'relation_qa.no_accuracy'" in cim.refused(
        "table", "a", "b", "--metrics", "relation_qa.no_accuracy"
    )


def test_n_counts_images_where_they_have_several_captions(cim: Cim) -> None:
    column = stats.Column(np.arange(6.0)[:, None], registry.metric("rouge_l").aggregate)
    for name in ("a", "b"):
        folder = cim.results / "docci500" / name
        synthetic_runs.write(folder, "docci500", {"rouge_l": column})
        rows = [json.loads(line) for line in (folder / "per_sample.jsonl").read_text().splitlines()]
        rows = [{**row, "image_id": f"image-{at // 2}"} for at, row in enumerate(rows)]
        (folder / "per_sample.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert cim("compare", "a", "b", "--json").json["n"] == 3
    assert "docci500: n = 3 images." in cim("table", "a", "b").out


# b - a by metric and value, ``*``: significant; na_rate is a rate of errors, length has no direction. Then the verdict.
VERDICTS = [
    ({"capture score": "+2*", "relation_qa na_rate": "-97*", "cider score": "+1"}, "b > a in 2 of 3, 0, 1"),
    ({"capture score": "-2*", "relation_qa na_rate": "+97*", "cider score": "+1*"}, "a > b in 2 of 3, 1, 0"),
    ({"capture score": "+2*", "cider score": "-1*", "length words": "-7*"}, "b > a in 1 of 2, 1, 0"),
    ({"relation_qa na_rate": "-1*"}, "b is significantly better than a in relation_qa na_rate"),
    ({"cider score": "-1*", "length words": "+7*"}, "a is significantly better than b in cider"),
    ({"cider score": "+1"}, "no significant difference between b and a in cider"),
    ({"cider score": "+1", "bleu4 score": "-9"}, "no significant difference between b and a in any of 2 values"),
    ({"length words": "+7*"}, "no verdict on b and a: no value with a direction was compared"),
    ({}, "no verdict on b and a: no value could be compared"),
]


@pytest.mark.parametrize(("differences", "expected"), VERDICTS, ids=[sentence for _, sentence in VERDICTS])
def test_the_verdict_counts_values_by_their_direction(differences: dict[str, str], expected: str) -> None:
    rows = [compare.Comparison("rouge_l", "", None, not_compared="not computed in run a")]
    for label, text in differences.items():
        difference, p = float(text.rstrip("*")), 0.049 if text.endswith("*") else 0.05
        test = stats.Difference(50.0, 50.0 + difference, difference, (difference, difference), p, p, 1.0)
        rows.append(compare.Comparison(*label.split(), test, 1.0, p))
    pattern = r"(\w) > (\w) in (\d of \d), (\d), (\d)"
    whole = re.sub(pattern, r"\1 is significantly better than \2 in \3 values, worse in \4, undecided in \5", expected)
    rule = "" if "no verdict" in expected else " (n = 100 images, Holm-corrected p < 0.05)"
    assert compare.verdict(rows, "a", "b", 100) == whole + rule


def test_the_verdict_is_one_line_whatever_the_names() -> None:
    line = compare.verdict([], "a\n\x1b[2J", "b\u202e", 3)
    assert line.isprintable() and "\\x1b[2J" in line and "\\u202e" in line
