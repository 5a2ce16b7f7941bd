"""Seconds and memory of the leaderboards' commands on stored runs: at least 30 models, two benchmarks, 500 images each.

The runs are synthetic (``tests/synthetic_runs.py``, ``tests/paper_runs.py``); each command is a process of its own. Run
with ``python -m tests.bench_boards``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import paper_runs, synthetic_runs
from tests.boards import measured

MODELS = 12
COMMANDS = (
    ("tables",),
    ("audit", "--runs"),
    ("audit",),
    ("board",),
    ("report", "--task", "docci500", "--baseline", "system-03", "--against", "system-04"),
)


def main(say: Callable[[str], None], models: int = MODELS) -> dict[str, Any]:
    """A row a command; ``models`` besides the 21 systems of the tables, at least five."""
    with tempfile.TemporaryDirectory() as name:
        results = Path(name)
        paper_runs.make(results)
        synthetic_runs.make(results, models=min(max(5, models), MODELS))
        runs = len(list(results.glob("*/*/manifest.json")))
        say(f"leaderboards, {runs} synthetic runs of 500 images; target 10 s, 1,000 MB each")
        usage = dict[str, Any]()
        for command in COMMANDS:
            used = measured(results, *command)
            say(f"  {' '.join(command[:2]):<16} {used.cpu:6.2f} CPU s {used.wall:6.2f} s {used.peak:5.0f} MB")
            usage[" ".join(command)] = used._asdict()
        return usage


if __name__ == "__main__":
    main(print)
