"""The published numbers: bytes, source, and what a reader refuses."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from harness.errors import CimError
from harness.resources import data
from leaderboards import published

SHA256 = "74c3064354f64f2f6265366a621e4c793c81a3904f78c1078d0fcca5e0838b0e"
FILE = published.FOLDER / f"{published.NAME}.csv"
HEADER = ",".join((*published.KEYS, *published.COLUMNS))


def test_the_file_is_pinned_to_the_byte(paper: Path) -> None:
    assert data.sha256(FILE) == SHA256 and FILE.read_bytes() == (paper / FILE.name).read_bytes()


def test_its_source_says_what_it_is() -> None:
    source = published.source()
    assert (source["sha256"], source["bytes"]) == (SHA256, FILE.stat().st_size)
    assert "2603.01696" in source["source"] and source["licence"] == "CC BY 4.0"
    assert tuple(source["columns"]) == (*published.KEYS, *published.COLUMNS)
    assert "never" in (published.FOLDER / "README.md").read_text(encoding="utf-8")


def test_rows_keep_the_printed_text_and_are_named_alike_in_all_tables() -> None:
    rows = published.read()
    assert [row.table for row in rows] == [6] * 5 + [7] * 30 + [8] * 8
    assert rows[1].printed["capture"] == "57.9" and rows[1].values["capture"] == Decimal("57.90")
    assert rows[0].printed.keys() == {"bleu4", "meteor", "capture", "obj_f1", "attr_f1", "rel_qa"}
    named = {row.label for row in rows if row.system == "Qwen2-VL-7B Base" and row.benchmark == "DOCCI500"}
    assert named == {f"Table {number}, DOCCI500, Qwen2-VL-7B Base" for number in (6, 7, 8)}
    assert {row.system for row in rows if row.table == 6} >= {"Gemini-1.5", "Qwen2-VL-7B SFT + Ours"}
    assert len({row.label for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("8,Base,DOCCI500,M,1,2,3,4,5,6,7,8,9", "2: has 13 cells, 14 expected"),
        ("9,Base,DOCCI500,M,1,2,3,4,5,6,7,8,9,10", "2: no row of Tables 6 to 8"),
        ("8,Base,ELSE,M,1,2,3,4,5,6,7,8,9,10", "2: no row of Tables 6 to 8"),
        ("8,Base,DOCCI500,M,1,2,3,4,5,6,7,8,9,1e1", "2: rel_qa is no number"),
        ("8,Base,DOCCI500,M,1,2,3,4,5,6,7,8,9,nan", "2: rel_qa is no number"),
        ("8,Base,DOCCI500,M,1.234,2,3,4,5,6,7,8,9,10", "2: bleu4 is no number"),
        ("8,Base,DOCCI500,M,１,2,3,4,5,6,7,8,9,10", "2: bleu4 is no number"),
        ('8,"Base,DOCCI500', "is not CSV"),
    ],
)
def test_other_files_are_read_strictly(line: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "tables.csv"
    path.write_text(f"{HEADER}\n{line}\n", encoding="utf-8")
    with pytest.raises(CimError, match=told) as caught:
        published.read(path)
    assert str(path) in str(caught.value)


def test_another_header_bytes_that_are_no_text_and_no_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tables.csv"
    path.write_text("a,b\n")
    with pytest.raises(CimError, match="has another header"):
        published.read(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CimError, match="is not CSV in UTF-8"):
        published.read(path)
    with pytest.raises(CimError, match="no such file"):
        published.read(tmp_path / "none.csv")


def test_a_changed_published_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{published.NAME}.json").write_text(json.dumps(published.source()))
    (tmp_path / FILE.name).write_bytes(FILE.read_bytes().replace(b"29.39", b"29.40"))
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    with pytest.raises(CimError, match="is not the published file"):
        published.read()
