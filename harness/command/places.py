"""Command line of the verbs without a run: list, where, doctor, data; and helpers of all verbs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import CimError, one_line
from harness.resources import paths

if TYPE_CHECKING:
    from harness.types import Model


def split(text: str | None) -> list[str]:
    """Names between commas."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def models(args: argparse.Namespace, results: Path, tasks: Sequence[str]) -> list[Model]:
    """The models that ``--model`` names; ``tasks`` selects between runs of one name."""
    from harness.stages import model

    first, engine = tasks[0] if tasks else None, args.engine
    texts = [args.model] if Path(args.model).exists() else split(args.model)
    if not texts:
        raise CimError("--model is empty" if args.verb != "data" else "--for is empty", hint="cim list models")
    file = model.File(args.id_key, args.caption_key, args.system_key, args.name)
    if args.name and len(texts) > 1:
        raise CimError("one name for several models", where="--name", hint="name one captions file a command")
    resolved = [model_ for name in texts for model_ in model.resolve(name, results, first, engine, file)]
    if args.name:  # a captions file has taken it already, with its systems behind it
        name = model.run_name(args.name, Path("--name"))
        return [model_ if model_.engine == "captions" else replace(model_, name=name) for model_ in resolved]
    return resolved


def show_rows(args: argparse.Namespace, header: Sequence[str], rows: Sequence[tuple[str, str, str]]) -> int:
    """Print rows of (name, state, detail); exit 1 where a state is ``failed``."""
    from harness.command import terminal

    if args.json:
        print(json.dumps([dict(zip(header, row, strict=True)) for row in rows], indent=1))
    else:
        terminal.show(terminal.plain_table("", header, rows))
    return int(any(state == "failed" for _, state, _ in rows))


def doctor_verb(args: argparse.Namespace) -> int:
    """What works on this machine."""
    from harness.command import doctor

    if args.parity:
        return _parity(args)
    if args.part:
        from harness.command import contracts

        return show_rows(args, ("contract", "state", "detail"), list(contracts.examine(Path(args.part))))
    rows = doctor.examine(args.results)
    code = show_rows(args, ("part", "state", "detail"), rows if args.json else doctor.together(rows))
    if not args.json:
        print(doctor.ready(rows))
    return code


def _parity(args: argparse.Namespace) -> int:
    from harness import registry
    from harness.runs import run
    from harness.stages import model, parity

    results = paths.results_root(args.results)
    (subject, *others) = model.resolve(args.parity, results, args.task)
    if others or subject.weights is None:
        raise CimError(f"--parity compares engines on a model with a checkpoint, not {args.parity}")
    task = args.task or run.default_tasks(subject)[0]
    result = parity.compare(
        run.plan(subject, registry.task(task), results, limit=args.limit, partial=False, fresh=True)
    )
    if args.json:
        print(json.dumps(result.as_json(), indent=1))
        return int(not result.as_json()["ok"])
    return show_rows(args, (f"{subject.name} on {task}", "state", "detail"), parity.findings(result))


def list_verb(args: argparse.Namespace) -> int:
    """What there is, by kind."""
    from harness import registry

    if args.kind and args.kind not in registry.KINDS:
        raise CimError(f"unknown kind {args.kind!r}", hint=f"one of {', '.join(registry.KINDS)}")
    kinds = [args.kind] if args.kind else registry.KINDS
    listed = {kind: {name: _about(kind, name) for name in registry.names(kind)} for kind in kinds}
    facts = {name: registry.facts(name) for name in listed.get("models", ())}
    if args.json:
        print(json.dumps({**listed, **({"models": facts} if facts else {})}, indent=1, default=str))
        return 0
    if args.kind == "models":
        listed = {"models": {name: _model_line(row) for name, row in facts.items()}}
    for kind, parts in listed.items():
        print(f"{kind}:" + ("" if parts else " none yet"))
        width = max(map(len, parts), default=0)
        for name, about in parts.items():
            print(f"  {name:<{width}}  {one_line(about)}")
    return 0


def _about(kind: str, name: str) -> str:
    """What a part says of itself, and its variants, which are named in full on the command line."""
    from harness import registry

    variants = registry.variants(kind, name)
    return registry.about(kind, name) + (f" Variants: {', '.join(variants)}." if variants else "")


def _model_line(facts: Mapping[str, Any]) -> str:
    """Engine, size of the weights, licence and whether the hub asks for it to be accepted; about; why it cannot run."""
    size = f"{facts['memory_gb']} GB" if facts["memory_gb"] else None
    known = (facts["engine"], size, facts["licence"], "gated" if facts["gated"] else None)
    why_not = f" Cannot run: {facts['unavailable']}" if facts["unavailable"] else ""
    return f"[{', '.join(str(fact) for fact in known if fact)}] {facts['about']}{why_not}"


def where_verb(args: argparse.Namespace) -> int:
    """The folders and programs in use."""
    from harness.command import doctor

    places = doctor.places(args.results)
    lines = [f"{name:<8} {place}" for name, place in places.items()]
    print(json.dumps(places, indent=1) if args.json else "\n".join(lines))
    return 0


def data_verb(args: argparse.Namespace) -> int:
    """Fetch or verify the files of tasks and the weights of metrics; exit 1 if some are missing or damaged."""
    if args.action == "pin":
        return _pin(args)
    from harness import registry
    from harness.command import terminal
    from harness.command import weights as checkpoints
    from harness.resources import data, fetch
    from harness.validity import sets

    say = (lambda line: print(line, file=sys.stderr)) if args.json else print
    weights = [name for name in split(args.tasks) if name in checkpoints.NAMES]
    judgements = [sets.fetched(name) for name in split(args.tasks) if name in sets.SETS]
    args.tasks = ",".join(name for name in split(args.tasks) if name not in {*checkpoints.NAMES, *sets.SETS})
    alone = (weights or judgements) and not (args.tasks or args.model)
    named, names, with_images = ([], [], False) if alone else _wanted(args)
    report, whole = dict[str, Any](), True
    for name in weights:
        state, fault = checkpoints.verified(name, say, fetch=args.action == "fetch")
        report[name], whole = {"fault": fault}, whole and fault is None
        if not args.json:
            print(f"{name}: {state}")
    for task in [*(registry.task(name) for name in names), *judgements]:
        if args.action == "fetch":
            data.fetch(task, say)
            if with_images:
                fetch.images(task, say, terminal.track, thorough=not args.if_missing)
        faults = data.faults(task)
        images = None if faults else fetch.state(task, thorough=not args.if_missing)
        report[task.name] = {"faults": faults, "images": images and asdict(images)}
        whole = whole and not faults and not (images and not images.sound)
        if not args.json and not (args.if_missing and not faults):
            state = "; ".join(f"{name} {wrong}" for name, wrong in faults.items()) or "all files are whole"
            seen = f"; {images}" if images and images.count else ""
            print(f"{task.name}: {state}{seen} ({data.folder(task)})")
    if named:
        tasks = [registry.task(name) for name in names]
        wanted = checkpoints.Wanted(named, tasks, split(args.metrics), args.judge, args.results)
        checkpoints.bring_for(wanted, say, lambda line: print(line, file=sys.stderr))
    if args.json:
        print(json.dumps(report, indent=1))
    return int(not whole)


def model_verb(args: argparse.Namespace) -> int:
    """Bring models' weights, or print what that would bring."""
    from harness.command import weights

    names = split(args.names)
    if not names:
        raise CimError("no model is named", hint="cim list models")
    say = (lambda line: print(line, file=sys.stderr)) if args.json else print
    report = weights.fetch(names, args.results, say, dry_run=args.dry_run)
    if args.json:
        print(json.dumps(report, indent=1))
    return 0


def _pin(args: argparse.Namespace) -> int:
    """Name, size and SHA-256 of files, ready to paste into a task's file."""
    from harness.resources import data

    files = [Path(name) for name in args.files]
    if absent := [str(file) for file in files if not file.is_file()]:
        raise CimError("no such file", where=absent[0], hint="cim data pin FILE...")
    pins = [{"name": file.name, "bytes": file.stat().st_size, "sha256": data.sha256(file)} for file in files]
    if args.json:
        print(json.dumps(pins, indent=1))
    for pin in () if args.json else pins:
        print(f'DataFile(name={json.dumps(pin["name"])}, bytes={pin["bytes"]}, sha256="{pin["sha256"]}"),')
    return 0


def _wanted(args: argparse.Namespace) -> tuple[list[Model], list[str], bool]:
    """The models and tasks of a ``cim data`` command, and whether it includes the tasks' images."""
    from harness.runs import run

    names = split(args.tasks)
    if args.model is None and not names:
        raise CimError("no task is named", hint="cim list tasks")
    named = [] if args.model is None else models(args, paths.results_root(args.results), names)
    looking = [model for model in named if run.looks(model)]
    if not names:
        tasks = [task for model in named for task in model.tasks or (run.DEFAULT_TASKS if model in looking else ())]
        names = list(dict.fromkeys(tasks))
    return named, names, not args.annotations_only and (args.model is None or bool(looking))
