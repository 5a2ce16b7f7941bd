"""What the gate writes: a table, JSON, JUnit XML, annotations and a summary, each safe with any text."""

from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from leaderboards import gate_output
from tests.boards import Boards
from tests.cli import Cim
from tests.edits import document

HOSTILE = 'x%y\n::error title=forged::<script>alert("1")</script> & | **b** [l](http://x) \x1b[31m \u202e ]]> --> \x00'
COMPARED = "bleu4_char,length"


@pytest.fixture
def pair(cim: Cim, tmp_path: Path) -> tuple[Path, Path]:
    """Two folders: a run of which both values are far below those of the other."""
    assert cim("eval", "--model", "demo-terse,demo-detailed", "--metrics", COMPARED).code == 0
    return cim.results / "demo" / "demo-terse", cim.results / "demo" / "demo-detailed"


def test_the_table_holds_every_column(boards: Boards, pair: tuple[Path, Path]) -> None:
    result = boards("check", pair[0], "--baseline", pair[1])
    title, header, chars, words, settings, outcome = result.out.splitlines()
    assert result.code == 1 and result.err == ""
    assert title == "demo-terse against baseline demo-detailed on demo: 12 images, margin 1 point"
    columns = "value  baseline  run  difference  95 % interval  p (Holm)  margin  verdict"
    assert header.split() == columns.split()
    assert chars.split()[0] == "bleu4_char" and chars.split()[-2:] == ["1.00", "failed"]
    assert words.split()[0] == "length" and words.endswith("-  not gated")
    assert settings.startswith("settings that differ (baseline / run): model.sha256:")
    assert outcome.startswith("failed: 1 of 2 values")


def test_junit_holds_a_case_a_value(boards: Boards, pair: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "deep" / "gate.xml"
    result = boards("check", pair[0], "--baseline", pair[1], "--junit", path, "--json")
    (suite,) = ElementTree.parse(path).getroot()
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "2",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
    }
    chars, words = suite.findall("testcase")
    row = result.json["comparisons"][0]
    told = chars.findtext("failure") or ""
    for part in (
        f"baseline {row['a']:.2f}",
        f"run {row['b']:.2f}",
        f"difference {row['difference']:+.2f}",
        f"95 % interval {row['ci95'][0]:.2f} .. {row['ci95'][1]:.2f}",
        f"p {row['p_permutation_holm']:.4f}",
        "margin 1.00",
    ):
        assert part in told
    assert words.find("skipped") is not None and chars.get("name") == "bleu4_char"
    first = path.read_bytes()
    boards("check", pair[0], "--baseline", pair[1], "--junit", path)
    assert path.read_bytes() == first  # no clock
    assert [file.name for file in path.parent.iterdir()] == ["gate.xml"]
    boards("check", pair[0], "--baseline", pair[0], "--junit", path)
    (suite,) = ElementTree.parse(path).getroot()
    assert suite.get("failures") == "0" and suite.findall(".//failure") == []


def test_a_refusal_replaces_earlier_files(boards: Boards, pair: tuple[Path, Path], tmp_path: Path) -> None:
    """A job that uploads what is there must not show the last passed comparison."""
    xml, summary = tmp_path / "gate.xml", tmp_path / "gate.md"
    written = ("--junit", xml, "--summary", summary)
    assert boards("check", pair[0], "--baseline", pair[0], *written).code == 0
    document("manifest.json", lambda content: content.update(status="running"))(pair[0])
    line = boards.refused("check", pair[0], "--baseline", pair[1], *written)
    (suite,) = ElementTree.parse(xml).getroot()
    assert suite.get("errors") == "1" and (suite.findtext("testcase/error") or "!") in line
    assert "refused" in summary.read_text() and "is not complete" in summary.read_text()
    result = boards("check", pair[0], "--baseline", pair[1], "--annotations")
    assert result.code == 2 and result.out.startswith("::error title=cim gate::") and result.out.count("\n") == 1


@pytest.mark.parametrize(
    ("heading", "message", "line"),
    [
        ("a", "b", "::error title=a::b"),
        ("a: b, c", "d: e, f", "::error title=a%3A b%2C c::d: e, f"),
        ("100 %", "50 %\r\n::error::x", "::error title=100 %25::50 %25%0D%0A::error::x"),
        ("a\nb", "%0A", "::error title=a%0Ab::%250A"),
    ],
)
def test_annotations_are_escaped_as_github_says(heading: str, message: str, line: str) -> None:
    assert gate_output.annotation("error", heading, message) == line


def test_annotations_come_where_github_runs_it_or_when_asked(
    boards: Boards, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arguments = ("check", pair[0], "--baseline", pair[1])
    plain = boards(*arguments).out
    assert "::" not in plain
    asked = boards(*arguments, "--annotations").out
    assert asked.startswith(plain)
    error, settings, last = [line for line in asked.splitlines() if line.startswith("::")]
    assert error.startswith("::error title=regression%3A bleu4_char::bleu4_char: baseline ")
    assert "95 %25 interval" in error and settings.startswith("::notice title=cim gate::settings that differ")
    assert last.startswith("::notice title=cim gate::demo-terse against baseline demo-detailed")
    better = boards("check", pair[1], "--baseline", pair[0], "--annotations").out
    assert "::notice title=better%3A bleu4_char::" in better and "::error" not in better
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    summary = tmp_path / "summary.md"
    summary.write_text("what an earlier command wrote\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert boards(*arguments).out == asked
    assert boards(*arguments, "--json").json["passed"] is False  # JSON stays alone
    told = summary.read_text()
    assert told.startswith("what an earlier command wrote\n") and told.count("### Regression gate: ") == 2
    assert "| **bleu4\\_char** |" in told and "| length |" in told


def test_json_and_annotations_exclude_each_other(boards: Boards) -> None:
    assert "not allowed with" in boards.refused("check", "x", "--json", "--annotations")


def test_a_hostile_name_is_text_everywhere(boards: Boards, pair: tuple[Path, Path], tmp_path: Path) -> None:
    name = HOSTILE.replace("/", "\u2215").replace("\x00", "\x01")  # what a folder cannot be called
    hostile = tmp_path / "demo" / name
    shutil.copytree(pair[0], hostile)
    xml, summary = tmp_path / "gate.xml", tmp_path / "gate.md"
    result = boards("check", hostile, "--baseline", pair[1], "--annotations", "--junit", xml, "--summary", summary)
    assert result.code == 1
    commands = [line for line in result.out.splitlines() if line.startswith("::")]
    assert [line.split("::")[1].split(" ")[0] for line in commands] == ["error", "notice", "notice"]
    assert not any(line.startswith("::error title=forged") for line in result.out.splitlines())
    assert all(ord(c) >= 32 and c != "\u202e" for line in result.out.splitlines() for c in line)
    (suite,) = ElementTree.parse(xml).getroot()
    assert len(suite.findall("testcase")) == 2 and "<script>" in (suite.find("properties/property").get("value") or "")  # type: ignore[union-attr]
    told = summary.read_text()
    assert (
        not re.search(r"(?<!\\)<", told) and "\\<script\\>" in told and "\\*\\*b\\*\\*" in told and "\n::" not in told
    )
    named = boards("check", hostile, "--baseline", pair[1], "--json").json["run"]
    assert named == name


def test_a_folder_that_cannot_be_written_is_one_line(boards: Boards, pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = boards("check", pair[0], "--baseline", pair[0], "--junit", tmp_path / "file" / "gate.xml")
    assert result.code == 2 and result.err.count("\n") == 1
