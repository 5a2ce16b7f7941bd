"""The published numbers: bytes, source, and what a reader refuses."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from harness.errors import CimError
from harness.resources import data
from leaderboards import published

SHA256 = "99b7b0e4e7e2f3fcaac472d36f06b4085bc9643f67adb6675f598cd50f3e79d3"
FILE = published.FOLDER / f"{published.NAME}.csv"


def test_the_file_is_pinned_to_the_byte(paper: Path) -> None:
    rows = [line for line in FILE.read_bytes().splitlines(keepends=True) if not line.startswith(b"#")]
    assert data.sha256(FILE) == SHA256 and b"".join(rows) == (paper / FILE.name).read_bytes()


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


def test_a_changed_published_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{published.NAME}.json").write_text(json.dumps(published.source()))
    (tmp_path / FILE.name).write_bytes(FILE.read_bytes().replace(b"29.39", b"29.40"))
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    with pytest.raises(CimError, match="is not the published file"):
        published.read()
