"""Runs ``python -m leaderboards`` inside the test process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from leaderboards import __main__ as face
from tests.cli import Result
from tests.clock import Used, launched
from tests.conftest import ROOT


class Boards:
    """A command of the leaderboards with the results folder of a test, None for that of ``$CIM_RESULTS``."""

    def __init__(self, results: Path | None, capsys: pytest.CaptureFixture[str]) -> None:
        self.results, self._capsys = results, capsys

    def __call__(self, command: str, *arguments: str | Path) -> Result:
        self._capsys.readouterr()
        where = ["--results", str(self.results)] if self.results else []
        code = face.main([command, *where, *map(str, arguments)])
        return Result(code, *self._capsys.readouterr())

    def refused(self, command: str, *arguments: str | Path) -> str:
        """Run a command that must be refused: exit 2, one line, nothing on standard output; returns the line."""
        done = self(command, *arguments)
        assert done.code == 2 and done.out == "" and done.err.count("\n") == 1, done
        assert done.err.startswith("cim: "), done.err
        return done.err


def measured(results: Path, *command: str) -> Used:
    """Run ``python -m leaderboards COMMAND`` on a results folder, in a process of its own; it must succeed."""
    return launched([sys.executable, "-m", "leaderboards", *command, "--results", results], ROOT)
