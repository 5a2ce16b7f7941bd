"""Runs ``cim`` inside the test process or as a process of its own, and writes captions files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.command import cli
from tests.conftest import ROOT


@dataclass(frozen=True)
class Result:
    """Exit code and both outputs of one command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cim:
    """``cim`` with the results folder of a test."""

    def __init__(self, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.results, self._capsys = results, capsys

    def __call__(self, *arguments: str | Path) -> Result:
        self._capsys.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        return Result(code, *self._capsys.readouterr())

    def refused(self, *arguments: str | Path) -> str:
        """Run a command that must be refused: exit 2, one line, nothing on standard output; returns the line.

        Before it may stand what was being loaded.
        """
        result = self(*arguments)
        assert result.code == 2, result
        assert result.out == ""
        lines = [line for line in result.err.splitlines(keepends=True) if ": loading" not in line]
        assert len(lines) == 1 and lines[0].startswith("cim: "), result.err
        return lines[0]


def process(*arguments: str | Path, results: Path, **environment: str) -> subprocess.Popen[str]:
    """``cim`` as a process of its own."""
    command = [sys.executable, "-m", "harness", *map(str, arguments)]
    variables = {**os.environ, "CIM_RESULTS": str(results), **environment}
    return subprocess.Popen(command, cwd=ROOT, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def captions_file(path: Path, captions: dict[str, str]) -> Path:
    """Write a captions file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps({"sample_id": key, "caption": text}) + "\n" for key, text in captions.items()]
    path.write_text("".join(rows), encoding="utf-8")
    return path
