"""The verbs of an evaluation: ``eval``, its stages each on its own, and ``meteor``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.command.places import models, split
from harness.errors import CimError, OutageError
from harness.resources import paths

if TYPE_CHECKING:
    from harness.parts import Metric
    from harness.runs.run import Run
    from harness.stages.parse import Parses
    from harness.types import Score


def _plan(args: argparse.Namespace) -> list[Run]:
    from harness import registry
    from harness.runs import run
    from harness.stages import judge

    if args.judge == "":
        raise CimError("--judge is empty", hint="cim list models")
    if args.judge and args.judge.endswith(".toml"):
        args.judge = registry.named("models", args.judge)
    results, found = paths.results_root(args.results), list[run.Run]()
    tasks = [registry.named("tasks", text) for text in split(args.task)]
    args.metrics = ",".join(registry.named("metrics", text) for text in split(args.metrics))
    for one in models(args, results, tasks):
        for task in tasks or run.default_tasks(one):
            made = run.plan(one, task, results, limit=args.limit, partial=args.partial, fresh=args.fresh)
            if made.folder in [other.folder for other in found]:
                raise CimError(f"two models are called {one.name}", hint="give their files different names")
            if args.fresh:
                run.refuse_to_discard(made)
            found.append(replace(made, judge=args.judge, gallery=args.gallery or made.gallery))
            judge.check(found[-1])
    return found


def evaluate_verb(args: argparse.Namespace) -> int:
    """Do the stages that the verb asks for, run after run; exit 1 where something stopped answering."""
    from harness.command import batch, terminal
    from harness.stages import caption, parse

    runs = _plan(args)
    if args.verb == "judge" and args.batch:
        return batch.batch_verb(args, runs)
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
    """Do the stages of one run that the verb asks for, and print its table."""
    from harness import store
    from harness.command import terminal
    from harness.pages import report
    from harness.runs import manifest, stats, stored_run
    from harness.stages import caption, score

    parses.take(None if args.fresh else run.folder)
    metrics, absent = score.choose(_metrics(args), run, parses, among=args.among, fresh=args.fresh)
    told: dict[str, Any] = {"task": run.task.name, "model": run.model.name}
    with store.writing(run.folder):
        if args.fresh:
            store.clear(run.folder)
        if args.verb in ("eval", "caption"):
            told["captions"] = caption.caption(run, terminal.track)
        if args.verb in ("eval", "parse"):
            told["parses"] = _parse(args, run, metrics, parses)
        if args.verb in ("eval", "judge"):
            told |= _judge(args, run, metrics, absent)
        if args.verb in ("eval", "retrieve"):
            told["retrievals"] = _retrieve(args, run, metrics, parses)
        if args.verb in ("eval", "score"):
            draws = stats.DRAWS if args.draws is None else args.draws
            scores = score.score(run, metrics, parses, absent=absent, draws=draws)
            if not any(one.outage for one in scores):
                manifest.advance(run.folder, "complete")
            page = report.write(stored_run.load(run.folder, run.files)) if len(run.samples) <= report.LARGEST else None
            told = {"task": run.task.name, "model": run.model.name, "scores": [asdict(one) for one in scores]}
            if not args.json:
                _print_scores(run, scores, page)
        elif not args.json:
            _print_stage(args.verb, run, told)
    return told


def _parse(args: argparse.Namespace, run: Run, metrics: Sequence[Metric], parses: Parses) -> dict[str, int]:
    """Parse ahead of scoring; in ``eval`` a parser that stops is met again by the metrics that need it."""
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
    """Look captions up ahead of scoring; in ``eval`` an encoder that stops is met again by the metric."""
    from harness.command import terminal
    from harness.stages import retrieve

    try:
        return retrieve.retrieve(run, metrics, parses.encode, terminal.track)
    except OutageError:
        if args.verb == "eval":
            return 0
        raise


def _metrics(args: argparse.Namespace) -> list[str]:
    """The metrics that were named; else those that the verb is about."""
    from harness.stages import agreement

    own = {"judge": agreement.SWAYED if args.verb == "judge" and args.sway else (), "retrieve": ("cim",)}
    return split(args.metrics) or list(own.get(args.verb, ()))


def _judge(args: argparse.Namespace, run: Run, metrics: Sequence[Metric], absent: Sequence[Score]) -> dict[str, Any]:
    """Ask the judges; in ``eval`` one that stops is met again by the metrics that need it."""
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
    told: dict[str, Any] = {"replies": judge.judge(run, metrics, terminal.track, probe)}
    draws = {} if args.draws is None else {"draws": args.draws}
    agreed, swayed = agreement.with_others(run, metrics, **draws), []
    if args.sway:
        swayed = agreement.sway(run, metrics, **draws)
    for name, rows in (("agreement", agreed), ("sway", swayed)):
        told |= {name: agreement.as_rows(rows)} if rows else {}
        if rows and not args.json:
            terminal.show(terminal.agreement_table(name, rows))
    return told


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


def meteor_verb(args: argparse.Namespace) -> int:
    """Evaluate by every METEOR that the paper's column may be."""
    from harness.metrics import meteor

    args.verb, args.among = "eval", meteor.CANDIDATES
    code = evaluate_verb(args)
    if not args.json:
        print(meteor.OPEN)
    return code
