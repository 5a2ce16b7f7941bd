"""Stored runs in the forms of other tools: Every Eval Ever, the Hugging Face hub, parquet.

Reads runs and computes nothing; the same runs give the same bytes. No path, host or user of this machine is written.
Run with ``cim export RUN... --to eee|hub|parquet``; docs/export.md says what stands where.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

from harness import store
from harness.errors import CimError
from harness.resources import paths
from harness.runs import stored_run, validate
from harness.runs.stored_run import StoredRun

FOLDER = Path(".leaderboards") / "export"  # below the results folder; never a task's


def main(args: argparse.Namespace, say: Callable[[str], None], tell: Callable[[str], None]) -> int:
    """Write the files and print their paths.

    Raises:
        CimError: no such run, files that contradict each other, no value, or pyarrow is not installed.
    """
    from leaderboards.export import eee, facts, hub, parquet

    results = paths.results_root(args.results)
    out = args.out or results / FOLDER / args.to
    runs = [_checked(stored_run.load(stored_run.find(name, results, args.task))) for name in dict.fromkeys(args.runs)]
    if args.dataset and args.to != "hub":
        raise CimError("only --to hub writes the id of a data set", where="--dataset")
    if empty := next((run for run in runs if args.to != "parquet" and not facts.numbers(run)), None):
        failed = f"{empty.failed} of {len(empty.per_sample)} captions failed"
        raise CimError(
            "no value to export", where=str(empty.files.folder), hint=f"{failed}; --to parquet has the reasons"
        )
    if args.to == "eee":
        files = [file for run in runs for file in eee.write(run, out, args.organization)]
    elif args.to == "hub":
        files = [file for run in runs for file in hub.write(run, out, args.dataset)]
        if not args.dataset:
            tell("no .eval_results/: it needs the benchmark's data set on the hub, --dataset OWNER/NAME")
    else:
        files = parquet.write(runs, out)
    say(store.dumps({"out": str(out), "files": _relative(files, out)}) if args.json else "\n".join(map(str, files)))
    return 0


def _checked(run: StoredRun) -> StoredRun:
    if contradiction := validate.fault(run):
        raise CimError(contradiction, where=str(run.files.folder), hint="score the run again")
    return run


def _relative(files: Iterable[Path], out: Path) -> list[str]:
    return [file.relative_to(out).as_posix() for file in files]
