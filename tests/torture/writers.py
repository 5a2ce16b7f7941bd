"""Two processes run one command at once: each ends, or is told in one line that another is writing."""

from __future__ import annotations

import random
import threading

from tests.torture import runner, trouble
from tests.torture.commands import Command
from tests.torture.workspace import Workspace

GOOD = ("both went on, the same bytes", "one refused in one line, the same bytes")


def two(space: Workspace, command: Command, right: trouble.Undisturbed, draw: random.Random) -> tuple[str, str]:
    """One case: the second begins up to half of the command's time after the first."""
    ends = list[runner.Ended]()

    def meet() -> runner.Ended:
        space.restore(command.name)
        later = draw.uniform(0, right.seconds / 2)

        def second(_: int) -> None:
            threading.Event().wait(later)
            ends.append(space.run(command, seconds=600))

        return space.run(command, seconds=600, meanwhile=second)

    first = meet()
    other = ends.pop()
    for ended in (first, other):
        what, detail = trouble.outcome(space, command, right, lambda ended=ended: ended)
        if what not in trouble.GOOD:
            return what, detail
    return GOOD[any(ended.code != right.code for ended in (first, other))], ""
