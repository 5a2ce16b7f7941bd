"""The verbs that read stored runs: compare, verify, report, and the commands of the leaderboards."""

from __future__ import annotations

import argparse
import importlib
import json
import sys

from harness.command.places import show_rows
from harness.errors import one_line
from harness.resources import paths


def compare_verb(args: argparse.Namespace) -> int:
    """Paired tests of stored runs against the first."""
    from harness.api import comparison
    from harness.calibration import compare as calibrated
    from harness.pages import text
    from harness.runs import compare, stored_run

    results = paths.results_root(args.results)
    named = (args.run_a, *args.runs)
    first, *others = (stored_run.load(stored_run.find(name, results, args.task)) for name in named)
    pairs = comparison.against(first, others)
    corrected = [calibrated.corrected(first, run, pair.rows) for run, pair in zip(others, pairs, strict=True)]
    if args.json:
        documents = [
            {
                "a": str(first.files.folder),
                "b": str(run.files.folder),
                "n": pair.n,
                "verdict": pair.verdict,
                "validity": pair.validity,
                "comparisons": compare.records(pair.rows),
                **({"corrected": calibrated.as_rows(rows)} if rows else {}),
            }
            for run, pair, rows in zip(others, pairs, corrected, strict=True)
        ]
        print(json.dumps(documents if len(documents) > 1 else documents[0], indent=1))
    else:
        width = None if args.wide else text.screen_width()
        below = [row.line(pair.a, pair.b) for pair, rows in zip(pairs, corrected, strict=True) for row in rows]
        print("\n".join([*comparison.lines(pairs, width), *text.wrapped(below, width)]))
    return 0


def verify_verb(args: argparse.Namespace) -> int:
    """Check a stored run; exit 1 where a check fails."""
    from harness.runs import stored_run
    from harness.stages import verify

    results = paths.results_root(args.results)
    checks = verify.verify(stored_run.find(args.run, results, args.task), results)
    return show_rows(args, ("check", "result", "detail"), checks)


def boards_verb(args: argparse.Namespace) -> int:
    """Run a command of the leaderboards, or write the page of one run."""
    if args.verb == "report" and args.run and not (args.against or args.baseline):
        return _run_page(args)
    module = importlib.import_module(f"leaderboards.{args.verb}")
    return int(module.main(args, print, _tell))


def _tell(line: str) -> None:
    print(f"cim: {one_line(line)}", file=sys.stderr)


def _run_page(args: argparse.Namespace) -> int:
    """Rewrite report.html of a stored run."""
    from harness import store
    from harness.pages import report
    from harness.runs import stored_run

    folder = stored_run.find(args.run, paths.results_root(args.results), args.task)
    with store.writing(folder):
        path = report.write(stored_run.load(folder))
    print(json.dumps({"report": str(path)}) if args.json else path)
    return 0
