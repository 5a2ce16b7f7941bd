"""A small round of each part of ``make torture``, on commands that load no weights."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from harness import store
from tests.cli import Cim
from tests.conftest import ROOT
from tests.torture import limits, table, workspace


def _torture(folder: Path, *words: str) -> Counter[str]:
    """Cases by part; every one must have come out well."""
    command = [sys.executable, "-m", "tests.torture", "--small", "--seed", "3", "--work", str(folder), *words]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = store.read_rows(folder / "seed-3.jsonl")
    assert [row for row in rows if row["what"] and row["what"] not in table.GOOD] == []
    return Counter(row["part"] for row in rows)


def test_kills_limits_and_two_writers(tmp_path: Path) -> None:
    parts = ["kills", "writers", *limits.LIMITS]
    assert _torture(tmp_path, "--parts", ",".join(parts), "--count", "1") == dict.fromkeys(parts, 1)


def test_damaged_files(tmp_path: Path) -> None:
    assert _torture(tmp_path, "--parts", "bits", "--count", "30") == {"bits": 30}


def test_the_table_counts_and_names_what_came_out_badly() -> None:
    rows = [
        {"name": "kills 0 judge", "part": "kills", "what": "killed, then the same bytes", "detail": ""},
        {"name": "kills 1 board", "part": "kills", "what": "OTHER BYTES", "detail": "results/x.json"},
        {"name": "bits score | a.jsonl | truncated | 1.0", "part": "bits", "what": "named", "detail": ""},
        {"name": "bits score | a.jsonl | emptied | 1.0", "part": "bits", "what": "", "detail": ""},
    ]
    text = "\n".join(table.lines(rows, 1, "today"))
    assert "seed 1: 3 cases, 1 came out badly" in text and "* `kills 1 board`: OTHER BYTES: `results/x.json`" in text
    assert "| a file: truncated | 1 | named 1 |" in text and "emptied" not in text


def test_a_torn_line_counts_but_in_a_cache(tmp_path: Path) -> None:
    """A round ended with an error at the first one before."""
    for folder, expected in ((tmp_path / "run", 2), (tmp_path / ".cache", 1)):
        folder.mkdir()
        (folder / "rows.jsonl").write_text('{"key": "a"}\n{"key": "b\n')
        assert len(workspace.without_times(folder / "rows.jsonl").splitlines()) == expected


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("can't start new thread"), True),
        (ImportError("libjpeg.so: failed to map segment from shared object"), True),
        (SystemError("error return without exception set"), True),
        (RuntimeError("a fault of ours"), False),
        (SystemError("a fault of an extension"), False),
        (ImportError("No module named 'x'"), False),
    ],
)
def test_only_missing_memory_is_told_as_such(
    cim: Cim, monkeypatch: pytest.MonkeyPatch, error: Exception, told: bool
) -> None:
    def fails(*_: object) -> int:
        raise error

    monkeypatch.setattr("harness.command.evaluate.evaluate_verb", fails)
    command = ("score", "--model", "demo-terse")
    if not told:
        with pytest.raises(type(error), match=str(error)):
            cim(*command)
        return
    ended = cim(*command)
    assert ended.code == 1 and ended.err.startswith("cim: no memory left") and ended.err.count("\n") == 1


@pytest.mark.parametrize(("megabytes", "code"), [(90, 1), (4096, 0)])
def test_too_little_address_space_is_told_at_once(megabytes: int, code: int) -> None:
    """In the first, numpy's OpenBLAS asks for its buffers without end when it is loaded."""
    command = f"ulimit -v {megabytes * 1024}; exec {shlex.quote(sys.executable)} -m harness list metrics"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == code
    told = "cim: no memory left (less than 128 MB of address space, see ulimit -v)"
    assert done.stderr.startswith(told) and done.stderr.count("\n") == 1 if code else not done.stderr
