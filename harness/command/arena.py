"""``cim arena``: a judge says which of two runs' captions is better, image by image, and what follows is rated."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harness.command.places import split
from harness.errors import CimError
from harness.resources import paths

if TYPE_CHECKING:
    from harness.pairwise.battles import Arena
    from harness.types import Model

PAIRS = ("run a : run b", "a wins/ties/losses", "a wins %", "at equal length %", "net %", "words")


def arena_verb(args: argparse.Namespace) -> int:
    """Ask what is not answered yet, and report; the same command resumes."""
    from harness.command import terminal
    from harness.pairwise import battles, ratings, report
    from harness.runs import judges, usage

    arena = _arena(args)
    answerer = _answerer(args, arena)
    if args.dry_run:
        return _dry_run(args, arena, answerer)
    _bring(answerer)
    battles.ask(arena, answerer, terminal.track)
    draws = ratings.DRAWS if args.draws is None else args.draws
    result = report.report(arena, battles.votes(arena, answerer.name), answerer.name, draws)
    used = judges.used(arena.folder(answerer.name), answerer.name)
    if args.json:
        print(json.dumps({**asdict(result), "usage": usage.as_row(used, answerer.price)}, indent=1))
        return 0
    terminal.show(terminal.plain_table("ratings", ("run", "rating", "95 % interval"), report.rating_rows(result)))
    terminal.show(terminal.plain_table("pairs", PAIRS, report.pair_rows(result)))
    for line in (*report.lines(result), used.line(answerer.name, answerer.price)):
        print(line)
    return 0


def _arena(args: argparse.Namespace) -> Arena:
    from harness.pairwise import battles
    from harness.runs import stored_run

    results = paths.results_root(args.results)
    named = list(dict.fromkeys([*args.runs, *split(args.against)]))
    if len(named) < 2:
        raise CimError("an arena takes two runs or more", hint="cim arena A B --judge J")
    folders = [stored_run.find(name, results, args.task) for name in named]
    against = [named.index(name) for name in split(args.against)]
    if against and len(against) == len(named):
        raise CimError("every run is named by --against", hint="name a run to compare with them first")
    return battles.open_arena(folders, results, against, args.show, args.limit)


def _answerer(args: argparse.Namespace, arena: Arena) -> Model:
    from harness import registry
    from harness.stages import model

    name = registry.named("models", args.judge) if args.judge.endswith(".toml") else args.judge
    answerer = model.resolve(name, arena.results, arena.task.name)[0]
    if registry.engine(answerer.engine).known is not None:
        raise CimError(f"{args.judge} has captions and answers no questions", hint="name a model: cim list models")
    return answerer


def _bring(answerer: Model) -> None:
    """A judge with weights: can it run here, and is its checkpoint here?"""
    from harness.stages import weights

    loads = [weights.Load("judge", answerer)] if answerer.weights else []
    weights.check(loads)
    weights.bring(loads, lambda line: print(line, file=sys.stderr), offline=True)


def _dry_run(args: argparse.Namespace, arena: Arena, answerer: Model) -> int:
    from harness.command import dry
    from harness.pairwise import battles
    from harness.stages import costs

    todo = battles.todo(arena, answerer.name)
    pictures = sum(request.image is not None for request in todo)
    cost = costs.of_prompts(answerer, [request.prompt for request in todo], [arena.folder(answerer.name)], pictures)
    plan: dict[str, Any] = {
        "task": arena.task.name,
        "runs": list(arena.runs),
        "images": len(arena.samples),
        "pairs": [f"{arena.runs[a]} : {arena.runs[b]}" for a, b in arena.pairs],
        "shown": arena.shown,
        "judge": asdict(cost),
        "folder": str(arena.folder(answerer.name)),
    }
    print(json.dumps(plan, indent=1) if args.json else "\n".join(f"{n}: {dry.shown(v)}" for n, v in plan.items()))
    return 0
