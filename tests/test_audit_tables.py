"""The audit of any printed table: what the header may say, what each check finds, planted faults, published tables."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from leaderboards.audit import counts, general, triples
from leaderboards.audit.record import FAILS, HOLDS, LISTED, UNDEFINED, Check
from leaderboards.printed import reader
from leaderboards.printed.finding import IMPOSSIBLE, IMPROBABLE, NOTE, Finding
from leaderboards.printed.sheet import Cell, Sheet
from tests import planted_tables
from tests.cli import Cim
from tests.conftest import ROOT

PUBLISHED = ROOT / "results" / "published"
Read = Callable[[str], Sheet]


@pytest.fixture
def table(tmp_path: Path) -> Read:
    """Reads a table from its text."""

    def read(text: str) -> Sheet:
        (tmp_path / "t.csv").write_text(text, encoding="utf-8")
        return reader.read(tmp_path / "t.csv")

    return read


def by_id(sheet: Sheet) -> dict[str, Check]:
    return {check.id: check for check in general.checks(sheet)}


def findings(sheet: Sheet) -> list[Finding]:
    """Without notes."""
    return [f for check in general.checks(sheet) for f in check.findings if f.severity != NOTE]


# --- the format --------------------------------------------------------------------------------

REFUSED = {
    "": "t.csv: no table below the header",
    "a,b\n": "t.csv: no row below the column names",
    "# tittle: x\na,b\nx,1\n": "t.csv:1: unknown key 'tittle'",
    "# n: 5\n# n: 6\na,b\nx,1\n": "t.csv:2: key 'n' stands twice",
    "# n: 0\na,b\nx,1\n": "t.csv:1: no count: '0'",
    "# unit: points\na,b\nx,1\n": "t.csv:1: unknown unit 'points'",
    "# decimals: 1\na,b\nx,1.25\n": "t.csv:3, column b: more than 1 decimals: '1.25'",
    "# column c: share\na,b\nx,1\n": "t.csv:1: no column 'c'",
    "# column b: shares\na,b\nx,1\n": "t.csv:1: unknown kind 'shares'",
    "# column b: share; larger is better\na,b\nx,1\n": "t.csv:1: unknown option 'larger is better'",
    "# n: 9 in Z\na,b\nx,1\n": "t.csv:1: no group 'Z'",
    "a,b\n" + "x,1\n" * 1001: "t.csv: a table of 1001 rows, at most 1000 are read",
    "# column b: share of 9 in Z\na,b\nx,1\n": "t.csv:1: no group 'Z'",
    "# column b: average of c, d\na,b,c\nx,1,1\n": "t.csv:1: no column 'd'",
    "# column b: difference of c over Base\na,b,c\nx,1,1\n": "t.csv:1: no row 'Base'",
    "# column b: f1 of o\n# column c: f1 of o\na,b,c\nx,1,1\n": "t.csv:2: a second f1 of 'o'",
    "# row Sum: sum\na,b\nx,1\n": "t.csv:1: no row 'Sum'",
    "# row x: mean\na,b\nx,1\n": "t.csv:1: a row of totals is sum or average: 'mean'",
    "# column b: share\na,b\n\nx,1e1\n": "t.csv:4, column b: no decimal number: '1e1'",
    "# column b: share\na,b\nx,١\n": "t.csv:3, column b: no decimal number",
    "# group: g\na,b\nx,1\n": "t.csv:1: no column 'g'",
    "a,b\nx,y\n": "t.csv: no column of numbers",
    "a,a\nx,1\n": "t.csv: column 'a' stands twice",
    "a,b\nx,1,2\n": "t.csv:2: another number of columns than the header",
    '# title: x\na,b\n"x,1\n': "t.csv:3: not a table",
}


@pytest.mark.parametrize("content", REFUSED)
def test_a_malformed_table_is_refused_by_line_and_column(content: str, cim: Cim, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(content, encoding="utf-8")
    assert REFUSED[content] in cim.refused("audit", tmp_path / "t.csv")


def test_what_is_not_said_is_not_checked_and_the_key_that_would_is_named(table: Read) -> None:
    sheet = table("model\tacc\tscore\nA\t101.5\t\nB\t50.0*\t−1,234.5\n")
    assert [row.cells.keys() for row in sheet.rows] == [{"acc"}, {"acc", "score"}]
    cell = sheet.rows[1].cells["score"]
    assert (cell.value, cell.unit, sheet.rows[1].cells["acc"].best) == (Fraction("-1234.5"), Fraction(1, 10), True)
    assert not findings(sheet)
    assert general.not_run(sheet) == ["what acc, score may hold: # column NAME: KIND"]
    vague = table("# column p: share\n# column f: f1 of o\nm,p,f\nA,1.0,1.0\n")
    assert any("# n: N" in line for line in general.not_run(vague))
    assert any("precision, recall and F1 are needed" in line for line in general.not_run(vague))


def test_exit_code_and_json(cim: Cim, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.csv", tmp_path / "bad.tsv"
    good.write_text("# title: <b>\n# n: 200\n# column acc: share\nmodel,acc\nA,50.5\nB,80\n")
    bad.write_text("# n: 200\n# column acc: share\nmodel\tacc\nA\t50.7\n")
    assert cim("audit", good).code == 0
    done = cim("audit", good, bad, "--json")
    assert done.code == 1 and [entry["file"] for entry in done.json["tables"]] == [str(good), str(bad)]
    (finding,) = done.json["findings"]
    assert finding == {
        "file": str(bad),
        "check": "A-3",
        "severity": IMPOSSIBLE,
        "row": "A",
        "column": "acc",
        "line": 4,
        "printed": "50.7",
        "arithmetic": "101/200 = 50.500, 102/200 = 51.000",
        "explanation": "another n for this cell, or another number",
    }
    assert "<b>" not in cim("audit", good).out and "one or the other" in cim.refused("audit", good, "a_run")


# --- intervals and shares ----------------------------------------------------------------------


def test_a_count_is_recovered_however_it_was_rounded() -> None:
    generator = np.random.default_rng(0)
    for n in (3, 400, 2462, 9999):
        for k in {0, 1, n, *map(int, generator.integers(0, n, 100))}:
            for rule in (ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_DOWN):
                printed = (Decimal(100 * k) / Decimal(n)).quantize(Decimal("0.01"), rule)
                cell = Cell(str(printed), Fraction(printed), Fraction(1, 100), cut_off=rule == ROUND_DOWN)
                assert k in counts.solutions(counts.ends(cell, 100), n), (k, n, rule)
    for n in (7, 400, 800):
        cells = (Cell("", Fraction(c, 100), Fraction(1, 100)) for c in range(10_001))
        fitting = sum(bool(counts.solutions(counts.ends(cell, 100), n)) for cell in cells)
        assert counts.chance(Fraction(1, 10_000), n) == Fraction(fitting, 10_001)
    assert counts.chance(Fraction(1, 10**9), 10**8) == Fraction(10**8 + 1, 10**9 + 1)
    assert counts.count(Decimal("37.5"), 8) == 3 and counts.count(Decimal("37.4"), 8) is None


def test_shares_of_n_name_the_misfit_and_the_n_that_fits(table: Read) -> None:
    """12.5 % steps of 8; all but one of 498 images."""
    sheet = table("# column q: share of 8 in a, 16 in b\n# group: g\ng,m,q\na,x,12.50\na,y,12.51\nb,x,6.25\n")
    (finding,) = findings(sheet)
    assert (finding.row, finding.arithmetic) == ("a, y", "1/8 = 12.5000, 2/8 = 25.0000")
    lines = [f"m{k},{100 * k / 249:.2f}" for k in (17, 60, 101, 130, 205)]
    checks = by_id(table("# n: 250\n# column q: share\nm,q\n" + "\n".join(lines) + "\n"))
    assert checks["A-3"].verdict == FAILS and checks["A-3"].recomputed["q"]["n that fit all"] == [249]
    assert "n = 249 would fit" in checks["A-3"].findings[0].explanation


def test_a_check_that_says_nothing_says_so_and_signs_and_integers_are_shares_too(table: Read) -> None:
    vacuous = by_id(table("# n: 5000\n# column q: share\nm,q\nx,12.3\n"))["A-3"]
    assert vacuous.verdict == UNDEFINED and "nothing is checked" in vacuous.details[0]
    sheet = table("# column w: net share of 200\n# column r: integers of 4\nm,w,r\nx,-49.5,3.25\ny,-49.7,3.1\n")
    assert [(f.row, f.column) for f in findings(sheet)] == [("y", "w"), ("y", "r")]


# --- precision, recall, F1 ---------------------------------------------------------------------

PRF = "# column p: precision of o\n# column r: recall of o\n# column f: f1 of o{how}\nm,p,r,f\n"


@pytest.mark.parametrize(
    ("how", "row", "possible"),
    [
        (" over images", "50,50,50", True),
        (" over images", "50.00,50.00,50.01", True),  # 50.005 is the bound
        (" over images", "50.00,50.00,50.02", False),
        (" over images", "90.00,80.00,70.00", True),  # P + R - 1
        (" over images", "90.00,80.00,69.98", False),
        (" over images", "60.00,30.00,0.00", True),
        ("", "90.00,80.00,69.98", False),
        (" from P and R", "90.00,80.00,84.71", True),
        (" from P and R", "90.00,80.00,84.69", False),
        (" from P and R", "0.00,0.00,0.00", True),
    ],
)
def test_f1_is_within_what_p_and_r_allow(how: str, row: str, possible: bool, table: Read) -> None:
    check = by_id(table(PRF.format(how=how) + f"x,{row}\n"))["A-4"]
    assert check.verdict == (HOLDS if possible else FAILS)
    assert bool(check.findings) is not possible


def test_means_of_any_images_are_possible_and_both_bounds_are_attained(table: Read) -> None:
    generator = np.random.default_rng(1)
    rows = list[str]()
    for at in range(300):
        n = int(generator.integers(1, 40))
        p, r = generator.uniform(0, 1, (2, n)) ** generator.uniform(0.01, 5, (2, 1))
        f1 = 2 * p * r / np.maximum(p + r, 1e-9)
        rows.append(f"m{at}," + ",".join(f"{100 * x.mean():.2f}" for x in (p, r, f1)))
    rows += ["equal,40,40,40", "corners,75,75,50"]  # images (1, 1), (1, 1), (1, 0), (0, 1)
    assert by_id(table(PRF.format(how=" over images") + "\n".join(rows) + "\n"))["A-4"].verdict == HOLDS


def test_an_unusual_gap_is_found_and_its_repair_gives_the_median(table: Read) -> None:
    """Gaps -1.2, -1.1, -1.0, -0.9, -0.8, 5: median -0.95, MAD 0.15, so z of the last is 5.95/(1.4826 * 0.15)."""
    gaps = ("-1.2", "-1.1", "-1.0", "-0.9", "-0.8", "5")
    sheet = table(PRF.format(how="") + "".join(f"m{g},60,60,{60 + Decimal(g)}\n" for g in gaps))
    members = triples.groups(sheet)["", "o"]
    (outlier,) = triples.outliers(members) or []
    assert outlier.z == Fraction(595, 100) / (Fraction(14826, 10000) * Fraction(15, 100))
    repaired = outlier.restored()
    assert repaired["F1"] == 59.05 and repaired["P"] == repaired["R"]
    assert 2 * float(repaired["P"] or 0) * 60 / (float(repaired["P"] or 0) + 60) == pytest.approx(65.95, abs=0.005)
    assert triples.outliers(members[:5]) == [] and triples.outliers(members[:4]) is None
    assert triples.suspects(sheet)["m5", "", "f", Fraction(65)] == ["suspect", "unusual"]


# --- cells that follow, repeat, are marked -------------------------------------------------------


def test_derived_cells_follow_within_rounding(table: Read) -> None:
    header = (
        "# column avg: average of a, b\n# column sum: sum of a, b\n# column d: difference of a and b\n"
        "# column q: quotient of a and b\n# column gain: difference of avg over Base\nm,a,b,avg,sum,d,q,gain\n"
    )
    fine = "Base,2.0,1.0,1.5,3.1,+0.9,2.0,\nOurs,4.0,3.1,3.6,7.1,0.9,1.3,+2.1\n"
    assert not findings(table(header + fine))
    off = "Base,2.0,1.0,1.7,3.3,+1.2,2.3,\nOurs,4.0,3.1,3.6,7.1,0.9,1.3,+2.3\n"
    listed = findings(table(header + off))
    assert [(f.row, f.column) for f in listed] == [("Base", c) for c in ("avg", "sum", "d", "q")] + [("Ours", "gain")]
    assert listed[0].arithmetic == "(2.0 + 1.0)/2 = 1.500" and listed[0].explanation.endswith("a 2.4 or b 1.4 alone")
    weighted = "# column a: share of 10\n# column b: share of 30\n# column c: average of a, b\nm,a,b,c\n"
    weighted += "x,50.0,90.0,80.0\n"
    assert [f.explanation for f in findings(table(weighted))] == ["it is the average weighted by n"]
    totals = "# column k: count\n# row All: sum\nm,k,x\nA,10,1\nB,20,2\nAll,{},9\n"
    assert not findings(table(totals.format(30))) and len(findings(table(totals.format(31)))) == 1


def test_cut_off_digits_are_taken_as_that_only_where_several_cells_say_so(table: Read) -> None:
    header = "# column c: average of a, b\nm,a,b,c\n"
    rows = ["x,1.1,2.2,1.7", "y,1.1,2.2,1.6"] + [f"z{k},{k}.1,{k}.1,{k}.1" for k in range(9)]
    assert not findings(table(header + "\n".join(rows) + "\n"))
    shares = [f"m{k},{Decimal(100 * k) / 300:.3f}"[:-1] for k in (20, 50, 80, 110, 140)]  # 6.66, 16.66, ...
    checks = general.checks(table("# n: 300\n# column q: share\nm,q\n" + "\n".join(shares) + "\n"))
    assert "cut off, not rounded" in checks[0].found and not general.impossible(checks)
    checks = general.checks(table("# n: 300\n# column q: share\nm,q\n" + "\n".join(shares[:2]) + "\n"))
    assert general.impossible(checks) == 2


def test_ranges_and_repeats(table: Read) -> None:
    header = "# column s: share\n# column k: count\n# column t: correlation\n"
    sheet = table(header + "m,s,k,t\nA,100.1,2.5,-101\nB,100.0,2,-100\n")
    assert [(f.row, f.column) for f in findings(sheet)] == [("A", "s"), ("A", "k"), ("A", "t")]
    rows = "A,12.31,45.11,71.02\nB,55.61,12.00,80.11\nA2,12.31,45.11,71.02\n"
    (copy,) = findings(table("m,a,b,c\n" + rows))
    assert copy.severity == IMPROBABLE and copy.row == "A2" and "3 of 3 cells equal those of A" in copy.arithmetic
    assert not findings(table("m,a,b,c\nA,1,2,3\nB,1,2,3\nC,2,3,1\n"))  # few digits: no wonder
    check = by_id(table("m,a\nA,1.0\nB,2.0\nA,1.1\n"))["A-2"]
    assert check.findings[0].line == 4 and check.found == "0 shared cells are equal, 1 differ"


def test_marks_of_the_best_and_differences_that_no_test_finds(table: Read) -> None:
    text = "# n: 500\n# column a: share; higher is better\n# column h: share; lower is better\nm,a,h\n"
    fine = table(text + "A,80.0*,10.0\nB,79.0,9.0*\nC,60.0,20.0\n")
    checks = by_id(fine)
    assert checks["A-17"].verdict == HOLDS and checks["A-18"].verdict == LISTED
    (tie, close) = [f for f in checks["A-18"].findings]
    assert "at most 5 of 500" in tie.arithmetic and "p >= 0.0625" in close.explanation
    wrong = by_id(table(text + "A,80.0,10.0*\nB,79.0*,9.0\n"))["A-17"]
    assert [(f.severity, f.row, f.column) for f in wrong.findings] == [(IMPOSSIBLE, "B", "a"), (IMPOSSIBLE, "A", "h")]
    assert not by_id(table(text + "A,81.2,10.0\nB,80.0,12.0\n"))["A-18"].findings  # 6 and 10 of 500


def test_floors_and_names(table: Read) -> None:
    text = "# task: docci500\n# column bleu4: bleu4\n# column q: share; floor 50\nm,bleu4,q\n"
    checks = by_id(table(text + "A,29.4,49.9\nB,41.4,70.0\nC,2.9,80\n"))
    assert [(f.severity, f.row, f.column) for f in checks["A-19"].findings] == [
        (NOTE, "C", "bleu4"),
        (IMPROBABLE, "A", "q"),
    ]
    (name,) = checks["A-20"].findings
    assert "it reads as bleu4_char" in str(name) and "8.1 times the floor of bleu4 (3.64)" in str(name)
    order = findings(table("# column b1: bleu1\n# column b4: bleu4\nm,b1,b4\nA,30.0,31.0\n"))
    assert [(f.severity, f.column) for f in order] == [(IMPROBABLE, "b4")]
    (unit,) = by_id(table("# column s: share\nm,s\nA,0.51\nB,0.62\n"))["A-20"].findings
    assert "# unit: share" in unit.explanation
    assert not by_id(table("# unit: share\n# column s: share\nm,s\nA,0.51\nB,0.62\n"))["A-20"].findings


# --- planted faults, published tables ------------------------------------------------------------


def test_planted_faults_are_found_and_honest_tables_are_not_accused(tmp_path: Path) -> None:
    measured = planted_tables.measure(200, 0, tmp_path)
    assert measured.planted.total() == measured.honest == 100
    assert measured.recall >= 0.95
    assert measured.alarms <= 2 and measured.suspicions <= 2


def test_findings_in_published_tables_are_those_of_the_page() -> None:
    page = " ".join((ROOT / "docs" / "audit.md").read_text(encoding="utf-8").split())
    files = sorted([*PUBLISHED.glob("t*/*.csv"), *PUBLISHED.glob("*_*.csv")])
    assert len(files) == 13
    for file in files:
        sheet = reader.read(file)
        assert sheet.title and sheet.source and f"`{file.name}`" in page
        listed = [finding for check in general.checks(sheet) for finding in check.findings]
        counted = (str(sum(f.severity == severity for f in listed)) for severity in (IMPOSSIBLE, IMPROBABLE, NOTE))
        row = (
            page.partition(f"| `{file.name}` | ")[2].partition(" |")[2].partition(" | | `")[0].partition(" What is")[0]
        )
        assert row.strip(" |") == " | ".join(counted), file.name
        assert all(f"`{finding}`" in page for finding in listed if finding.severity == IMPOSSIBLE), file.name
