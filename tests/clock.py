"""How long a block takes, for the benchmarks."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def measured(into: dict[str, float]) -> Iterator[None]:
    """CPU and wall seconds of a block, its child processes included."""

    def cpu() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in used)

    before, start = cpu(), time.monotonic()
    yield
    into["cpu"], into["wall"] = cpu() - before, time.monotonic() - start
