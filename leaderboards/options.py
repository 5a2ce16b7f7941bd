"""Options of the leaderboards' commands; apart from them, so that help loads nothing else."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from pathlib import Path

POINTS = 1.0  # the gate's default margin


def _report(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--out", help="folder to write into (default: .leaderboards/report in the results folder)")
    parser.add_argument(
        "--against", nargs="+", metavar="RUN", help="compare these runs with RUN, captions side by side"
    )
    parser.add_argument("--baseline", metavar="RUN", help="another way to name the RUN that --against compares with")
    parser.add_argument("--task", help="task of these runs, if several tasks have runs of these names")
    parser.add_argument("--json", action="store_true", help="print paths and key numbers as JSON")


def _tables(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``tables``."""
    parser.add_argument(
        "--out", type=Path, help="folder to write to (default: .leaderboards/tables in the results folder)"
    )
    parser.add_argument(
        "--row",
        action="append",
        default=[],
        metavar="SYSTEM=RUN",
        help="the run that fills a system's rows; repeatable",
    )
    parser.add_argument("--json", action="store_true", help="print paths and counts as JSON")


def _table(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``table``."""
    parser.add_argument("runs", nargs="+", metavar="[NAME=]RUN", help="run folder, or run name; NAME is the row's")
    parser.add_argument("--task", metavar="T[,T2]", help="tasks to show, a group of columns each (default: all)")
    parser.add_argument("--format", choices=("text", "markdown", "latex", "csv", "html"), default="text")
    parser.add_argument(
        "--metrics", metavar="A[,B]", help="columns: metric, or metric.value (default: every main value)"
    )
    parser.add_argument("--interval", action="store_true", help="show 95 %% confidence intervals (CSV, JSON: always)")
    parser.add_argument(
        "--against", metavar="RUN", help="compare with this row (default: with the best of each column)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write to this file")
    parser.add_argument("--wide", action="store_true", help="text: all columns, however narrow the terminal is")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else on standard output")


def _facts(parser: argparse.ArgumentParser) -> None:
    """Options of ``facts``."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder, or run name; the first is the baseline")
    parser.add_argument("--task", help="task of the runs, where names are given")
    parser.add_argument("--metric", metavar="A", help="whose verdicts (default: the one that most of the runs have)")
    parser.add_argument("--by", choices=("kind", "tag", "domain"), default="kind", help="rows (default: kind)")
    parser.add_argument("--top", type=_listed, default=10, metavar="N", help="facts listed of each kind (default 10)")
    parser.add_argument("--format", choices=("text", "csv", "html"), default="text", help="csv: the outcome matrix")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write to this file")
    parser.add_argument("--wide", action="store_true", help="text: all columns, however narrow the terminal is")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else on standard output")


def _audit(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``audit``."""
    parser.add_argument(
        "runs_named",
        nargs="*",
        metavar="FILE | RUN",
        help="printed tables, .csv or .tsv, exit 1 where one is impossible; lines above a table say what it holds: "
        "'# n: 500', '# column acc: share', '# column f1: f1 of objects over images', '# column avg: average of a, b' "
        "(all in docs/audit.md; an unknown kind lists them). Or stored runs: folders, or names with --task. Without "
        "either the tables of the CIM paper and what its text claims of them",
    )
    parser.add_argument("--runs", action="store_true", help="all stored runs")
    parser.add_argument("--task", help="the task of the runs")
    about = "printed table, or CSV with system,metric,value,source: does a value follow from the captions of the run?"
    parser.add_argument("--published", type=Path, metavar="FILE", help=f"{about} exit 1 where one differs")
    parser.add_argument(
        "--out", type=Path, help="folder to write to (default: .leaderboards/audit in the results folder)"
    )
    parser.add_argument("--json", action="store_true", help="print the records")


def _export(parser: argparse.ArgumentParser) -> None:
    """Options of ``export``."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders, or run names")
    parser.add_argument(
        "--to", required=True, choices=("eee", "hub", "parquet"), help="whose form: Every Eval Ever, ..."
    )
    parser.add_argument("--task", help="task of the runs, where names are given")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder to write to (default: .leaderboards/export in the results folder)",
    )
    parser.add_argument("--organization", default="unknown", metavar="NAME", help="eee: who publishes these results")
    parser.add_argument("--dataset", metavar="OWNER/NAME", help="hub: the benchmark's data set, for .eval_results")
    parser.add_argument("--json", action="store_true", help="print paths as JSON")


def _board(parser: argparse.ArgumentParser) -> None:
    """Options of ``board``."""
    parser.add_argument("--out", help="folder of the site (default: .leaderboards/board/ in the results folder)")
    parser.add_argument("--json", action="store_true", help="print paths and counts as JSON")


def _check(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("run", help="run folder, or run name")
    parser.add_argument("--task", help="task of the run, if RUN is a name")
    about = "a run's folder, or a name under results/baseline/<task>/ (default: the run's, else the task's only one)"
    parser.add_argument("--baseline", metavar="B", help=about)
    parser.add_argument(
        "--margin", type=_points, default=POINTS, metavar="POINTS", help="largest drop that passes (default 1)"
    )
    parser.add_argument("--metrics", metavar="A[,B]", help="compare these only (default: all of the baseline)")
    parser.add_argument("--junit", metavar="FILE", help="write JUnit XML, one test case per value")
    parser.add_argument("--summary", metavar="FILE", help="write the table as Markdown")
    printed = parser.add_mutually_exclusive_group()
    printed.add_argument("--json", action="store_true", help="print JSON and nothing else on standard output")
    printed.add_argument(
        "--annotations", action="store_true", help="print annotations of GitHub Actions (there: the default)"
    )


def _listed(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a whole number")
    return int(text)


def _points(text: str) -> float:
    try:
        points = float(text)
    except ValueError:
        points = math.nan
    if not 0 <= points <= 100:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a number from 0 to 100")
    return points


def _baseline(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("run", help="run folder, or run name")
    parser.add_argument("--task", help="task of the run, if RUN is a name")
    parser.add_argument(
        "--metrics", metavar="A[,B]", help="metrics of the baseline (default: the current ones, or all)"
    )
    parser.add_argument("--into", metavar="DIR", help="folder of baselines (default: results/baseline)")
    parser.add_argument("--dry-run", action="store_true", help="print what would change; write nothing")


OF: Mapping[str, Callable[[argparse.ArgumentParser], None]] = {
    "report": _report,
    "tables": _tables,
    "table": _table,
    "facts": _facts,
    "audit": _audit,
    "export": _export,
    "board": _board,
    "check": _check,
    "baseline": _baseline,
}
