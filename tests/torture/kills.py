"""SIGKILL at a random moment of a command, now and then twice; the same command then ends as if undisturbed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time

from tests.torture import runner, trouble
from tests.torture.commands import Command
from tests.torture.workspace import Workspace


def kill(space: Workspace, command: Command, right: trouble.Undisturbed, draw: random.Random) -> tuple[str, str]:
    """One case: the process alone is killed, or all processes of the command at once."""

    def meet() -> runner.Ended:
        space.restore(command.name)
        for _ in range(1 + (draw.random() < 0.25)):
            after, whole = draw.uniform(0, 1.05 * right.seconds), draw.random() < 0.5

            def strike(child: int, after: float = after, whole: bool = whole) -> None:
                until = time.monotonic() + after
                while (
                    time.monotonic() < until
                    and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
                ):
                    time.sleep(0.003)
                if whole:
                    with contextlib.suppress(ProcessLookupError):  # it leads no group yet
                        os.killpg(child, signal.SIGKILL)
                os.kill(child, signal.SIGKILL)

            ended = space.run(command, seconds=600, meanwhile=strike)
        return ended

    what, detail = trouble.outcome(space, command, right, meet)
    return (trouble.NOTHING if what == trouble.DONE else what), detail
