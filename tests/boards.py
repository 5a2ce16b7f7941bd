"""Runs ``python -m leaderboards`` inside the test process."""

from __future__ import annotations

from pathlib import Path

import pytest

from leaderboards.__main__ import main
from tests.cli import Result


class Boards:
    """``python -m leaderboards`` with the results folder of a test."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> Result:
        """Run one command."""
        self._capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Result(code, *self._capsys.readouterr())

    def refused(self, *arguments: str | Path) -> str:
        """Run a command that must be refused: exit 2, one line, nothing on standard output; returns the line."""
        result = self(*arguments)
        assert result.code == 2 and result.out == "", result
        assert result.err.count("\n") == 1 and result.err.startswith("leaderboards: "), result.err
        return result.err
