"""The caption verb: ask the engine for every caption that the run does not hold yet, and again for failed ones.

Each caption is appended to ``captions.jsonl`` as it arrives, so the same command resumes
a killed one. What the server refused for good is not asked again. Run with ``cim caption --model M --task docci500``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from harness import registry, store
from harness.benchmark.definition import PINNED
from harness.errors import CimError, OutageError
from harness.lines import mapped, picked
from harness.resources import data
from harness.runs import manifest, outcomes, records
from harness.runs.run import FEW, Run, looks
from harness.types import Completion, Model, Request, Sample, Track, untracked

Generate = Callable[[Model, Sequence[Request]], Iterable[Completion]]


def check(run: Run, *, fresh: bool = False) -> None:
    """Refuse to start if images that the engine needs are missing.

    Raises:
        CimError: says how many are missing, the first few, and what to run.
    """
    if not looks(run.model) or run.task.draw:
        return
    place, lacking = run.images, run.samples if fresh else todo(run)
    images = [sample.image for sample in lacking if sample.image]
    if missing := [name for name in images if not (place / name).is_file()]:
        bring = f"run `cim data fetch {run.task.name}`" if run.task.archive else f"put them there ({run.task.source})"
        hint = f"{bring} or point CIM_DATA at a folder that has them"
        first = ", ".join(missing[:FEW]) + (", ..." if len(missing) > FEW else "")
        raise CimError(f"{len(missing)} of {len(images)} images are not there: {first}", where=str(place), hint=hint)


def todo(run: Run) -> Sequence[Sample]:
    """Samples without a caption, and those whose caption failed."""
    stored = run.captions
    if not stored:
        return run.samples
    lacking = (at for at, sample in enumerate(run.samples) if sample.id not in stored or not stored[sample.id].final)
    return picked(run.samples, list(lacking))


def caption(run: Run, track: Track = untracked, generate: Generate | None = None) -> int:
    """Generate the missing captions of a run; returns how many requests were answered now.

    Args:
        generate: a model and its requests to completions, in place of its engine.

    Raises:
        CimError: images are not there, or a stored row belongs to a sample outside this run.
        OutageError: the engine ended before its last caption, what it gave is kept; or no caption has a text.
    """
    check(run)
    done = run.captions
    if done and sum(sample.id in done for sample in run.samples) < len(done):
        strangers, hint = done.keys() - {sample.id for sample in run.samples}, "start over with --fresh"
        raise CimError(f"captions of other samples: {sorted(strangers)[:3]}", where=str(run.folder), hint=hint)
    requests = requests_of(run, todo(run))
    facts = {
        "prompt": run.task.prompt,
        "files": data.digests(run.task),
        "origin": _origin(run),
    }
    if done and manifest.read(run.folder) is None:
        raise CimError("captions without a manifest", where=str(run.folder), hint="start over with --fresh")
    describe = registry.engine(run.model.engine).describe
    engine = describe(run.model) if describe is not None and requests else None
    if run.task.definition:
        store.write_bytes(run.folder.parent / PINNED, run.task.definition.encode())
    manifest.begin(run.folder, run.settings, facts, engine)
    generate = generate or registry.engine(run.model.engine).generate
    count = records.fill(run.files, run.model, requests, track, generate)
    if failure := none_captioned(run):
        raise OutageError(
            failure, where=run.model.name, hint="mend the model's TOML or its server and repeat the command"
        )
    split = sum(row.reasoning is not None for row in run.captions.values())
    manifest.captioned(run.folder, records.digest(run.captions), split)
    return count


def _origin(run: Run) -> str:
    """The model's file as it may be published: below the results folder its path there, else its name."""
    file = Path(run.model.source or run.model.name)
    place, results = file.resolve(), run.folder.parent.parent.resolve()
    path = place.relative_to(results) if place.is_relative_to(results) else Path(file.name)
    return os.fsencode(path.as_posix()).decode(errors="backslashreplace")


def none_captioned(run: Run) -> str:
    """Why no sample of a run has a caption; empty where one has."""
    captions = run.captions
    if not run.samples or any(captions[sample.id].text is not None for sample in run.samples):
        return ""
    reason = outcomes.reason([captions[sample.id] for sample in run.samples])
    return f"none of {len(run.samples)} captions could be made: {reason}"


def account(run: Run) -> outcomes.Outcomes:
    """The account of a run's stored captions."""
    captions, settings = stored(run), run.settings.get("model", {})  # captions in memory have no model
    counted: outcomes.Outcomes = run.files.derived(
        records.NAME, "outcomes", lambda: outcomes.count((captions[sample.id] for sample in run.samples), settings)
    )
    return counted


def stored(run: Run) -> Mapping[str, Completion]:
    """The captions of a run by sample id; CimError if some are missing."""
    captions = run.captions
    if lacking := [sample.id for sample in run.samples if sample.id not in captions]:
        hint = f"run `cim caption --model {run.model.name} --task {run.task.name}` first"
        hint += f", or take the first ones only: --limit {len(captions)}" if captions else ""
        raise CimError(f"{len(lacking)} of {len(run.samples)} captions are not made", where=str(run.folder), hint=hint)
    return captions


def requests_of(run: Run, samples: Sequence[Sample]) -> Sequence[Request]:
    """Engine requests for these samples; the task's synthetic images are rendered if the model needs images."""
    folder, prompt = run.images, run.task.prompt
    requests = mapped(samples, lambda s: Request(s.id, prompt, folder / s.image if s.image else None))
    for sample, request in zip(samples, requests, strict=True) if run.task.draw and looks(run.model) else ():
        if run.task.draw and request.image and not request.image.is_file():
            store.write_bytes(request.image, run.task.draw(sample.task_id))
    return requests
