"""Every file that the project reads back, damaged: the command names it, mends it, or prints the same numbers."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.torture import damage, runner
from tests.torture.commands import Command
from tests.torture.workspace import Workspace

SAME, NAMED, LEFT_OUT, FEWER = "same numbers", "named", "left out, named", "fewer numbers"
GOOD = (SAME, NAMED, LEFT_OUT, FEWER)
OTHER, TRACEBACK, UNNAMED, LINES, HUNG, LEFT = (
    "OTHER NUMBERS",
    "TRACEBACK",
    "file not named",
    "not one line",
    "HUNG",
    "temporary file left",
)
# What is left of a file of labels is a file of labels: it says how many it holds, and the score is corrected by these.
# What is left of a file of evaluations says which are to be made again.
FEWER_ROWS = ("truncated", "emptied", "a line removed", "removed", "its folder removed")
# A pipe is as good a source of one's own captions as a file.
KINDS_OF_INPUTS = tuple(kind for kind in damage.KINDS if "pipe" not in kind)


@dataclass(frozen=True, slots=True)
class Case:
    """One damage of one file under one command; ``draw`` seeds what is damaged."""

    command: Command
    file: Path
    kind: str
    draw: str

    @property
    def name(self) -> str:
        """What identifies it in the log."""
        return f"{self.command.name} | {self.file} | {self.kind} | {self.draw}"


def cases(space: Workspace, seed: int, rounds: int, reading: Sequence[Command]) -> Iterator[Case]:
    """All kinds of damage of all files, ``rounds`` times; with another draw each."""
    for turn in range(rounds):
        for command in reading:
            for file in space.files(command.files):
                for kind in KINDS_OF_INPUTS if file.parts[0] == "work" else damage.KINDS:
                    yield Case(command, file, kind, f"{seed}.{turn}")


def undisturbed(space: Workspace, command: Command) -> str:
    """What a command prints in the workspace as it is kept."""
    space.restore()
    ended = space.run(command)
    if ended.code not in (0, 1) or "Traceback" in ended.err:
        raise SystemExit(f"torture: {command.name} fails without any damage: exit {ended.code}: {ended.err}")
    return f"{ended.code}\n{ended.out}"


def outcome(space: Workspace, case: Case, right: str) -> tuple[str, str]:
    """What came out of a case, and the last line of standard error where it is no good."""
    space.restore()
    draw = random.Random(case.name)
    damaged = damage.damage(space.root / case.file, case.kind, draw)
    if damaged is None or not damaged[1]:
        return "", ""
    ended = space.run(case.command)
    shorter = case.file.name.startswith(("labels.", "evaluations.")) and case.kind in FEWER_ROWS
    what = judge(ended, right, case.file, may_differ=damaged[0] or shorter or case.file.parent.name == "work")
    if what in GOOD and space.leftovers():
        return LEFT, ", ".join(space.leftovers())
    return what, "" if what in GOOD else f"exit {ended.code}: {ended.err.strip()[-400:]}"


def judge(ended: runner.Ended, right: str, file: Path, may_differ: bool = False) -> str:
    """The outcome of a command that met damage.

    Args:
        right: exit code and output of the undisturbed command.
        may_differ: the damage cannot be seen in the file, only its form can be wrong.
    """
    if ended.code == runner.HUNG:
        return HUNG
    if "Traceback" in ended.err or ended.code not in (0, 1, 2):
        return TRACEBACK
    named = any(part in f"{ended.err}{ended.out}" for part in (file.name, file.stem, file.parent.name))
    told = [x for x in ended.err.splitlines() if x.startswith("cim: ") and not x.startswith("cim: left out")]
    if f"{ended.code}\n{ended.out}" == right:
        return SAME
    if ended.code == 1 and "failed" in ended.out:  # what cim verify says
        return NAMED
    if ended.code != 2 and (ended.code == 0 or not told):
        new = numbers(ended.out) - numbers(right)
        if new and not may_differ and not (file.name in ended.err and ended.code == 0):
            return OTHER
        return LEFT_OUT if file.name in ended.err else FEWER
    if len(told) != 1:
        return LINES
    return NAMED if named else UNNAMED


def numbers(text: str) -> set[str]:
    """Every number with decimals of an output."""
    return set(re.findall(r"-?\d+\.\d+(?:e-?\d+)?", text))
