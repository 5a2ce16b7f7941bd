"""A command meets trouble and is repeated: it must say one line, leave nothing behind, and end as if undisturbed."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.torture import runner
from tests.torture.commands import Command
from tests.torture.workspace import Workspace

SAME, DONE, NOTHING = "one line, then the same bytes", "not noticed, the same bytes", "done before the trouble"
KILLED = "killed, then the same bytes"
GOOD = (SAME, DONE, NOTHING, KILLED)
TRACEBACK, LINES, LEFT, HUNG = "TRACEBACK", "not one line", "temporary file left", "HUNG"
OTHER, AGAIN, SILENT = "OTHER BYTES", "THE SAME COMMAND FAILS", "SILENT FAILURE"


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """What a command does without trouble: exit code, seconds, and the contents that two runs have in common."""

    code: int
    seconds: float
    contents: dict[str, bytes | None]


def undisturbed(space: Workspace, command: Command) -> Undisturbed:
    """Two runs of a command; a file in which they differ counts by its name only."""
    both = []
    for _ in range(2):
        space.restore(command.name)
        ended = space.run(command, seconds=600)
        both.append(space.contents(command.files))
    first, second = both
    same = {name: content if content == second.get(name) else None for name, content in first.items()}
    return Undisturbed(ended.code, ended.seconds, same)


def outcome(
    space: Workspace, command: Command, right: Undisturbed, meet: Callable[[], runner.Ended], *, after: bool = True
) -> tuple[str, str]:
    """What came out of a command in trouble, and then of the same command without.

    Args:
        meet: runs the command in trouble, and ends the trouble.
        after: temporary files that trouble leaves must be gone at once; not so those of a killed command.
    """
    ended = meet()
    killed = ended.code == -signal.SIGKILL  # any other signal is a crash
    what, detail = _said(ended, killed)
    if not what and after and not killed and (left := space.leftovers()):
        what, detail = LEFT, ", ".join(left)
    if what:
        return what, detail
    repeated = space.run(command, seconds=600)
    if repeated.code != right.code or "Traceback" in repeated.err:
        return AGAIN, f"exit {repeated.code}, for {right.code}: {repeated.err.strip()[-400:]}"
    now = space.contents(command.files)
    differing = [
        name for name, content in right.contents.items() if name not in now or (content not in (None, now[name]))
    ] + [name for name in now if name not in right.contents]
    if differing:
        return OTHER, ", ".join(differing)[:300]
    if left := space.leftovers():
        return LEFT, ", ".join(left)[:300]
    return (KILLED if killed else SAME if ended.code != right.code else DONE), ""


def _said(ended: runner.Ended, killed: bool) -> tuple[str, str]:
    """What is wrong with the end of a command in trouble; empty where nothing is."""
    told = [line for line in ended.err.splitlines() if line.startswith("cim: ")]
    detail = f"exit {ended.code}: {ended.err.strip()[-400:]}"
    if ended.code == runner.HUNG:
        return HUNG, detail
    if "Traceback" in ended.err or (ended.code not in (0, 1, 2) and not killed):
        return TRACEBACK, detail
    if killed or ended.code == 0:
        return "", ""
    if not told and not ended.out:
        return SILENT, detail
    return ("", "") if len([x for x in told if "left out" not in x]) <= 1 else (LINES, detail)


def drawn(seed: int, part: str, count: int, every: Sequence[Command]) -> Iterator[tuple[str, Command, random.Random]]:
    """As many cases: a name, a command, and what draws the rest; the commands in turn, in another order each time."""
    order = random.Random(f"{seed} {part}")
    left = list[Command]()
    for number in range(count):
        left = left or order.sample(every, len(every))
        command = left.pop()
        yield f"{part} {number} {command.name}", command, random.Random(f"{seed} {part} {number}")
