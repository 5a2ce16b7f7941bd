"""Runs ``python -m leaderboards`` inside the test process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from leaderboards import __main__ as face
from tests.cli import Result
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


# A process forked from a large one is taken for as large until it begins its own program; this one is small.
LAUNCHER = """
import resource, subprocess, sys, time
start = time.monotonic()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(code, used.ru_utime + used.ru_stime, time.monotonic() - start, used.ru_maxrss)
"""


class Used(NamedTuple):
    """What a command needed: CPU seconds, wall seconds, peak MB."""

    cpu: float
    wall: float
    peak: float


def measured(results: Path, *command: str) -> Used:
    """Run ``python -m leaderboards COMMAND`` on a results folder, in a process of its own; it must succeed."""
    arguments = [sys.executable, "-m", "leaderboards", *command, "--results", str(results)]
    launched = [sys.executable, "-c", LAUNCHER, *arguments]
    done = subprocess.run(launched, cwd=ROOT, capture_output=True, text=True, check=True)
    code, cpu, wall, size = map(float, done.stdout.split())
    assert code == 0, done.stderr
    return Used(cpu, wall, size / (1e6 if sys.platform == "darwin" else 1e3))
