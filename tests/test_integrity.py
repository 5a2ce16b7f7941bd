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
from tests.cli import Cim

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
