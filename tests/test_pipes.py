"""A pipe in the place of a file: for what it holds a reader would wait without end. Each is refused in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli import Cim

GALLERY = ("gallery", "build", "G", "--text-encoder", "miniscenes_text", "--image-encoder", "miniscenes_image")
COMMANDS = (
    ("eval", "--model", "pipe.jsonl", "--references", "refs.jsonl"),
    ("eval", "--model", "mine.jsonl", "--references", "pipe.jsonl"),
    ("eval", "--model", "mine.jsonl", "--references", "pipe.csv"),
    ("eval", "--model", "mine.jsonl", "--references", "pipe.xlsx"),
    ("eval", "--model", "mine.jsonl", "--task", "asked.toml"),
    ("eval", "--model", "mine.jsonl", "--task", "pipe.toml"),
    ("validate", "--on", "pipe.csv", "--references", "refs.jsonl"),
    ("audit", "pipe.csv"),
    (*GALLERY, "--from", "jsonl", "pipe.jsonl"),
    (*GALLERY, "--from", "refinedcaps", "pipe.json"),
    (*GALLERY, "--from", "webdataset", "pipe.tar"),
    ("eval", "--model", "checkpoint", "--task", "demo"),
)


@pytest.mark.timeout(120)  # else a reader that waits ends no test
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_pipe_is_refused(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
    (tmp_path / "mine.jsonl").write_text(json.dumps({"id": "a", "caption": "A dog."}) + "\n")
    (tmp_path / "refs.jsonl").write_text(json.dumps({"id": "a", "references": ["A dog."]}) + "\n")
    asked = '[references]\nfile = "refs.jsonl"\n[questions]\nfile = "pipe.jsonl"\nkey = "q"\n'
    (tmp_path / "asked.toml").write_text(asked)
    (tmp_path / "checkpoint").mkdir()
    for name in ("pipe.jsonl", "pipe.csv", "pipe.xlsx", "pipe.toml", "pipe.json", "pipe.tar", "checkpoint/config.json"):
        os.mkfifo(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    named = [str(tmp_path / word) if (tmp_path / word).exists() else word for word in command]
    told = cim.refused(*named)
    assert "no regular file" in told or "no such file" in told or command[2] == "checkpoint"
