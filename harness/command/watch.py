"""Command line of ``cim watch``: checkpoints of any trainer, evaluated by metrics that are not its reward."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from harness.command.numbers import positive, real
from harness.command.places import split
from harness.resources import paths

FOLDER = ".watched"  # in the folder of all runs


def watch_verb(args: argparse.Namespace) -> int:
    """Follow a trainer's checkpoints; 1 where one is significantly worse than the base model."""
    from harness.watching import evaluations, follow

    folder = Path(args.folder)
    results = paths.results_root(args.results)
    try:
        worse = follow.follow(
            follow.Following(
                folder=folder,
                base=args.model,
                task=args.task,
                metrics=evaluations.names(split(args.metrics), split(args.rewards)),
                out=Path(args.out) if args.out else results / FOLDER / folder.resolve().name,
                every=args.every,
                until=args.until,
                images=args.images,
                once=args.once,
                stop=not args.no_stop,
                engine=args.engine,
                poll=args.poll,
            ),
            lambda row: print(json.dumps(row) if args.json else evaluations.line(row), flush=True),
        )
    except KeyboardInterrupt:
        return 0
    return int(worse)


def options(verb: argparse.ArgumentParser) -> None:
    """Options of ``cim watch``."""
    verb.add_argument("folder", metavar="FOLDER", help="where a trainer saves: TRL, ms-swift, LLaMA-Factory, verl")
    verb.add_argument("--model", required=True, metavar="BASE", help="the model that is trained; evaluated as step 0")
    verb.add_argument("--task", required=True, help="benchmark, or a task.toml of your own images")
    verb.add_argument("--metrics", required=True, metavar="A[,B]", help="metrics that are not the reward")
    verb.add_argument("--rewards", metavar="A[,B]", help="rewards of the training, which are refused as metrics")
    verb.add_argument("--every", type=positive, default=1, metavar="N", help="steps between evaluations (default: all)")
    verb.add_argument("--until", type=positive, metavar="STEP", help="last step; with it the test is sharper")
    verb.add_argument("--images", type=positive, default=200, metavar="N", help="first N of the task (default 200)")
    verb.add_argument("--engine", help="in place of the base model's")
    verb.add_argument("--out", metavar="DIR", help="evaluations and runs (default: .watched/NAME among the results)")
    verb.add_argument("--once", action="store_true", help="evaluate what is there and end")
    verb.add_argument("--no-stop", action="store_true", help="go on where a checkpoint is worse")
    verb.add_argument(
        "--poll", type=real(0.01, 86_400), default=30.0, metavar="S", help="seconds between two looks (default 30)"
    )
