"""A run: one model on samples of one task, and the folder of its files.

``plan`` turns what a user asked for into runs and checks all of it before anything is written:
model, data, sample ids, settings of a stored run. Each verb then works on one run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness import registry
from harness.benchmark.definition import PINNED
from harness.errors import CimError, SettingsError
from harness.forms import ids
from harness.lines import picked
from harness.resources import data
from harness.runs import manifest
from harness.runs.records import RowFiles
from harness.store import read_document
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
    def captions(self) -> Mapping[str, Completion]:
        """Captions stored so far, by sample id."""
        return self.files.completions()

    @property
    def images(self) -> Path:
        """The folder of its task's images."""
        return image_folder(self.task, self.results)

    def scope(self) -> str:
        """The n of a signature: ``500``, ``12/500@<ids>`` of a part, ``9 captions of 3@<ids>`` of several per image."""
        n, images, whole = len(self.samples), len({sample.task_id for sample in self.samples}), len(self.all_samples)
        part = str(n) if images == whole else f"{images}/{whole}"
        several = f"{n} captions of {images if images == whole else part}" if n > images else part
        return several if several == str(whole) else f"{several}@{self.settings['samples']['ids']}"


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


def _owner(ids: Collection[str], model: Model) -> str:
    """The one task that a captions file's ids belong to, by most ids shared; of equals the one that is a part."""
    shared, absent = dict[str, int](), list[str]()
    for name in registry.names("tasks"):
        try:
            task = registry.task(name)
            samples = [sample.id for sample in data.samples(task)] if task.provides else []
        except CimError:  # not brought here, or moved since a run was made from it
            absent.append(name)
            continue
        if overlap := len(_assigned(ids, samples, by_rule=False)[1]):
            shared[name] = overlap
    most = [name for name in shared if shared[name] == max(shared.values())]
    parts = [name for name in most if not registry.task(name).definition] or most
    if len(parts) == 1:
        return parts[0]
    if shared:
        raise CimError(f"ids fit several tasks: {', '.join(parts)}", where=str(model.source), hint="say --task")
    hint = "score them against references of yours with --references FILE"
    if absent := [name for name in absent if name in DEFAULT_TASKS]:
        hint += f"; no data here for {', '.join(absent)}: `cim data fetch {absent[0]}` or CIM_DATA"
    raise CimError(f"ids belong to no task: {_some(ids)}", where=str(model.source), hint=hint)


def plan(
    model: Model,
    task: Task,
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
    engine = registry.engine(model.engine)
    if reason := engine.missing():
        raise CimError(f"engine {engine.name} cannot run here: {reason}")
    whole = data.samples(task)
    limit = limit if limit is not None else model.limit
    limit = None if limit is not None and limit >= len(whole) else limit
    if engine.known is None:
        chosen = whole[:limit]
    else:
        known, partial = engine.known(model), partial or model.engine == "replay"
        if sum(sample.id in known for sample in whole) == len(known):  # each caption is one of a sample's own id
            chosen = _choose(whole, known, model, limit, partial)
        else:
            rule, by_sample, unknown = _assigned(known, [sample.id for sample in whole])
            if unknown and not ignore_unknown:
                raise _unknown(unknown, whole, model)
            chosen = _choose(whole, by_sample, model, limit, partial)
            if rule:
                model = replace(model, settings={**model.settings, "ids_matched": rule})
            chosen, file_ids = _expanded(chosen, by_sample)
            model = replace(model, file_ids=file_ids)
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
    _check_pinned(task, results)
    files = RowFiles(results / task.name / model.name)
    run = Run(task, model, chosen, whole, files, results, settings, gallery=task.gallery)
    if not fresh:
        manifest.check(run.folder, settings, [sample.id for sample in chosen])
    return run


def _check_pinned(task: Task, results: Path) -> None:
    """Refuse a benchmark without code whose files are not those that its earlier runs were made from.

    Raises:
        SettingsError: names the files that differ.
    """
    stored = read_document(results / task.name / PINNED) if task.definition else None
    now = json.loads(task.definition) if stored else {}
    hashes = [{name: part.get("sha256") for name, part in (stored or {}).items() if isinstance(part, dict)}]
    hashes.append({name: part.get("sha256") for name, part in now.items() if isinstance(part, dict)})
    if changed := [name for name in hashes[0] if name in hashes[1] and hashes[0][name] not in (None, hashes[1][name])]:
        hint = "restore them, or give the benchmark another name"
        what = f"{', '.join(changed)} have changed since the first run"
        raise SettingsError(what, where=f"task {task.name}", hint=hint)


def refuse_to_discard(run: Run) -> None:
    """``--fresh`` must not discard what the run is made from.

    Raises:
        CimError: the model is the stored run itself, or a file inside the run's folder.
    """
    folder, source = run.folder.absolute(), run.model.source
    if source is not None and (source == folder or folder in source.parents):
        hint = "name the model that made the run, or move the file away"
        raise CimError("--fresh would discard what it reads", where=str(source), hint=hint)


def _assigned(
    known: Collection[str], samples: Sequence[str], *, by_rule: bool = True
) -> tuple[str, dict[str, list[str]], list[str]]:
    """Whose caption is it? The rule, a file's ids of captions by sample id, and its ids that are no sample's.

    The captions ``x#1``, ``x#2`` ... of a file are those of its image ``x``.
    """
    direct, of_image = set(samples), dict[str, list[str]]()
    for name in known:
        image, mark, number = name.rpartition("#")
        one_of_several = mark and number.isdecimal() and name not in direct and f"{image}#1" in known
        of_image.setdefault(image if one_of_several else name, []).append(name)
    for several in of_image.values():
        several.sort(key=lambda name: int(name.rpartition("#")[2]) if len(several) > 1 else 0)
    rule, matched = ids.matched(of_image, samples) if by_rule else ("", {})
    by_sample = {name: of_image[matched.get(name, name)] for name in samples if matched.get(name, name) in of_image}
    assigned = {matched.get(name, name) for name in by_sample}
    return rule, by_sample, sorted(image for image in of_image if image not in assigned)


def of_captions(samples: Sequence[Sample], names: Collection[str]) -> list[Sample]:
    """The samples of stored captions by their ids, in the order of the task; one per caption of an image."""
    _, by_sample, _ = _assigned(names, [sample.id for sample in samples], by_rule=False)
    return _expanded([sample for sample in samples if sample.id in by_sample], by_sample)[0]


def _unknown(unknown: Sequence[str], whole: Sequence[Sample], model: Model) -> CimError:
    hint = f"its ids look like {whole[0].id!r}; leave these rows out with --ignore-unknown, or name another --task"
    what = f"{len(unknown)} sample ids are not in this task: {_some(unknown)}"
    return CimError(what, where=str(model.source), hint=hint)


def _choose(
    whole: Sequence[Sample], known: Collection[str], model: Model, limit: int | None, partial: bool
) -> Sequence[Sample]:
    if partial:
        return picked(whole, [at for at, sample in enumerate(whole) if sample.id in known][:limit])
    chosen = whole[:limit]
    if missing := [sample.id for sample in chosen if sample.id not in known]:
        hint = "add them, or score only what is there with --partial"
        what = f"no caption for {len(missing)} of {len(chosen)} samples: {_some(missing)}"
        raise CimError(what, where=str(model.source), hint=hint)
    return chosen


def _expanded(chosen: Sequence[Sample], by_sample: Mapping[str, list[str]]) -> tuple[list[Sample], dict[str, str]]:
    """A sample for each caption, and the file's id of each where it is another."""
    samples, file_ids = list[Sample](), dict[str, str]()
    for sample in chosen:
        names = by_sample[sample.id]
        for number, name in enumerate(names, start=1):
            several = name != sample.id and (len(names) > 1 or name.endswith("#1"))
            caption = replace(sample, id=f"{sample.id}#{number}", image_id=sample.id) if several else sample
            samples.append(caption)
            if caption.id != name:
                file_ids[caption.id] = name
    return samples, file_ids


def _some(ids: Collection[str]) -> str:
    first = [repr(name[:60]) for name in (ids if isinstance(ids, Sequence) else sorted(ids))[:FEW]]
    return ", ".join(first) + (", ..." if len(ids) > FEW else "")
