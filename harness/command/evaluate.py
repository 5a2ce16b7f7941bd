"""The verbs of an evaluation: ``eval``, its stages each on its own, and ``meteor``."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.command.places import models, split
from harness.errors import CimError
from harness.resources import paths

if TYPE_CHECKING:
    from harness.calibration.stored import Calibration
    from harness.command.summary import Scored
    from harness.runs.run import Run
    from harness.stages.agreement import Agreement, Sway
    from harness.stages.evaluate import Options, Work


def _plan(args: argparse.Namespace) -> list[Run]:
    from harness import registry
    from harness.command import benchmarks
    from harness.engines import captions
    from harness.runs import run, shards

    if args.judge == "":
        raise CimError("--judge is empty", hint="cim list models")
    if args.judge and args.judge.endswith(".toml"):
        args.judge = registry.named("models", args.judge)
    results, runs = paths.results_root(args.results), list[run.Run]()
    args.metrics = ",".join(registry.named("metrics", text) for text in split(args.metrics))
    tasks = benchmarks.named(args)
    for model in models(args, results, [task.name for task in tasks]):
        for task in tasks or benchmarks.of_model(model, split(args.metrics), args):
            if not (args.several or task.definition):
                captions.refuse_repeated(model)
            partial = args.partial or not task.provides  # without annotations no sample is missed
            how = {"limit": args.limit, "partial": partial, "fresh": args.fresh}
            planned = run.plan(model, task, results, **how, ignore_unknown=args.ignore_unknown)
            if line := captions.reading(planned.model):
                _say(line)
            if planned.folder in [other.folder for other in runs]:
                raise CimError(f"two models are called {model.name}", hint="give their files different names")
            if (
                args.verb in ("eval", "caption")
                and not args.fresh
                and 0 < (kept := len(planned.captions)) < len(planned.samples)
            ):
                _say(f"{model.name} on {task.name}: goes on from {kept} stored captions, of {len(planned.samples)}")
            gallery = args.gallery or planned.gallery
            runs.append(replace(planned, judge=args.judge, gallery=gallery, self_policy=args.self_policy))
    if args.shard is not None:
        runs = [shards.of(run, *shards.parsed(args.shard)) for run in runs]
    return runs


def evaluate_verb(args: argparse.Namespace) -> int:
    """Do the stages that the verb asks for over all runs; exit 1 where something stopped answering."""
    from harness.command import batch, cluster, decide, label, terminal
    from harness.runs import stats
    from harness.stages import device, evaluate, parse, probes

    chosen_cluster = cluster.chosen(args)
    runs = _plan(args)
    judging = args.verb == "judge"
    if judging and args.batch:
        return batch.batch_verb(args, runs)
    controls, injections = judging and args.controls, judging and args.sway
    altered = [*(probes.CONTROLS if controls else ()), *(probes.INJECTIONS if injections else ())]
    draws = stats.DRAWS if args.draws is None else args.draws
    options = evaluate.Options(args.fresh, draws, altered, terminal.track, offline=True)
    stages = tuple(evaluate.STAGES) if args.verb == "eval" else (args.verb,)
    with (
        cluster.using(None if args.dry_run else chosen_cluster) as ray,
        parse.Parses(runs[0].results, terminal.track, device.Device(_say, args.workers, ray)) as parses,
    ):
        works = evaluate.plan(runs, _metrics(args), parses, among=args.among, fresh=args.fresh)
        if judging and (args.label or args.labels or args.out):
            return label.label_verb(args, works)
        if args.dry_run:
            return _dry_run(args, works, stages, options, {} if chosen_cluster is None else {"on": str(chosen_cluster)})
        if judging:
            _refuse_without_judge(works)
            if args.decide is not None:
                return decide.decide_verb(args, works, parses, options)
        scored: list[Scored] = []
        reports, code = list[dict[str, Any]](), 0
        for work in evaluate.evaluate(works, stages, parses, options):
            if work.failure is not None and len(works) == 1:
                raise work.failure
            reports.append(_report(args, work, scored))
            code = max(code, _code(work))
    _print_summaries(args, scored)
    if args.json:
        print(json.dumps(reports[0] if len(reports) == 1 else reports, indent=1))
    return code


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _code(work: Work) -> int:
    if work.failure is not None:
        return work.failure.exit_code
    return int(any(row.outage for row in work.scores or ()))


def _report(args: argparse.Namespace, work: Work, scored: list[Scored]) -> dict[str, Any]:
    """Print what came of a run, or add it to what is printed of all runs at the end; give it as JSON."""
    from harness.calibration import stored as calibration
    from harness.command import summary, terminal
    from harness.pages import report as pages
    from harness.runs import stored_run
    from harness.stages import caption

    run = work.run
    named: dict[str, Any] = {"task": run.task.name, "model": run.model.name}
    if work.failure is not None:
        _say(f"cim: {run.model.name} on {run.task.name}: {work.failure}")
        return {**named, "failure": str(work.failure)}
    outcomes = caption.account(run).as_row() if args.verb in ("eval", "caption", "score") else {}
    if work.scores is None:
        report = named | work.counts | (_agreement(args, work) | _usage(args, run) if args.verb == "judge" else {})
        report |= {"outcomes": outcomes} if outcomes else {}
        if not args.json:
            _print(work.lines)
            _print_stage(args.verb, run, report)
        return report
    written = stored_run.load(run.folder, run.files)
    corrected = calibration.calibrations(written)
    page = pages.write(written) if len(run.samples) <= pages.LARGEST else None
    remarks = [*work.lines, *terminal.account(outcomes), *(calibrated.line for calibrated in corrected.values())]
    if args.verbose and not args.json:
        _print_scores(work, remarks, page)
    scored.append(summary.Scored(run, work.scores, remarks, page is not None, corrected))
    rows = [asdict(row) | _corrected(corrected.get(row.metric)) for row in work.scores]
    return {**named, "scores": rows, "outcomes": outcomes}


def _corrected(of_metric: Calibration | None) -> dict[str, Any]:
    """The key of a score that has a value corrected for the errors of its judge."""
    return {"corrected": asdict(of_metric)} if of_metric else {}


def _metrics(args: argparse.Namespace) -> list[str]:
    """The metrics that were named; else those that the verb is about."""
    from harness.stages import agreement

    of_verb = {"judge": agreement.SWAYED if args.verb == "judge" and args.sway else (), "retrieve": ("cim",)}
    return split(args.metrics) or list(of_verb.get(args.verb, ()))


def _refuse_without_judge(works: Sequence[Work]) -> None:
    """CimError where no metric of a run can be judged here, though one reads a judge's replies."""
    from harness import registry

    for work in works:
        if not any(metric.judge for metric in work.metrics):
            for row in work.absent:
                if registry.metric(row.metric).judge:
                    raise CimError(f"{row.metric}: {row.not_computed}")


def _agreement(args: argparse.Namespace, work: Work) -> dict[str, Any]:
    """How far the judge agrees with earlier ones, and with ``--sway`` how far added text changes its verdicts."""
    from harness.command import terminal
    from harness.stages import agreement

    draws = {} if args.draws is None else {"draws": args.draws}
    tables: dict[str, Sequence[Agreement | Sway]] = {
        "agreement": agreement.with_others(work.run, work.metrics, **draws),
        "sway": agreement.sway(work.run, work.metrics, **draws) if args.sway else [],
    }
    for name, rows in tables.items():
        if rows and not args.json:
            terminal.show(terminal.agreement_table(name, rows))
    return {name: agreement.as_rows(rows) for name, rows in tables.items() if rows}


def _usage(args: argparse.Namespace, run: Run) -> dict[str, Any]:
    """What the judge model has used in this run so far."""
    from harness.runs import judges, usage
    from harness.stages import judge

    name = judge.answering_name(run) or ""
    used, price = judges.used(run.folder, name), judge.price(run)
    if not args.json and used != usage.Usage():
        print(used.line(name, price))
    return {"usage": usage.as_row(used, price)}


def _print_summaries(args: argparse.Namespace, scored: Sequence[Scored]) -> None:
    """The runs of each task side by side; with ``--verbose``, which was printed run by run, what compares them."""
    from harness.command import summary

    width = shutil.get_terminal_size((0, 0)).columns or None
    for task in () if args.json else dict.fromkeys(result.run.task.name for result in scored):
        runs = [result for result in scored if result.run.task.name == task]
        lines = summary.verdicts(runs) if args.verbose else summary.lines(runs, width, sys.stdout.encoding or "ascii")
        _print(lines)


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _print_scores(work: Work, remarks: Sequence[str], page: Path | None) -> None:
    from harness.command import terminal

    run, scores = work.run, work.scores or ()
    terminal.show(terminal.scores_table(run.task.name, run.model.name, scores))
    _print([*remarks, *terminal.notes(scores)])
    print(f"stored in {run.folder}; to look at: {page or f'cim report {run.folder}'}")


def _print_stage(verb: str, run: Run, report: dict[str, Any]) -> None:
    from harness.command import terminal

    done = {"caption": "captions", "parse": "parses", "judge": "replies", "retrieve": "retrievals"}[verb]
    count = report[done] if verb != "judge" else {name: texts for name, texts in report[done].items() if texts}
    if verb == "caption":
        _print(terminal.account(report["outcomes"]))
    detail = f"{count} made now" if isinstance(count, int) else ", ".join(f"{n}: {k} texts" for n, k in count.items())
    print(f"{run.model.name} on {run.task.name}: {done} {detail or 'nothing to do'}; stored in {run.folder}")


def _dry_run(
    args: argparse.Namespace, works: Sequence[Work], stages: Sequence[str], options: Options, where: dict[str, str]
) -> int:
    from harness.command import dry

    plans = [dry.plan(work, stages, options) | where for work in works]
    if args.json:
        print(json.dumps(plans[0] if len(plans) == 1 else plans, indent=1))
    for plan in () if args.json else plans:
        print("\n".join(f"{name}: {dry.shown(value)}" for name, value in plan.items()))
    return 0


def meteor_verb(args: argparse.Namespace) -> int:
    """Evaluate by every METEOR that the paper's column may be."""
    from harness.metrics import meteor

    args.verb, args.among = "eval", meteor.CANDIDATES
    code = evaluate_verb(args)
    if not args.json:
        print(meteor.OPEN)
    return code
