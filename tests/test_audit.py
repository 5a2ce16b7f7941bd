"""The checks of the published tables on small tables worked out by hand, one held and one broken each."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from leaderboards import published
from leaderboards.audit import association, claims, record
from leaderboards.published import PaperRow
from tests.conftest import ROOT

FULL = dict.fromkeys(published.COLUMNS, "50")
QUESTIONS = {"COCO-LN500": 2462, "DOCCI500": 2481}


def row(method: str = "Base", benchmark: str = "DOCCI500", table: int = 8, base: str = "M", **cells: str) -> PaperRow:
    return PaperRow(table, base, benchmark, method, {**FULL, **cells})


def changed(label: str, **cells: str) -> list[PaperRow]:
    """The published rows with cells of one row replaced."""
    rows = published.read()
    assert label in {row.label for row in rows}
    return [replace(row, printed={**row.printed, **cells}) if row.label == label else row for row in rows]


def test_a_row_that_another_table_repeats_counts_once() -> None:
    short = PaperRow(6, "Qwen2-VL-7B", "DOCCI500", "", {"bleu4": "50", "rel_qa": "50"})
    whole = row(base="Qwen2-VL-7B")
    assert association.distinct([short, whole]) == [whole]
    assert len(association.distinct([replace(short, printed={"bleu4": "51"}), whole])) == 2


# --- A-14 -------------------------------------------------------------------------


def backbone(
    ours: Mapping[str, str], larger: Mapping[str, str], plain: Mapping[str, str], name: str = "B"
) -> list[PaperRow]:
    methods = {"7B-Base": plain, "70B-Base": larger, "7B-Ours": ours}
    return [row(method, table=7, base=name, **cells) for method, cells in methods.items()]


@pytest.mark.parametrize(("ours", "holds"), [("12.36", True), ("12.24", True), ("12.37", False), ("12.23", False)])
def test_an_average_gain_holds_to_the_hundredth(ours: str, holds: bool) -> None:
    """Claim 2.3 over a larger sibling of 10: 12.24 to 12.36 round to it with the room for rounded cells."""
    outcome = claims.gains(backbone({"bleu4": ours}, {"bleu4": "10"}, {"bleu4": "8"}), {"bleu4": "2.3"})
    assert outcome.verdict == (record.HOLDS if holds else record.FAILS)
    assert outcome.recomputed["bleu4"]["own base, points"] == pytest.approx(float(ours) - 8)
    assert outcome.recomputed["bleu4"]["larger, mean relative %"] == pytest.approx(10 * float(ours) - 100)


def test_subsets_of_groups_are_counted() -> None:
    """Gains 2, 4 and 9 with claim 3: the first two together alone."""
    rows = [r for at, x in enumerate(("52", "54", "59")) for r in backbone({"bleu4": x}, {}, {}, f"B{at}")]
    verdict = claims.gains(rows, {"bleu4": "3"}).recomputed
    assert verdict["subsets"]["tried"] == 7 and verdict["subsets"]["most matched"] == 1
    assert verdict["subsets"]["first"] == [["B0, DOCCI500", "B1, DOCCI500"]] and verdict["bleu4"]["matches"] is False
    assert verdict["bleu4"]["larger, points"] == 5 and verdict["bleu4"]["larger, ratio of means %"] == 10


def test_wins_and_losses_are_counted_by_column() -> None:
    better = dict.fromkeys(published.COLUMNS, "51")
    assert claims.wins(backbone(better, {}, {})).verdict == record.HOLDS
    outcome = claims.wins(backbone({**better, "obj_p": "50"}, {}, {"obj_p": "50.5"}))
    assert outcome.verdict == record.PARTLY
    assert outcome.recomputed["larger sibling"]["obj_p"] == {"wins": 0, "of": 1, "losses": {"B, DOCCI500": 0}}
    assert outcome.recomputed["own base"]["obj_p"]["losses"] == {"B, DOCCI500": -0.5}
    assert outcome.recomputed["own base"]["obj_r"] == {"wins": 1, "of": 1, "losses": {}}


def test_table_6_is_held_against_its_words() -> None:
    assert claims.closed_models(published.read()).verdict == record.HOLDS
    outcome = claims.closed_models(changed("Table 6, DOCCI500, Claude-3.7", capture="57.96", bleu4="45.16"))
    assert outcome.verdict == record.PARTLY and outcome.recomputed["best"]["bleu4"] is False
    assert outcome.recomputed["above the base"]["claimed"]["Claude-3.7"]["capture"] is False


def test_gains_in_qa_come_from_counts() -> None:
    """36.76 and 32.01 of 2,462 are 905 and 788: 100 * 117/2462 = 4.7522 rounds to 4.8; the cells differ by 4.75."""
    verdict = claims.over_sc_captioner(published.read(), QUESTIONS)
    assert verdict.recomputed["differences"]["COCO-LN500, over SC-Captioner"]["rel_qa"] == 4.7522
    assert all(verdict.recomputed["gains as claimed"].values()) and len(verdict.recomputed["gains as claimed"]) == 4
    broken = changed("Table 8, DOCCI500, Qwen2-VL-7B SFT + Ours", attr_f1="59.37", rel_qa="28.58")
    verdict = claims.over_sc_captioner(broken, QUESTIONS)
    assert verdict.recomputed["gains as claimed"]["Attributes F1, DOCCI500"] is False
    assert "DOCCI500, Relations QA over SC-Captioner +0.00" in verdict.recomputed["losses"]


def test_the_abstract_is_read_both_ways() -> None:
    outcome = claims.abstract(published.read())
    assert outcome.recomputed == {"points": 20.39, "relative to the base, %": 85.82, "matching": ["points"]}
    label = "Table 7, COCO-LN500, Qwen2.5-VL-7B Ours"
    assert claims.abstract(changed(label, rel_qa="28.51")).recomputed["matching"] == ["relative to the base, %"]
    assert claims.abstract(changed(label, rel_qa="40")).verdict == record.FAILS


def test_short_references_are_counted_system_by_system() -> None:
    coco = [row("Base", "COCO-LN500", obj_p="40", attr_p="40", bleu4="60"), row("SFT", "COCO-LN500", obj_p="60")]
    docci = [row("Base"), row("SFT")]
    outcome = association.short_references([*coco, *docci])
    assert outcome.recomputed["lower on COCO-LN500"] == {"obj_p": 1, "attr_p": 1}
    assert [place["rank"] for place in outcome.recomputed["BLEU-4 ranks of bases"]] == [1, 1]
    assert outcome.verdict == record.PARTLY
    held = [coco[0], row("SFT", "COCO-LN500", obj_p="40", attr_p="40"), *docci]
    assert association.short_references(held).verdict == record.HOLDS


def test_relation_recall_is_objects_recall() -> None:
    assert claims.object_recall(published.read()).verdict == record.HOLDS
    outcome = claims.object_recall(changed("Table 7, COCO-LN500, InternVL3-8B Ours", obj_r="60"))
    assert outcome.verdict == record.PARTLY and outcome.recomputed["matches"]["InternVL3"] is False


# --- A-13 --------------------------------------------------------------------------------------


def correlated(left: Sequence[str], other: Sequence[str]) -> association.Pair:
    rows = [row(f"M{at}", bleu4=a, meteor=b) for at, (a, b) in enumerate(zip(left, other, strict=True))]
    (pair,) = [p for p in association.pairs(rows, "DOCCI500") if (p.first, p.second) == ("bleu4", "meteor")]
    return pair


def test_correlation_of_four_systems_by_hand() -> None:
    """1 2 3 4 against 1 3 2 4: covariance 4/4, variances 5/4 each, so r = 0.8; ranks are the numbers."""
    pair = correlated("1234", "1324")
    assert pair.n == 4 and pair.pearson == pytest.approx(0.8) and pair.spearman == pytest.approx(0.8)
    z = 1.959963984540054
    assert pair.pearson_ci95 == pytest.approx((math.tanh(math.atanh(0.8) - z), math.tanh(math.atanh(0.8) + z)))
    assert pair.spearman_ci95 == pytest.approx(
        (math.tanh(math.atanh(0.8) - z * math.sqrt(1.06)), math.tanh(math.atanh(0.8) + z * math.sqrt(1.06)))
    )


def test_constants_few_rows_and_perfect_lines_have_no_made_up_numbers() -> None:
    assert correlated("5555", "1234").pearson is None and correlated("5555", "1234").spearman_ci95 is None
    assert correlated("123", "132").pearson == pytest.approx(0.5) and correlated("123", "132").pearson_ci95 is None
    line = correlated("1234", "2468")
    assert line.pearson == 1 and line.pearson_ci95 is None and line.spearman == 1
    assert association.correlations([row()]).verdict == record.UNDEFINED


def test_correlations_are_those_of_scipy() -> None:
    scipy = pytest.importorskip("scipy.stats")
    rows = published.read()
    for benchmark, wanted in (("COCO-LN500", 18), ("DOCCI500", 22)):
        selected = [row for row in association.distinct(rows) if row.benchmark == benchmark]
        computed = association.pairs(rows, benchmark)
        assert len(computed) == 45 and max(pair.n for pair in computed) == wanted
        for pair in computed:
            both = [row.values for row in selected if {pair.first, pair.second} <= row.printed.keys()]
            row, other = ([float(values[c]) for values in both] for c in (pair.first, pair.second))
            theirs = scipy.pearsonr(row, other)
            assert pair.pearson == pytest.approx(theirs.statistic, abs=1e-12)
            assert pair.pearson_ci95 == pytest.approx(tuple(theirs.confidence_interval()), abs=1e-9)
            assert pair.spearman == pytest.approx(scipy.spearmanr(row, other).statistic, abs=1e-12)


def test_the_warning_stands_beside_the_numbers() -> None:
    verdict = association.correlations(published.read())
    assert verdict.recomputed["warning"] == association.WARNING and association.WARNING in verdict.found


def test_a_reader_that_leaves_is_no_traceback(tmp_path: Path) -> None:
    """As with ``python -m leaderboards audit | head``."""
    command = [sys.executable, "-m", "leaderboards", "audit", "--results", str(tmp_path)]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout and running.stderr
    running.stdout.close()
    told = running.stderr.read()
    running.stderr.close()
    assert running.wait() == 1 and "Traceback" not in told and "BrokenPipe" not in told, told
