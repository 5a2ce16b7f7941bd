"""`cim compare`: paired tests from stored statistics, only where signatures agree."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness.runs import compare, stats
from tests import controls
from tests.cli import Cim, captions_file

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
        (one,), (other,) = first["values"].values(), second["values"].values()
        assert row["a"] == pytest.approx(one) and row["b"] == pytest.approx(other)
        assert row["difference"] == pytest.approx(other - one)
        low, high = row["ci95"]  # type: ignore[misc]
        assert low <= other - one <= high
        assert row["p_permutation_holm"] == pytest.approx(min(1, 3 * row["p_permutation"]), abs=1e-9)  # type: ignore[operator]
        assert row["p_permutation"] == pytest.approx(1 / 10_001)
        assert row["minimum_detectable_difference"] > 0  # type: ignore[operator]


def test_a_run_against_itself(cim: Cim) -> None:
    cim("eval", "--model", "demo-terse", "--metrics", METRICS)
    for row in cim("compare", "demo-terse", "demo-terse", "--json").json["comparisons"]:
        assert (row["difference"], row["p_bootstrap"], row["p_permutation_holm"]) == (0, 1, 1)


def test_the_table_names_its_columns(cim: Cim) -> None:
    cim("eval", "--model", "demo-terse,demo-detailed", "--metrics", METRICS)
    result = cim("compare", "demo-terse", "demo-detailed")
    assert result.code == 0 and "Holm" in result.out and "detectable" in result.out and "bleu4_char" in result.out


def test_runs_over_different_images_are_not_compared(cim: Cim, tmp_path: Path) -> None:
    one = captions_file(tmp_path / "one.jsonl", {"demo_01": "a b", "demo_02": "a"})
    other = captions_file(tmp_path / "other.jsonl", {"demo_01": "a b", "demo_03": "a"})
    cim("eval", "--model", f"{one},{other}", "--partial", "--metrics", METRICS)
    line = cim.refused("compare", "one", "other")
    assert "nothing to compare" in line and "signatures differ (n: 2/12@" in line


def test_a_changed_signature_is_left_out_and_said(cim: Cim) -> None:
    cim("eval", "--model", "demo-terse,demo-detailed", "--metrics", METRICS)
    path = cim.results / "demo" / "demo-terse" / "scores.json"
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
