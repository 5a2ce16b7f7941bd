"""The face: arguments in, verbs called, tables out.

Nothing heavy is imported before a verb runs, so ``cim --help`` answers at once. Exit 0: done; 1: an
engine, parser or judge stopped, or a check failed; 2: bad input, told in one line.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import arguments
from harness.cli_places import data_verb, doctor_verb, list_verb, models, show_rows, split, where_verb
from harness.errors import CimError, OutageError, one_line

if TYPE_CHECKING:
    from harness.parse import Parses
    from harness.parts import Metric
    from harness.run import Run
    from harness.types import Score


def _plan(args: argparse.Namespace) -> list[Run]:
    from harness import registry, run, store

    results, found = store.results_root(args.results), list[run.Run]()
    tasks = split(args.task)
    for name in tasks:
        registry.check("tasks", name)
    for name in split(args.metrics):
        registry.check("metrics", name)
    for one in models(args, results, tasks):
        for task in tasks or run.default_tasks(one):
            made = run.plan(one, task, results, limit=args.limit, partial=args.partial, fresh=args.fresh)
            if made.folder in [other.folder for other in found]:
                raise CimError(f"two models are called {one.name}", hint="give their files different names")
            if args.fresh:
                run.refuse_to_discard(made)
            found.append(made)
    return found


def _eval(args: argparse.Namespace) -> int:
    from harness import caption, parse, terminal

    runs = _plan(args)
    if args.dry_run:
        return _dry_run(args, runs)
    for run in runs if args.verb in ("eval", "caption") else ():
        caption.check(run, fresh=args.fresh)
    with parse.Parses(runs[0].folder.parent.parent, terminal.track) as parses:
        reports = [_work(args, run, parses) for run in runs]
    if args.json:
        print(json.dumps(reports[0] if len(reports) == 1 else reports, indent=1))
    return int(any(row["outage"] for report in reports for row in report.get("scores", ())))


def _work(args: argparse.Namespace, run: Run, parses: Parses) -> dict[str, Any]:
    """Do the stages of one run that the verb asks for, and print its table."""
    from harness import caption, judge, manifest, report, score, stats, store, terminal

    metrics, absent = score.choose(split(args.metrics), run, args.among)
    told: dict[str, Any] = {"task": run.task.name, "model": run.model.name}
    with store.writing(run.folder):
        if args.fresh:
            store.clear(run.folder)
        if args.verb in ("eval", "caption"):
            told["captions"] = caption.caption(run, terminal.track)
        if args.verb in ("eval", "parse"):
            told["parses"] = _parse(args, run, metrics, parses)
        if args.verb in ("eval", "judge"):
            told["replies"] = judge.judge(run, metrics, terminal.track)
        if args.verb in ("eval", "score"):
            draws = stats.DRAWS if args.draws is None else args.draws
            scores = score.score(run, metrics, parses, absent=absent, draws=draws)
            if not any(one.outage for one in scores):
                manifest.advance(run.folder, "complete")
            page = report.write(run.folder) if len(run.samples) <= report.LARGEST else None
            told = {"task": run.task.name, "model": run.model.name, "scores": [asdict(one) for one in scores]}
            if not args.json:
                _print_scores(run, scores, page)
        elif not args.json:
            _print_stage(args.verb, run, told)
    return told


def _parse(args: argparse.Namespace, run: Run, metrics: Sequence[Metric], parses: Parses) -> dict[str, int]:
    """Parse ahead of scoring; in ``eval`` a parser that stops is met again by the metrics that need it."""
    from harness import parse

    try:
        return parse.parse(run, metrics, parses)
    except OutageError:
        if args.verb == "eval":
            return {}
        raise


def _print_scores(run: Run, scores: Sequence[Score], page: Path | None) -> None:
    from harness import terminal

    terminal.show(terminal.scores_table(run.task.name, run.model.name, scores))
    print("\n".join(terminal.notes(scores)))
    print(f"stored in {run.folder}; to look at: {page or f'cim report {run.folder}'}")


def _print_stage(verb: str, run: Run, report: dict[str, Any]) -> None:
    done = {"caption": "captions", "parse": "parses", "judge": "replies"}[verb]
    count = report[done]
    detail = f"{count} made now" if isinstance(count, int) else ", ".join(f"{n}: {k} texts" for n, k in count.items())
    print(f"{run.model.name} on {run.task.name}: {done} {detail or 'nothing to do'}; stored in {run.folder}")


def _dry_run(args: argparse.Namespace, runs: Sequence[Run]) -> int:
    from harness import records, score

    plans = []
    for run in runs:
        metrics, absent = score.choose(split(args.metrics), run, args.among)
        stored = 0 if args.fresh else len(records.read(run.folder))
        plans.append(
            {
                "task": run.task.name,
                "model": run.model.name,
                "samples": len(run.samples),
                "captions_to_make": len(run.samples) - stored,
                "metrics": [metric.name for metric in metrics],
                "not_computed": {row.metric: row.not_computed for row in absent},
                "folder": str(run.folder),
            }
        )
    if args.json:
        print(json.dumps(plans[0] if len(plans) == 1 else plans, indent=1))
    else:
        for plan in plans:
            print("\n".join(f"{name}: {_plain(value)}" for name, value in plan.items()))
    return 0


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name} ({reason})" for name, reason in value.items()) or "none"
    return ", ".join(value) if isinstance(value, list) else str(value)


def _compare(args: argparse.Namespace) -> int:
    from harness import compare, store, terminal

    results = store.results_root(args.results)
    a, b = (compare.load(compare.find(name, results, args.task)) for name in (args.run_a, args.run_b))
    rows = compare.compare(a, b)
    if args.json:
        print(json.dumps(compare.as_json(a.folder, b.folder, rows), indent=1))
        return 0
    terminal.show(terminal.comparison_table(f"a = {a.folder.name}, b = {b.folder.name}", rows))
    print(compare.LEGEND)
    print("\n".join(f"{row.metric} not compared: {row.not_compared}" for row in rows if row.not_compared))
    return 0


def _verify(args: argparse.Namespace) -> int:
    from harness import compare, store, verify

    results = store.results_root(args.results)
    checks = verify.verify(compare.find(args.run, results, args.task), results)
    return show_rows(args, ("check", "result", "detail"), checks)


def _report(args: argparse.Namespace) -> int:
    from harness import compare, report, store

    folder = compare.find(args.run, store.results_root(args.results), args.task)
    with store.writing(folder):
        path = report.write(folder)
    print(json.dumps({"report": str(path)}) if args.json else path)
    return 0


def _meteor(args: argparse.Namespace) -> int:
    """Evaluate by every METEOR that the paper's column may be."""
    from harness.metrics import meteor

    args.verb, args.among = "eval", meteor.CANDIDATES
    code = _eval(args)
    if not args.json:
        print(meteor.OPEN)
    return code


def _terminated(number: int, _: object) -> None:
    """End as after an exception, so that processes and temporary folders are not left behind."""
    sys.exit(128 + number)


VERBS: dict[str, Callable[[argparse.Namespace], int]] = {
    "compare": _compare,
    "verify": _verify,
    "report": _report,
    "meteor": _meteor,
    "list": list_verb,
    "where": where_verb,
    "doctor": doctor_verb,
    "data": data_verb,
}


def main(given: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminated)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 shows "?" in place of a traceback
    try:
        args = arguments.parser().parse_args(given)
        code = VERBS.get(args.verb, _eval)(args)
        if sys.stdout:
            sys.stdout.flush()
        return code
    except CimError as error:
        print(f"cim: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone, as with `| head`
        return 1
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        line = f"{place}{error.strerror or error}; check the path, its rights and free space"
        print(f"cim: {one_line(line)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("cim: stopped; the same command goes on", file=sys.stderr)
        return 130
