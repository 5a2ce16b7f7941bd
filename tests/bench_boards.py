"""Seconds and memory of the leaderboards' commands on stored runs: at least 30 models, two benchmarks, 500 images each.

The runs are synthetic (``tests/synthetic_runs.py``, ``tests/paper_runs.py``); each command is a process of its own. Run
with ``python -m tests.bench_boards``.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests import paper_runs, synthetic_runs
from tests.conftest import ROOT


def measured(results: Path, *command: str) -> dict[str, float]:
    """CPU seconds, wall seconds and peak MB of ``python -m leaderboards COMMAND``."""
    start = time.monotonic()
    arguments = [sys.executable, "-m", "leaderboards", *command, "--results", str(results)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = subprocess.Popen(arguments, cwd=ROOT, **quiet)
    _, status, usage = os.wait4(running.pid, 0)
    assert status == 0, f"{' '.join(command)} failed"
    peak = usage.ru_maxrss / (1e6 if platform.system() == "Darwin" else 1e3)
    return {"cpu": usage.ru_utime + usage.ru_stime, "wall": time.monotonic() - start, "peak": peak}


def tables(results: Path) -> dict[str, dict[str, float]]:
    """Tables 6 to 8 with all cells filled, and both audits."""
    commands = (("tables",), ("audit", "--runs"), ("audit",))
    return {" ".join(command): measured(results, *command) for command in commands}


FUNCTIONS: tuple[Callable[[Path], dict[str, dict[str, float]]], ...] = (tables,)


def main() -> None:
    """Print a row a command."""
    with tempfile.TemporaryDirectory() as name:
        results = Path(name)
        paper_runs.make(results)
        synthetic_runs.make(results, models=12)
        runs = len(list(results.glob("*/*/manifest.json")))
        print(f"{platform.platform()}, {os.cpu_count()} cores; {runs} runs of 500 images; target 10 s, 1,000 MB")
        found = {label: row for function in FUNCTIONS for label, row in function(results).items()}
    for label, row in found.items():
        print(f"  {label:<20} {row['cpu']:6.2f} CPU s {row['wall']:6.2f} s {row['peak']:5.0f} MB")
    if "--json" in sys.argv:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
