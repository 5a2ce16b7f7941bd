"""Command line of ``cim train``: prints or runs a plan, then shows the chosen checkpoint."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.command.places import split
from harness.errors import CimError, one_line
from harness.resources import machine, paths

if TYPE_CHECKING:
    from harness.train.checklist import Row
    from harness.train.options import Options


def train_verb(args: argparse.Namespace) -> int:
    """Train a captioner; a dry run exits 1 where something is missing."""
    from harness.train import checklist, launch, plan, run, view

    results = paths.results_root(args.results)
    draft = plan.draft(_options(args, results), results)
    if args.watch:
        return int(not view.follow(draft.folder, checklist.step_count(draft), lambda line: print(line, flush=True)))
    cards = machine.gpus()
    rows = checklist.rows(draft, cards, checklist.free(results))
    if args.dry_run:
        return _dry(args, checklist.shown(draft), rows)
    checklist.refuse(draft, rows)
    if launch.needed(draft):
        return launch.run(launch.command(draft, args.words, gpu=bool(cards)))
    result = run.run(plan.whole(draft), _say, _progress(), fresh=args.fresh)
    if os.environ.get("RANK", "0") == "0":
        _print(args, result)
    return 0


def _options(args: argparse.Namespace, results: Path) -> Options:
    from harness import registry
    from harness.stages import model
    from harness.train import trackers
    from harness.train.options import Options

    first, *others = model.resolve(args.model, results)
    if others:
        raise CimError(f"--model {args.model} means several runs", hint="name a model, or one folder")
    if args.vllm_server and args.rollouts != "vllm":
        raise CimError("--vllm-server is for --rollouts vllm")
    return Options(
        model=first,
        task=registry.named("trainings", args.task),
        stage=args.stage,
        preset=args.preset,
        pairs=args.pairs,
        images=args.images,
        gallery=args.gallery,
        rewards=with_names(args.rewards),
        self_policy=args.self_policy,
        seed=args.seed,
        steps=args.steps,
        lora=args.lora,
        rollouts=args.rollouts,
        vllm_server=args.vllm_server,
        settings=settings(args.settings),
        tolerated=tuple(split(args.tolerate)),
        search=args.search,
        precision=args.reward_precision,
        name=args.name,
        untested=args.untested,
        held_out=args.held_out,
        validate_gallery=args.validate_gallery,
        report_to=trackers.checked(split(args.report_to)),
        probe=not args.no_probe,
        processes=args.processes,
    )


def _dry(args: argparse.Namespace, shown: Mapping[str, Any], rows: Sequence[Row]) -> int:
    """Print what would be done and the checklist; 1 where something is missing."""
    missing = [row for row in rows if row.state == "missing"]
    if args.json:
        print(json.dumps({**shown, "checklist": [asdict(row) for row in rows]}, indent=1))
        return int(bool(missing))
    _print(args, shown)
    print("\n".join(["", *listed(rows)]))
    print(f"missing: {len(missing)}" if missing else "all is here; the same command without --dry-run trains")
    return int(bool(missing))


def listed(rows: Sequence[Row]) -> list[str]:
    """The checklist as text, two lines for a row with a command."""
    width = max(len(row.part) for row in rows)
    lines = list[str]()
    for row in rows:
        lines.append(f"{row.state:<8}  {row.part:<{width}}  {row.detail}")
        lines += [f"{'':<{width + 12}}-> {row.command}"] if row.command else []
    return lines


def with_names(rewards: str) -> str:
    """The text of ``--rewards`` with the name of a reward in place of its file: ``my/r.py=2`` is then ``r=2``."""
    from harness import registry

    terms = [term.strip().partition("=") for term in rewards.split(",")]
    named = [registry.named("rewards", name) if name.endswith(".py") else name for name, _, _ in terms]
    return ",".join(name + equals + weight for name, (_, equals, weight) in zip(named, terms, strict=True))


def study_verb(args: argparse.Namespace) -> int:
    """Train, evaluate and compare the arms of a study."""
    study = _study()
    _refuse_without_packages()
    results, arms = paths.results_root(args.results), study.chosen(split(args.arms))
    seeds = args.seed_list or list(range(args.seeds))
    if args.dry_run:
        _print(args, {name: study.ARMS[name].about for name in arms} | {"seeds": seeds, "folder": str(results)})
        return 0
    table = study.study(results, arms, seeds, split(args.metrics), _say, pearson=args.pearson)
    missed = study.uncaught(table["rows"])
    if args.json:
        print(json.dumps(table, indent=1))
    else:
        _show_study(table)
        print(f"stored in {results / paths.TRAINED / study.FILE}")
    for line in missed:
        _say(f"cim: {line}")
    return int(bool(missed))


def _study() -> Any:
    """The module of the study that the training task ``cim_rl`` names."""
    from harness import registry

    return importlib.import_module(str(registry.training("cim_rl").study))


def _show_study(table: Mapping[str, Any]) -> None:
    from harness.command import terminal

    base, tables = table["base"], dict[str, list[tuple[str, Mapping[str, Any]]]]()
    if means := table.get("means"):
        tables[f"means over seeds against {base} on {table['task']}"] = [_named(row) for row in means]
        tables[f"shortened captions against {base}"] = [_named(row) for row in table["views"]]
        tables[f"means over seeds against {table.get('than')}"] = [_named(row) for row in table.get("between", ())]
    else:
        tables[f"against {base} on {table['task']}"] = [
            (f"{row['arm']} {row['seed']}", row["values"]) for row in table["rows"]
        ]
    for title, rows in tables.items():
        shown = [[name if at == 0 else "", *cells] for name, values in rows for at, cells in enumerate(_cells(values))]
        if shown:
            terminal.show(terminal.plain_table(title, ("arm", "value", "", "difference", "each seed"), shown))
    for row in table["rows"]:
        if row["stopped"]:
            print(f"{row['arm']} {row['seed']} was stopped by alarm {row['stopped']}")
    print(
        "differences with 95 % intervals: over seeds and images together (Student's t) for means, over images for one "
        "run; *: p < 0.05 after Holm's correction over all of a table, and the same sign in every seed"
    )


def _named(row: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    return f"{row['arm']}, {row['seeds']} seeds", row["values"]


def _cells(values: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
    contrasts = _study().contrasts
    for label in contrasts.SHOWN:
        if cell := values.get(label):
            mark = "*" if contrasts.apart(cell) else ""
            difference = f"{cell['difference']:+.1f} [{cell['ci95'][0]:.1f}, {cell['ci95'][1]:.1f}]{mark}"
            yield [label, f"{cell['value']:.1f}", difference, " ".join(f"{d:+.1f}" for d in cell.get("by_seed", ()))]


def _refuse_without_packages() -> None:
    from harness.train.checklist import NEEDED

    if absent := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise CimError(f"{', '.join(absent)} not installed", hint="run `make setup-train`")


def settings(texts: list[str]) -> dict[str, Any]:
    """Settings of ``--set NAME=VALUE``; a value that is JSON is read as such."""
    values = dict[str, Any]()
    for item in texts:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise CimError(f"{item!r} is no NAME=VALUE", where="--set", hint="such as --set learning_rate=2e-6")
        try:
            values[name] = json.loads(value)
        except (ValueError, RecursionError):
            values[name] = value
    return values


def _print(args: argparse.Namespace, content: Mapping[str, Any]) -> None:
    if args.json:
        print(json.dumps(content, indent=1))
        return
    for name, value in content.items():
        inner = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, Mapping) else value
        print(f"{name}: {inner}")
    if "chosen" in content:
        print(f"to evaluate: cim eval --model {content['folder']}")


def _say(line: str) -> None:
    print(one_line(line), file=sys.stderr)


def _progress() -> Callable[[int, int], None]:
    """Shows each step once, with rate and time left."""
    import time

    began: list[tuple[int, float]] = []

    def advance(step: int, steps: int) -> None:
        now = time.monotonic()
        if began and began[-1][0] == step:
            return
        began.append((step, now))
        steps_done, spent = step - began[0][0], now - began[0][1]
        left = (
            f", {spent / steps_done:.1f} s per step, {spent / steps_done * (steps - step):.0f} s left"
            if steps_done
            else ""
        )
        end = "\r" if sys.stderr.isatty() and step < steps else "\n"
        if end == "\r" or step in (1, steps) or step % 10 == 0:
            print(f"train: step {step} of {steps}{left}   ", end=end, file=sys.stderr, flush=True)

    return advance
