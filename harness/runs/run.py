"""A run: one model on samples of one task, and the folder of its files.

``plan`` turns what a user asked for into runs and checks all of it before anything is written:
model, data, sample ids, settings of a stored run. Each verb then works on one run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness import registry
from harness.errors import CimError
from harness.resources import data
from harness.runs import ids, manifest
from harness.runs.records import RowFiles
from harness.types import Completion, Model, Sample, Task

DEFAULT_TASKS = ("coco_ln500", "docci500")
FEW = 3


@dataclass(frozen=True, slots=True)
class Run:
    """One model on one task: the samples it captions, all samples of the task, its stored rows and settings.

    ``results`` is the folder of all results and of the caches that runs share. ``judge`` is the model that answers
    judges' questions where it is not the task's own: a name or a folder.
    ``gallery`` is where captions are looked up, ``self_policy`` whether an image's own row may be retrieved (None: as
    in the stored rows, else the paper's); what was looked up says which they were.
    """

    task: Task
    model: Model
    samples: Sequence[Sample]
    all_samples: Sequence[Sample]
    files: RowFiles
    results: Path
    settings: dict[str, Any]
    judge: str | None = None
    gallery: str | None = None
    self_policy: str | None = None

    @property
    def folder(self) -> Path:
        """Where its files stand."""
        return self.files.folder

    @property
    def captions(self) -> dict[str, Completion]:
        """Captions stored so far, by sample id."""
        return self.files.completions()

    @property
    def images(self) -> Path:
        """The folder of its task's images."""
        return image_folder(self.task, self.results)

    def scope(self) -> str:
        """The n of a signature: ``500``, or ``12/500@<ids>`` when only a part is captioned."""
        n, whole = len(self.samples), len(self.all_samples)
        return str(n) if n == whole else f"{n}/{whole}@{self.settings['samples']['ids']}"


def looks(model: Model) -> bool:
    """Does this model need the image files?"""
    return registry.engine(model.engine).known is None


def image_folder(task: Task, results: Path) -> Path:
    """Where a task's images lie: beside its data, or in the results cache if they are rendered."""
    if task.draw is None:
        return data.images(task)
    return results / ".cache" / "images" / f"{task.name}-{data.fingerprint(task)}"


def default_tasks(model: Model) -> tuple[str, ...]:
    """The tasks of a model without ``--task``."""
    if model.tasks:
        return model.tasks
    known = registry.engine(model.engine).known
    return DEFAULT_TASKS if known is None else (_owner(known(model), model),)


def _owner(ids: frozenset[str], model: Model) -> str:
    """The one task that a captions file's ids belong to, by most ids shared."""
    shared, absent = dict[str, int](), list[str]()
    for name in registry.names("tasks"):
        task = registry.task(name)
        if data.faults(task):
            absent.append(name)
        elif overlap := len(ids.intersection(sample.id for sample in data.samples(task))):
            shared[name] = overlap
    if len(shared) == 1 or len(set(shared.values())) > 1:
        return max(shared, key=lambda name: shared[name])
    if shared:
        raise CimError(f"ids fit several tasks: {', '.join(shared)}", where=str(model.source), hint="say --task")
    hint = f"no data here for {', '.join(absent)}: `cim data fetch {absent[0]}` or CIM_DATA" if absent else ""
    raise CimError(f"ids belong to no task: {_some(ids)}", where=str(model.source), hint=hint)


def plan(
    model: Model,
    task_name: str,
    results: Path,
    *,
    limit: int | None,
    partial: bool,
    fresh: bool,
    ignore_unknown: bool = False,
) -> Run:
    """Check everything a run needs and say what it will be; writes nothing.

    Args:
        limit: only the first so many samples; None for all (or what a stored run was limited to). A stored run of
            fewer is extended.
        partial: score only the samples that a captions file holds.
        fresh: a stored run with other settings is no obstacle.
        ignore_unknown: leave out captions whose ids the task does not have.

    Raises:
        CimError: data not there, ids missing or unknown, engine not usable here.
        SettingsError: a stored run of this name was made with other settings.
    """
    task = registry.task(task_name)
    engine = registry.engine(model.engine)
    if reason := engine.missing():
        raise CimError(f"engine {engine.name} cannot run here: {reason}")
    whole = data.samples(task)
    limit = limit if limit is not None else model.limit
    limit = None if limit is not None and limit >= len(whole) else limit
    if engine.known is None:
        chosen = whole[:limit]
    else:
        stored_part, known = model.engine == "replay", engine.known(model)
        rule, file_ids = ids.matched(known, [sample.id for sample in whole])
        if rule:
            model = replace(model, settings={**model.settings, "ids_matched": rule}, file_ids=file_ids)
            known = known.difference(file_ids.values()).union(file_ids)
        if ignore_unknown:
            known = known.intersection(sample.id for sample in whole)
        chosen = _choose(whole, known, model, limit, partial or stored_part)
    settings = {
        "task": {
            "name": task.name,
            "version": task.version,
            "data": data.fingerprint(task),
            "prompt": hashlib.sha256(task.prompt.encode()).hexdigest()[:12],
        },
        "model": dict(model.settings),
        "samples": {"n": len(chosen), "limit": limit, "ids": manifest.digest([sample.id for sample in chosen])},
    }
    files = RowFiles(results / task.name / model.name)
    run = Run(task, model, chosen, whole, files, results, settings, gallery=task.gallery)
    if not fresh:
        manifest.check(run.folder, settings, [sample.id for sample in chosen])
    return run


def refuse_to_discard(run: Run) -> None:
    """``--fresh`` must not discard what the run is made from.

    Raises:
        CimError: the model is the stored run itself, or a file inside the run's folder.
    """
    folder, source = run.folder.absolute(), run.model.source
    if source is not None and (source == folder or folder in source.parents):
        hint = "name the model that made the run, or move the file away"
        raise CimError("--fresh would discard what it reads", where=str(source), hint=hint)


def _choose(
    whole: Sequence[Sample], known: frozenset[str], model: Model, limit: int | None, partial: bool
) -> list[Sample]:
    where = str(model.source)
    if unknown := known.difference(sample.id for sample in whole):
        hint = f"its ids look like {whole[0].id!r}; leave these rows out with --ignore-unknown, or name another --task"
        raise CimError(f"{len(unknown)} sample ids are not in this task: {_some(unknown)}", where=where, hint=hint)
    if partial:
        return [sample for sample in whole if sample.id in known][:limit]
    chosen = list(whole[:limit])
    if missing := [sample.id for sample in chosen if sample.id not in known]:
        hint = "add them, or score only what is there with --partial"
        raise CimError(
            f"no caption for {len(missing)} of {len(chosen)} samples: {_some(missing)}", where=where, hint=hint
        )
    return chosen


def _some(ids: Sequence[str] | frozenset[str]) -> str:
    first = [repr(name[:60]) for name in (sorted(ids) if isinstance(ids, frozenset) else ids)[:FEW]]
    return ", ".join(first) + (", ..." if len(ids) > FEW else "")
