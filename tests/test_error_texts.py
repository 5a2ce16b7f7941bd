"""The texts of refused commands, once and together: tests/snapshots/errors.txt.

Everywhere else tests assert type, place and exit code. After a change of words, look at the difference and write the
file again: ``CIM_UPDATE_SNAPSHOTS=1 .venv/bin/python -m pytest tests/test_error_texts.py``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli import Cim, captions_file
from tests.conftest import ROOT

SNAPSHOT = ROOT / "tests" / "snapshots" / "errors.txt"
FILES = {
    "broken.jsonl": "{\n",
    "array.jsonl": "[1]\n",
    "unknown_id.jsonl": '{"sample_id": "nobody", "caption": "a"}\n',
    "twice.jsonl": '{"sample_id": "demo_01", "caption": "a"}\n' * 2,
    "number.jsonl": '{"sample_id": "demo_01", "caption": 3}\n',
    "unknown_key.toml": 'about = "x"\nengine = "captions"\ncaptions = "a.jsonl"\ncolour = "red"\n',
    "not.toml": "about = \n",
    "no_part.py": "x = 1\n",
    "no_python.py": "METRIC = (\n",
}
COMMANDS = (
    "eval --model nosuch",
    "eval --model demo-terse --metrics blue4",
    "eval --model demo-terse --metrics bleu4@nosuch",
    "eval --model demo-terse --task docci",
    "eval --model demo-terse --limit 0",
    "eval --model demo-terse --engine nosuch",
    "eval --model demo-terse --judge nosuch --metrics length",
    "eval --model few.jsonl",
    "eval --model broken.jsonl",
    "eval --model array.jsonl",
    "eval --model unknown_id.jsonl",
    "eval --model twice.jsonl",
    "eval --model number.jsonl",
    "eval --model unknown_key.toml --task demo",
    "eval --model not.toml --task demo",
    "eval --model demo-terse --metrics no_part.py",
    "eval --model demo-terse --metrics no_python.py",
    "eval --model demo-terse --metrics absent.py",
    "compare demo-terse nosuch",
    "verify nosuch",
    "report nosuch",
    "list nosuch",
    "data pin absent.txt",
    "data verify nosuch",
    "doctor --part no_part.py",
    "gallery show absent",
    "check nosuch",
    "baseline nosuch",
    "audit nosuch",
    "tables --row nosuch",
    "table nosuch",
    "nosuch",
    "eval",
)


def test_the_texts_of_refused_commands(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    captions_file(tmp_path / "few.jsonl", {"demo_01": "A bicycle.", "demo_02": "A dog."})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIM_DATA", str(tmp_path / "data"))
    lines = []
    for command in COMMANDS:
        line = cim.refused(*command.split())
        for path, word in ((str(tmp_path), "<folder>"), (str(ROOT), "<project>")):
            line = line.replace(path, word)
        lines += [f"$ cim {command}", line.rstrip("\n"), ""]
    text = "\n".join(lines)
    if os.environ.get("CIM_UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(text, encoding="utf-8")
    assert text == SNAPSHOT.read_text(encoding="utf-8"), "look at the difference; the docstring says how to accept it"
