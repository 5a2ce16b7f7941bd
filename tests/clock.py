"""What a block or a process needs, for the benchmarks."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

# A process forked from a large one is taken for as large until it begins its own program; this one is small.
LAUNCHER = """
import resource, subprocess, sys, time
start = time.monotonic()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(code, used.ru_utime + used.ru_stime, time.monotonic() - start, used.ru_maxrss)
"""


class Used(NamedTuple):
    """What a command needed: CPU seconds, wall seconds, peak MB of its largest process."""

    cpu: float
    wall: float
    peak: float


def launched(command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] | None = None) -> Used:
    """Run a command in a folder; it must succeed."""
    words = [sys.executable, "-c", LAUNCHER, *map(str, command)]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    code, cpu, wall, size = map(float, done.stdout.split())
    assert code == 0, (command, done.stderr[-2000:])
    return Used(cpu, wall, size / (1e6 if sys.platform == "darwin" else 1e3))


@contextmanager
def measured(into: dict[str, float]) -> Iterator[None]:
    """CPU and wall seconds of a block, its child processes included."""

    def cpu() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in used)

    before, start = cpu(), time.monotonic()
    yield
    into["cpu"], into["wall"] = cpu() - before, time.monotonic() - start
