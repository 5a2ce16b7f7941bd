"""The paper's Tables 6, 7 and 8: every published cell with ours, as Markdown, LaTeX, CSV and HTML.

Our cells come from stored runs alone; for an empty cell the command that fills it is given. Run with
``cim tables`` (``make tables``); docs/tables.md says how to read a cell.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry, store
from harness.resources import paths

if TYPE_CHECKING:
    from leaderboards.tables.paper import Table

FOLDER = Path(".leaderboards") / "tables"  # below the results folder; never a task's


def main(args: argparse.Namespace, say: Callable[[str], None], tell: Callable[[str], None]) -> int:
    """Read runs, write the files, print which cells are filled."""
    from harness.runs import stored_run
    from leaderboards import published
    from leaderboards.tables import cells, html, latex, markdown, paper, sheet, systems

    results = paths.results_root(args.results)
    out = args.out or results / FOLDER
    mapping = systems.read(args.row)
    rows, source = published.read(), published.source()
    names = {system.run for system in mapping.values()}
    runs = {
        (task, run.model): run
        for task in published.TASKS.values()
        for run in stored_run.load_all(results, tell, task)
        if run.model in names
    }
    numbers = {
        task: cells.numbers([run for (run_task, _), run in runs.items() if run_task == task], tell)
        for task in published.TASKS.values()
    }
    runnable = [name for name in registry.names("models") if not registry.facts(name)["unavailable"]]
    built = paper.tables(rows, paper.Stored(numbers, runs, mapping, runnable, out))
    files = {"tables.html": html.page(built, source), "tables.md": markdown.page(built, source)}
    files |= {f"table_{table.number}.tex": latex.page(table, source) for table in built}
    files |= {f"table_{table.number}.csv": sheet.page(table) for table in built}
    for name, text in files.items():
        store.write_bytes(out / name, text.encode())
    summaries = [_counts(table) for table in built]
    if args.json:
        say(store.dumps({"out": str(out), "files": sorted(files), "tables": summaries}))
    else:
        for row in summaries:
            say(f"Table {row['table']}: {row['filled']} of {row['cells']} cells filled by {len(row['runs'])} runs")
        say(f"{out}: {', '.join(sorted(files))}")
    return 0


def _counts(table: Table) -> dict[str, Any]:
    lines = [line for block in table.blocks for line in block.lines]
    cells = [cell for line in lines for cell in line.cells.values() if cell.published is not None]
    return {
        "table": table.number,
        "rows": len(lines),
        "cells": len(cells),
        "filled": sum(cell.ours is not None for cell in cells),
        "runs": sorted({line.link for line in lines if line.link}),
        "suspect": sum("suspect" in cell.states for cell in cells),
        "commands": list(table.fills),
    }
