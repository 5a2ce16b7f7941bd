"""The face: arguments in, verbs called, tables out.

Nothing heavy is imported before a verb runs, so ``cim --help`` answers at once. Exit 0: done; 1: an
engine, parser or judge stopped, or a check failed; 2: bad input, told in one line.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import arguments
from harness.errors import CimError

if TYPE_CHECKING:
    from harness.parse import Parses
    from harness.run import Run
    from harness.types import Score


def _split(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _plan(args: argparse.Namespace) -> list[Run]:
    from harness import model, registry, run, store

    results, found = store.results_root(args.results), list[run.Run]()
    tasks = _split(args.task)
    for name in tasks:
        registry.check("tasks", name)
    for name in _split(args.metrics):
        registry.check("metrics", name)
    given = [args.model] if Path(args.model).exists() else _split(args.model)
    if not given:
        raise CimError("--model is empty", hint="cim list models")
    for one in (made for name in given for made in model.resolve(name, results, tasks[0] if tasks else None)):
        for task in tasks or run.default_tasks(one):
            made = run.plan(one, task, results, limit=args.limit, partial=args.partial, fresh=args.fresh)
            if made.folder in [other.folder for other in found]:
                raise CimError(f"two models are called {one.name}", hint="give their files different names")
            found.append(made)
    return found


def _eval(args: argparse.Namespace) -> int:
    from harness import parse, terminal

    runs = _plan(args)
    if args.dry_run:
        return _dry_run(args, runs)
    with parse.Parses(runs[0].folder.parent.parent, terminal.track) as parses:
        reports = [_work(args, run, parses) for run in runs]
    if args.json:
        print(json.dumps(reports[0] if len(reports) == 1 else reports, indent=1))
    return int(any(row["outage"] for report in reports for row in report.get("scores", ())))


def _work(args: argparse.Namespace, run: Run, parses: Parses) -> dict[str, Any]:
    """Do the stages of one run that the verb asks for, and print its table."""
    from harness import caption, judge, manifest, parse, report, score, stats, store, terminal

    metrics, absent = score.choose(_split(args.metrics), run)
    told: dict[str, Any] = {"task": run.task.name, "model": run.model.name}
    with store.writing(run.folder):
        if args.fresh:
            store.clear(run.folder)
        if args.verb in ("eval", "caption"):
            told["captions"] = caption.caption(run, terminal.track)
        if args.verb in ("eval", "parse"):
            told["parses"] = parse.parse(run, metrics, parses)
        if args.verb in ("eval", "judge"):
            told["replies"] = judge.judge(run, metrics, terminal.track)
        if args.verb in ("eval", "score"):
            draws = stats.DRAWS if args.draws is None else args.draws
            scores = score.score(run, metrics, parses, absent=absent, draws=draws)
            if not any(one.outage for one in scores):
                manifest.advance(run.folder, "complete")
            page = report.write(run.folder)
            told = {"task": run.task.name, "model": run.model.name, "scores": [asdict(one) for one in scores]}
            if not args.json:
                _print_scores(run, scores, page)
        elif not args.json:
            _print_stage(args.verb, run, told)
    return told


def _print_scores(run: Run, scores: Sequence[Score], page: Path) -> None:
    from harness import terminal

    terminal.show(terminal.scores_table(run.task.name, run.model.name, scores))
    print("\n".join(terminal.notes(scores)))
    print(f"stored in {run.folder}; to look at: {page}")


def _print_stage(verb: str, run: Run, report: dict[str, Any]) -> None:
    done = {"caption": "captions", "parse": "parses", "judge": "replies"}[verb]
    count = report[done]
    detail = f"{count} made now" if isinstance(count, int) else ", ".join(f"{n}: {k} texts" for n, k in count.items())
    print(f"{run.model.name} on {run.task.name}: {done} {detail or 'nothing to do'}; stored in {run.folder}")


def _dry_run(args: argparse.Namespace, runs: Sequence[Run]) -> int:
    from harness import records, score

    plans = []
    for run in runs:
        metrics, absent = score.choose(_split(args.metrics), run)
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
    return _show(args, ("check", "result", "detail"), checks)


def _report(args: argparse.Namespace) -> int:
    from harness import compare, report, store

    folder = compare.find(args.run, store.results_root(args.results), args.task)
    with store.writing(folder):
        path = report.write(folder)
    print(json.dumps({"report": str(path)}) if args.json else path)
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from harness import doctor

    return _show(args, ("part", "state", "detail"), doctor.examine(args.results))


def _show(args: argparse.Namespace, header: Sequence[str], rows: Sequence[tuple[str, str, str]]) -> int:
    """Print rows of (name, state, detail); exit 1 where a state is ``failed``."""
    from harness import terminal

    if args.json:
        print(json.dumps([dict(zip(header, row, strict=True)) for row in rows], indent=1))
    else:
        terminal.show(terminal.plain_table("", header, rows))
    return int(any(state == "failed" for _, state, _ in rows))


def _list(args: argparse.Namespace) -> int:
    from harness import registry

    if args.kind and args.kind not in registry.KINDS:
        raise CimError(f"unknown kind {args.kind!r}", hint=f"one of {', '.join(registry.KINDS)}")
    kinds = [args.kind] if args.kind else registry.KINDS
    found = {kind: {name: registry.about(kind, name) for name in registry.names(kind)} for kind in kinds}
    if args.json:
        print(json.dumps(found, indent=1))
        return 0
    for kind, parts in found.items():
        print(f"{kind}:" + ("" if parts else " none yet"))
        width = max(map(len, parts), default=0)
        for name, about in parts.items():
            print(f"  {name:<{width}}  {about}")
    return 0


def _where(args: argparse.Namespace) -> int:
    from harness import doctor

    places = doctor.places(args.results)
    lines = [f"{name:<8} {place}" for name, place in places.items()]
    print(json.dumps(places, indent=1) if args.json else "\n".join(lines))
    return 0


def _data(args: argparse.Namespace) -> int:
    from harness import data, registry

    say = (lambda line: print(line, file=sys.stderr)) if args.json else print
    faults = {}
    for task in [registry.task(name) for name in _split(args.tasks)]:
        if args.action == "fetch":
            data.fetch(task, say)
        faults[task.name] = data.faults(task)
        if not args.json and not (args.if_missing and not faults[task.name]):
            state = "; ".join(f"{name} {wrong}" for name, wrong in faults[task.name].items()) or "all files are whole"
            print(f"{task.name}: {state} ({data.folder(task)})")
    if args.json:
        print(json.dumps(faults, indent=1))
    return int(any(faults.values()))


VERBS: dict[str, Callable[[argparse.Namespace], int]] = {
    "compare": _compare,
    "verify": _verify,
    "report": _report,
    "list": _list,
    "where": _where,
    "doctor": _doctor,
    "data": _data,
}


def main(given: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 shows "?" in place of a traceback
    try:
        args = arguments.parser().parse_args(given)
        code = VERBS.get(args.verb, _eval)(args)
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
        print(f"cim: {place}{error.strerror or error}; check the path, its rights and free space", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("cim: stopped; the same command goes on", file=sys.stderr)
        return 130
