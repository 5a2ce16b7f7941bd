"""The leaderboard: a static site over all stored runs, one page per task and one page per run.

Reads ``results/`` and writes HTML that loads nothing; the same runs give the same bytes. All values are computed again
from the per-sample rows (``leaderboards/standings.py``); runs whose files are inconsistent are left out and reported.
Run with ``cim board`` (``make leaderboard``).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from harness.errors import CimError
from harness.resources import paths

PLACE = (".leaderboards", "board")  # inside the results folder; runs are not looked for in folders with a dot


def main(args: argparse.Namespace, say: Callable[[str], None], tell: Callable[[str], None]) -> int:
    """Build the site and print its path."""
    from leaderboards.board import site

    results = paths.results_root(args.results)
    if not results.is_dir():
        hint = "`make eval` makes a run, --results names another folder"
        raise CimError("no folder of stored runs", where=str(results), hint=hint)
    built = site.build(results, Path(args.out) if args.out else results.joinpath(*PLACE), tell)
    if args.json:
        say(json.dumps(built.as_json(), indent=1))
    else:
        runs = sum(built.runs.values())
        tasks = f"{len(built.runs)} {'task' if len(built.runs) == 1 else 'tasks'}"
        left_out = f", {len(built.left_out)} left out" if built.left_out else ""
        say(f"{runs} {'run' if runs == 1 else 'runs'} on {tasks}{left_out}; to look at: {built.index}")
    return 0
