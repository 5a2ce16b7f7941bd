"""Command-line entry point: parses arguments, calls the verbs, prints tables.

Nothing heavy is imported before a verb runs, so ``cim --help`` answers at once. Exit 0: done; 1: an
engine, parser or judge stopped, or a check failed; 2: bad input, reported in one line.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.command import arguments
from harness.command.gallery import gallery_verb
from harness.command.places import data_verb, doctor_verb, list_verb, models, split, where_verb
from harness.command.stored import boards_verb, compare_verb, verify_verb
from harness.command.train import study_verb, train_verb
from harness.errors import CimError, OutageError, one_line
from harness.resources import paths

if TYPE_CHECKING:
    from harness.parts import Metric
    from harness.runs.run import Run
    from harness.stages.parse import Parses
    from harness.types import Score

# Allocations between garbage collections. Rows and graphs live as long as the command: at Python's default of 700,
# collecting took a fifth of the time of scoring 500 stored captions.
GARBAGE = 200_000


def _plan(args: argparse.Namespace) -> list[Run]:
    from harness import registry
    from harness.runs import run
    from harness.stages import judge

    if args.judge == "":
        raise CimError("--judge is empty", hint="cim list models")
    results, runs = paths.results_root(args.results), list[run.Run]()
    tasks = [registry.named("tasks", text) for text in split(args.task)]
    args.metrics = ",".join(registry.named("metrics", text) for text in split(args.metrics))
    for model in models(args, results, tasks):
        for task in tasks or run.default_tasks(model):
            planned = run.plan(model, task, results, limit=args.limit, partial=args.partial, fresh=args.fresh)
            if planned.folder in [other.folder for other in runs]:
                raise CimError(f"two models are called {model.name}", hint="give their files different names")
            if args.fresh:
                run.refuse_to_discard(planned)
            runs.append(replace(planned, judge=args.judge, gallery=args.gallery or planned.gallery))
            judge.check(runs[-1])
    return runs


def _eval(args: argparse.Namespace) -> int:
    from harness.command import terminal
    from harness.stages import caption, parse

    runs = _plan(args)
    for run in runs if args.verb in ("eval", "caption") and not args.dry_run else ():
        caption.check(run, fresh=args.fresh)
    with parse.Parses(runs[0].results, terminal.track) as parses:
        if args.dry_run:
            return _dry_run(args, runs, parses)
        reports = [_work(args, run, parses) for run in runs]
    if args.json:
        print(json.dumps(reports[0] if len(reports) == 1 else reports, indent=1))
    return int(any(row["outage"] for report in reports for row in report.get("scores", ())))


def _work(args: argparse.Namespace, run: Run, parses: Parses) -> dict[str, Any]:
    """Run the stages that the verb needs, and print the run's table."""
    from harness import store
    from harness.command import terminal
    from harness.pages import report
    from harness.runs import manifest, stats, stored_run
    from harness.stages import caption, score

    parses.take(None if args.fresh else run.folder)
    metrics, absent = score.choose(_metrics(args), run, parses, among=args.among, fresh=args.fresh)
    summary: dict[str, Any] = {"task": run.task.name, "model": run.model.name}
    with store.writing(run.folder):
        if args.fresh:
            store.clear(run.folder)
        if args.verb in ("eval", "caption"):
            summary["captions"] = caption.caption(run, terminal.track)
        if args.verb in ("eval", "parse"):
            summary["parses"] = _parse(args, run, metrics, parses)
        if args.verb in ("eval", "judge"):
            summary |= _judge(args, run, metrics, absent)
        if args.verb in ("eval", "retrieve"):
            summary["retrievals"] = _retrieve(args, run, metrics, parses)
        if args.verb in ("eval", "score"):
            draws = stats.DRAWS if args.draws is None else args.draws
            scores = score.score(run, metrics, parses, absent=absent, draws=draws)
            if not any(one.outage for one in scores):
                manifest.advance(run.folder, "complete")
            page = report.write(stored_run.load(run.folder, run.files)) if len(run.samples) <= report.LARGEST else None
            summary = {"task": run.task.name, "model": run.model.name, "scores": [asdict(one) for one in scores]}
            if not args.json:
                _print_scores(run, scores, page)
        elif not args.json:
            _print_stage(args.verb, run, summary)
    return summary


def _parse(args: argparse.Namespace, run: Run, metrics: Sequence[Metric], parses: Parses) -> dict[str, int]:
    """Parse ahead of scoring; in ``eval`` errors are deferred to the metrics that need the parser."""
    from harness.stages import parse

    for line in parse.ahead(run, metrics, parses):
        print(f"{line}; what is done is kept", file=sys.stderr)
    try:
        done = parse.parse(run, metrics, parses)
        for line in parse.summaries(run, metrics, parses) if not args.json else ():
            print(line)
        return done
    except OutageError:
        if args.verb == "eval":
            return {}
        raise


def _retrieve(args: argparse.Namespace, run: Run, metrics: Sequence[Metric], parses: Parses) -> int:
    """Look captions up ahead of scoring; in ``eval`` errors are deferred to the metric that needs them."""
    from harness.command import terminal
    from harness.stages import retrieve

    try:
        return retrieve.retrieve(run, metrics, parses.encode, terminal.track)
    except OutageError:
        if args.verb == "eval":
            return 0
        raise


def _metrics(args: argparse.Namespace) -> list[str]:
    """The metrics named by ``--metrics``, else the verb's own."""
    from harness.stages import agreement

    defaults = {"judge": agreement.SWAYED if args.verb == "judge" and args.sway else (), "retrieve": ("cim",)}
    return split(args.metrics) or list(defaults.get(args.verb, ()))


def _judge(args: argparse.Namespace, run: Run, metrics: Sequence[Metric], absent: Sequence[Score]) -> dict[str, Any]:
    """Ask the judges; in ``eval`` errors are deferred to the metrics that need the judge."""
    from harness import registry
    from harness.command import terminal
    from harness.stages import agreement, judge, probes

    if args.verb == "eval":
        try:
            return {"replies": judge.judge(run, metrics, terminal.track)}
        except OutageError as error:
            print(f"cim: {error}", file=sys.stderr)
            return {}
    if not any(metric.judge for metric in metrics):
        for row in absent:
            if registry.metric(row.metric).judge:
                raise CimError(f"{row.metric}: {row.not_computed}")
    probe = [*(probes.CONTROLS if args.controls else ()), *(probes.INJECTIONS if args.sway else ())]
    report: dict[str, Any] = {"replies": judge.judge(run, metrics, terminal.track, probe)}
    draws = {} if args.draws is None else {"draws": args.draws}
    agreed, swayed = agreement.with_others(run, metrics, **draws), []
    if args.sway:
        swayed = agreement.sway(run, metrics, **draws)
    for name, rows in (("agreement", agreed), ("sway", swayed)):
        report |= {name: agreement.as_rows(rows)} if rows else {}
        if rows and not args.json:
            terminal.show(terminal.agreement_table(name, rows))
    return report


def _print_scores(run: Run, scores: Sequence[Score], page: Path | None) -> None:
    from harness.command import terminal

    terminal.show(terminal.scores_table(run.task.name, run.model.name, scores))
    print("\n".join(terminal.notes(scores)))
    print(f"stored in {run.folder}; to look at: {page or f'cim report {run.folder}'}")


def _print_stage(verb: str, run: Run, report: dict[str, Any]) -> None:
    done = {"caption": "captions", "parse": "parses", "judge": "replies", "retrieve": "retrievals"}[verb]
    count = report[done] if verb != "judge" else {name: made for name, made in report[done].items() if made}
    detail = f"{count} made now" if isinstance(count, int) else ", ".join(f"{n}: {k} texts" for n, k in count.items())
    print(f"{run.model.name} on {run.task.name}: {done} {detail or 'nothing to do'}; stored in {run.folder}")


def _dry_run(args: argparse.Namespace, runs: Sequence[Run], parses: Parses) -> int:
    from harness.stages import score

    plans = []
    for run in runs:
        parses.take(None if args.fresh else run.folder)
        metrics, absent = score.choose(_metrics(args), run, parses, among=args.among, fresh=args.fresh)
        stored = 0 if args.fresh else len(run.captions)
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


def _meteor(args: argparse.Namespace) -> int:
    """Evaluate with every candidate for the paper's METEOR column."""
    from harness.metrics import meteor

    args.verb, args.among = "eval", meteor.CANDIDATES
    code = _eval(args)
    if not args.json:
        print(meteor.OPEN)
    return code


def _terminated(number: int, _: object) -> None:
    """Exit through an exception, so that processes and temporary folders are cleaned up."""
    sys.exit(128 + number)


VERBS: dict[str, Callable[[argparse.Namespace], int]] = {
    "compare": compare_verb,
    "verify": verify_verb,
    **dict.fromkeys(arguments.BOARDS, boards_verb),
    "meteor": _meteor,
    "list": list_verb,
    "where": where_verb,
    "doctor": doctor_verb,
    "data": data_verb,
    "gallery": gallery_verb,
    "train": train_verb,
    "study": study_verb,
}


def main(command_line: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminated)
    gc.set_threshold(GARBAGE)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 shows "?" instead of a traceback
    try:
        words = sys.argv[1:] if command_line is None else list(command_line)
        args = arguments.parser(words).parse_args(words)
        code = VERBS.get(args.verb, _eval)(args)
        if sys.stdout:
            sys.stdout.flush()
        return code
    except CimError as error:
        print(f"cim: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the pipe's reader has exited, as with `| head`
        return 1
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        line = f"{place}{error.strerror or error}; check the path, its rights and free space"
        print(f"cim: {one_line(line)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("cim: stopped; the same command goes on", file=sys.stderr)
        return 130
