"""A table of one's own runs, ready for a paper: a row per run, main values as columns, best and significance marked.

Run with ``cim table RUN... --format text|markdown|latex|csv|html``; docs/results.md says how to read it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from harness import store
from harness.errors import CimError
from harness.pages import text
from harness.resources import paths
from harness.runs import manifest, stored_run
from harness.runs.stored_run import StoredRun
from leaderboards.table import formats, grid


def main(args: argparse.Namespace, say: Callable[[str], None], tell: Callable[[str], None]) -> int:
    """Read the runs, print the table or write it to a file."""
    tasks = args.task.split(",") if args.task else []
    runs = read(args.runs, paths.results_root(args.results), tasks)
    metrics = [name for name in (args.metrics or "").split(",") if name]
    table = grid.build(runs, metrics, _row(args.against, runs))
    if args.json:
        page = store.dumps(formats.document(table))
    elif args.format == "text":
        width = None if args.wide or args.out else text.screen_width()
        page = formats.plain(table, args.interval, width)
    else:
        page = formats.OF[args.format](table, args.interval)
    if args.out:
        store.write_bytes(args.out, page.encode())
        tell(f"written: {args.out}")
    else:
        say(page.rstrip("\n"))
    return 0


def read(words: list[str], results: Path, tasks: list[str]) -> dict[str, dict[str, StoredRun]]:
    """Runs by the name of their row, then by task. A run that is called by its name may be stored for several tasks.

    Args:
        words: ``RUN`` or ``NAME=RUN``; RUN is a folder or a name. What names a run as a whole has no NAME, else what
            follows the first "=" that leaves a run.
        tasks: the tasks to show; none: all that the runs are of.

    Raises:
        CimError: no such run, or two of one name and task.
    """
    rows = dict[str, dict[str, StoredRun]]()
    for word in words:
        splits = [(word[:at], word[at + 1 :]) for at, letter in enumerate(word) if letter == "="]
        name, named = next((split for split in [("", word), *splits] if _folders(split[1], results)), ("", word))
        if not _folders(named, results):
            stored_run.find(splits[0][1] if splits else word, results, None)  # raises, and says what is stored
        folders = [folder for folder in _folders(named, results) if not tasks or folder.resolve().parent.name in tasks]
        if not folders:
            raise CimError(f"{named!r} has no run of {', '.join(tasks)}", where="--task")
        for run in map(stored_run.load, folders):
            row = rows.setdefault(name or run.model, {})
            if run.task in row:
                hint = "give each a name: NAME=RUN"
                raise CimError(f"two runs of {run.task} are called {name or run.model!r}", hint=hint)
            row[run.task] = run
    return rows


def _folders(named: str, results: Path) -> list[Path]:
    if (Path(named) / manifest.NAME).is_file():
        return [Path(named)]
    return stored_run.folders(results, None, named) if named else []


def _row(against: str | None, runs: grid.Runs) -> str | None:
    """The row of a run that is called by the row's name or its own."""
    if against is None or against in runs:
        return against
    named = Path(against).name
    return next((name for name, by_task in runs.items() if any(r.model == named for r in by_task.values())), against)
