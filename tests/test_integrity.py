"""A byte that flips in any file of a run or of the shared caches changes no number: it is named, or mended."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness import store
from harness.errors import CimError
from harness.runs import form
from tests.cli import Cim
from tests.torture import damage

RUN = "demo-terse"
FLIPS = 12  # of each file
OPTIONS = ("--metrics", "bleu4,cider,length", "--draws", "20")


def test_store_names_a_changed_row_and_takes_rows_without_a_checksum(tmp_path: Path) -> None:
    path, row = tmp_path / "rows.jsonl", {"sample_id": "a", "caption": "a red disc ."}
    with store.Appender(path) as rows:
        rows.append(row)
        rows.append(row)
    assert store.read_rows(path) == [row, row]
    content = path.read_bytes()
    path.write_bytes(content.replace(b"red", b"rad", 1))
    with pytest.raises(CimError, match=r"rows.jsonl:1: was changed after it was written"):
        store.read_rows(path)
    path.write_text(json.dumps(row) + "\n")
    assert store.read_rows(path) == [row], "rows of other programs have none"


def test_a_checksum_that_stands_elsewhere_is_no_checksum_less_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    store.write_rows(path, [{"sample_id": "a", "caption": "a red disc ."}], sealed=True)
    row = json.loads(path.read_text())
    path.write_text(json.dumps({**row, "caption": "a rad disc ."}) + "\n")  # blanks after commas: no seal at its place
    with pytest.raises(CimError, match=r"rows.jsonl:1: .* its checksum stands elsewhere"):
        store.read_rows(path)


@pytest.mark.parametrize("kind", ["a folder in its place", "a link to itself", "a pipe in its place"])
def test_what_is_no_file_is_named_and_never_taken_for_an_absent_one(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "scores.json"
    store.write_document(path, {})
    damage.PLACES[kind](path)
    for read in (store.read_rows, store.read_document, store.Appender):
        with pytest.raises(CimError, match=r"scores.json: is not a file"):
            read(path)
    if "folder" in kind:
        with pytest.raises(IsADirectoryError):
            store.write_document(path, {"other": 1})
        assert [file.name for file in tmp_path.iterdir()] == [path.name], "no temporary file is left"


def test_forms_name_the_first_row_that_has_another(tmp_path: Path) -> None:
    path = tmp_path / "validation.jsonl"
    store.write_rows(path, [{"step": 0, "truth": None}, {"step": 1, "references": {"cider": {"value": "x"}}}])
    with pytest.raises(CimError, match=r"validation.jsonl:2: row.references.cider.value has the wrong type"):
        form.training_rows(path)


def test_the_arena_refuses_captions_that_were_changed(cim: Cim) -> None:
    assert cim("caption", "--model", "demo-terse,demo-detailed").code == 0
    path = cim.results / "demo" / RUN / "captions.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    line = cim.refused("arena", RUN, "demo-detailed", "--judge", "rule-judge", "--task", "demo")
    assert "demo-terse/captions.jsonl: was changed after it was written" in line


def _flip(path: Path, draw: random.Random) -> int:
    """Change one bit of a file; returns the place of its byte."""
    content = bytearray(path.read_bytes())
    at = draw.randrange(len(content))
    content[at] ^= 1 << draw.randrange(7)
    path.write_bytes(content)
    return at


def _numbers(cim: Cim, verb: str) -> Any:
    """The values that a command prints; None where it ends with one line that names a file."""
    if verb == "score":
        result = cim("score", "--model", RUN, *OPTIONS, "--json")
    else:
        result = cim(verb, RUN, *([RUN] if verb == "compare" else ()), "--json")
    if result.code != 0:
        assert result.code in (1, 2) and result.err.startswith("cim: ") and "Traceback" not in result.err, result
        return None
    if verb == "score":
        return [(row["metric"], row["values"], row["ci95"]) for row in result.json["scores"]]
    return [(row["metric"], row["value"], row.get("score", row.get("a"))) for row in _rows(result.json)]


def _rows(content: Any) -> Any:
    return content["cells"] if isinstance(content, dict) and "cells" in content else content


@pytest.mark.parametrize("verb", ["score", "table"])
def test_a_flipped_bit_changes_no_number(cim: Cim, tmp_path: Path, verb: str) -> None:
    assert cim("eval", "--model", RUN, *OPTIONS).code == 0
    kept, draw, wrong = tmp_path / "kept", random.Random(0), list[str]()
    shutil.copytree(cim.results, kept)
    right = _numbers(cim, verb)
    assert right
    for file in sorted(path.relative_to(kept) for path in kept.rglob("*.json*")):
        for _ in range(FLIPS):
            shutil.rmtree(cim.results)
            shutil.copytree(kept, cim.results)
            at = _flip(cim.results / file, draw)
            if (now := _numbers(cim, verb)) is not None and now != right:
                wrong.append(f"{file} byte {at}: {now}")
    assert not wrong
