"""What ``cim eval --dry-run`` prints: per run what would be done, on which GPU, downloads, hours, judge, free disk.

Nothing is written, loaded or asked of a network. Hours are arithmetic, not a measurement: a text of ``max_tokens``
tokens reads all weights once a token, shared by the texts written at once; images and start-up are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from harness import registry
from harness.errors import CimError
from harness.resources import hub, machine, pretrained
from harness.runs.run import Run
from harness.stages import caption, costs, evaluate, parse, weights
from harness.stages.evaluate import Options, Work
from harness.stages.weights import Load

# Assumed: bytes a second that weights are read with, and texts written at once, on a GPU and on a CPU.
GPU, CPU = (1e12, 64), (2e10, 1)


def plan(work: Work, stages: Sequence[str], options: Options) -> dict[str, Any]:
    """What would be done for one run, as JSON."""
    run = work.run
    loads = evaluate.to_load([work], stages, options)
    seconds, basis = _seconds(work, loads, options)
    judging = "judge" in stages
    cost = costs.before(run, work.metrics, options.probes, fresh=options.fresh) if judging else None
    return {
        "task": run.task.name,
        "model": run.model.name,
        "samples": len(run.samples),
        "captions_to_make": _to_make(run, options),
        "metrics": [metric.name for metric in work.metrics],
        "not_computed": {row.metric: row.not_computed for row in work.absent},
        "gpu": "; ".join(map(str, machine.gpus())) or None,
        "loads": [f"{load.role} {load.model.name} on engine {load.model.engine}" for load in loads],
        "refused": _refusal(loads),
        "downloads_gb": _downloads(work, loads),
        "hours_estimated": None if seconds is None else round(seconds / 3600, 2),
        "hours_basis": basis,
        "judge": None if cost is None else asdict(cost),
        "disk_free_gb": round(hub.free() / hub.GIGABYTE, 1),
        "folder": str(run.folder),
    }


def _to_make(run: Run, options: Options) -> int:
    return len(run.samples if options.fresh else caption.todo(run))


def _refusal(loads: list[Load]) -> str | None:
    try:
        weights.check(loads)
    except CimError as error:
        return str(error)
    return None


def _downloads(work: Work, loads: list[Load]) -> dict[str, float | None]:
    """Gigabytes by checkpoint that is not here; None where only the hub knows the size."""
    sizes = {load.model.name: load.gigabytes for load in loads if load.source is not None and load.folder is None}
    needed = {name for metric in work.metrics for name in metric.pretrained}
    needed |= {name for row in work.absent for name in registry.metric(row.metric).pretrained if machine.usable_gpu()}
    absent = [weights for weights in pretrained.ALL.values() if weights.name in needed and pretrained.absent(weights)]
    return sizes | {weights.name: weights.megabytes / 1000 for weights in absent}


def _seconds(work: Work, loads: list[Load], options: Options) -> tuple[float | None, str]:
    """Estimated time, and what it was computed from; None where the size of a model is not known."""
    (rate, rows), seconds, basis = GPU if machine.usable_gpu() else CPU, 0.0, list[str]()
    for load in loads:
        count, tokens = _texts(work, load, options), load.model.weights.sampling.max_tokens if load.model.weights else 0
        if load.gigabytes is None:
            return None, f"the size of {load.model.name} is not known before `cim model fetch {load.model.name}`"
        seconds += math.ceil(count / rows) * tokens * load.gigabytes * hub.GIGABYTE / rate
        basis.append(f"{count} texts of {load.model.name} with {tokens} tokens, {load.gigabytes:.3g} GB of weights")
    for name in parse.names(work.run, work.metrics):
        parser = registry.parser(name)
        if parser.pace and parser.slow():
            letters = _letters(work.run, options)
            seconds += letters / parser.pace
            basis.append(f"{letters} characters for {name}, {parser.pace:.0f} a second (measured on one CPU core)")
    assumed = f"weights read at {rate / hub.GIGABYTE:.0f} GB/s, {rows} texts at once (assumed)"
    return seconds, "; ".join([*basis, assumed] if loads else basis) or "no model is loaded"


def _texts(work: Work, load: Load, options: Options) -> int:
    if load.role == "captioner":
        return _to_make(work.run, options)
    names = {metric.judge for metric in work.metrics if metric.judge}
    unwritten = [registry.judge(name).prompts(sample, "") for name in names for sample in work.run.samples]
    return sum(map(len, unwritten))


def _letters(run: Run, options: Options) -> int:
    """Characters of references and captions; a caption that is not made counts as a mean reference."""
    lengths = [len(text) for sample in run.all_samples for text in sample.references]
    mean = sum(lengths) / max(1, len(lengths))
    return sum(len(text) for block in parse.texts(run) for text in block) + round(mean * _to_make(run, options))


def shown(value: Any) -> str:
    """A value of a plan on one line."""
    if isinstance(value, dict):
        return "; ".join(f"{name} ({'?' if of is None else of})" for name, of in value.items()) or "none"
    return (", ".join(value) or "none") if isinstance(value, list) else "none" if value is None else str(value)
