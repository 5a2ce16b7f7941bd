"""Which tasks a command is about: named ones, one made of files on the command line, or those of the model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness import registry
from harness.command.places import split
from harness.errors import CimError
from harness.forms import sources
from harness.runs import run
from harness.types import Model, Task


def named(args: argparse.Namespace) -> list[Task]:
    """The tasks of ``--task``, or the one of ``--references`` and ``--images``, which ``--task`` then names.

    Raises:
        CimError: an unknown task, or files that are no benchmark.
    """
    if args.references is None and args.images is None:
        unused = {"--reference-id-key": args.reference_id_key, "--reference-key": args.reference_key}
        if options := [option for option, value in unused.items() if value]:
            raise CimError("without --references", where=options[0], hint="--references FILE")
        return [_prompted(registry.task(registry.named("tasks", text)), args) for text in split(args.task)]
    from harness.benchmark import build

    if args.references == str(sources.STDIN):
        hint = "save it as a file: cim verify and cim report read a benchmark's files again"
        raise CimError("references on standard input", where="--references -", hint=hint)
    names, images = split(args.task), None if args.images is None else Path(args.images)
    known = [name for name in names if name in registry.names("tasks") and not registry.task(name).definition]
    if known and args.references is None:
        build.image_names(Path(args.images))
        return [replace(_prompted(registry.task(name), args), images=images) for name in known]
    if known or len(names) > 1:
        hint = "one new name for this benchmark, or none"
        raise CimError(f"names {', '.join(names)}", where="--task, with --references", hint=hint)
    return [
        build.from_options(
            names[0] if names else None,
            Path(args.references) if args.references is not None else None,
            images,
            prompt=args.prompt,
            keys=(args.reference_id_key, args.reference_key),
        )
    ]


def _prompted(task: Task, args: argparse.Namespace) -> Task:
    return replace(task, prompt=args.prompt) if args.prompt else task


def of_model(model: Model, metrics: Sequence[str], args: argparse.Namespace) -> list[Task]:
    """The tasks of a model without ``--task``; for metrics that need nothing the captions file itself is one.

    Raises:
        CimError: a captions file belongs to no task, or to several.
    """
    try:
        return [_prompted(registry.task(name), args) for name in run.default_tasks(model)]
    except CimError:
        if not metrics or any(registry.metric(name).needs for name in metrics) or model.source in (None, sources.STDIN):
            raise
        from harness.benchmark import build

        keys = model.settings.get("id_key"), model.settings.get("caption_key")
        return [build.from_options(samples=model.source, keys=keys)]
