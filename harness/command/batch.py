"""``cim judge --batch``: a judge's prompts through OpenAI's Batch API."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harness.command.places import split
from harness.errors import CimError, OutageError

if TYPE_CHECKING:
    from harness.parts import Metric
    from harness.runs.run import Run


def batch_verb(args: argparse.Namespace, runs: Sequence[Run]) -> int:
    """Submit the prompts of each run, or collect the replies that are there."""
    from harness import store

    if args.fresh:
        raise CimError("--fresh does not go with --batch", hint="discard the run by `cim caption --fresh`")
    reports, code = list[dict[str, Any]](), 0
    for run in runs:
        try:
            with nullcontext() if args.dry_run else store.writing(run.folder):
                reports.append(_work(args, run))
        except OutageError as error:  # of this run's batches; others may have ended
            if len(runs) == 1:
                raise
            print(f"cim: {run.model.name} on {run.task.name}: {error}", file=sys.stderr)
            reports.append({"task": run.task.name, "model": run.model.name, "failure": str(error)})
            code = error.exit_code
    if args.json:
        print(json.dumps(reports[0] if len(reports) == 1 else reports, indent=1))
    return code


def _work(args: argparse.Namespace, run: Run) -> dict[str, Any]:
    from harness.command import terminal
    from harness.stages import batch, probes

    probe = [*(probes.CONTROLS if args.controls else ()), *(probes.INJECTIONS if args.sway else ())]
    report: dict[str, Any] = {"task": run.task.name, "model": run.model.name}
    metrics = _judged(run, split(args.metrics))
    if args.batch == "collect" and not args.dry_run:
        report["replies"] = batch.collect(run, metrics, terminal.track, probe)
        line = ", ".join(f"{name} {count}" for name, count in report["replies"].items() if count) or "nothing to do"
        line = f"replies {line}"
    else:
        done = batch.submit(run, metrics, probe, dry=args.dry_run)
        report |= asdict(done)
        line = (
            f"{done.requests} requests {'to submit' if args.dry_run else 'submitted'} to {done.judge}, about "
            f"{done.prompt_tokens} prompt tokens and at most {done.reply_tokens} of replies; "
            f"{done.in_batches} in batches {', '.join(done.batches)}".rstrip()
        )
    if not args.json:
        print(f"{run.model.name} on {run.task.name}: {line}; stored in {run.folder}")
    return report


def _judged(run: Run, names: Sequence[str]) -> list[Metric]:
    """The metrics whose judges are asked: those that were named, else all of the task."""
    from harness import registry

    metrics = [registry.metric(name) for name in names or registry.names("metrics")]
    metrics = [metric for metric in metrics if metric.judge and metric.needs <= run.task.provides]
    if not metrics:
        raise CimError(f"no metric that a judge answers for on {run.task.name}", hint="cim list metrics")
    return metrics
