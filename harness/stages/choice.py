"""Which metrics of a run can be computed here, and why the others cannot.

Without a list of names all are chosen that the task's annotations allow and this machine can compute.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness import registry
from harness.errors import CimError
from harness.parts import Metric
from harness.runs import controls
from harness.runs.run import Run
from harness.stages import parse, retrieve
from harness.stages.judge import missing
from harness.stages.parse import Parses
from harness.types import Score, Task


def choose(
    names: Sequence[str] | None, run: Run, parses: Parses, *, among: Sequence[str] = (), fresh: bool = False
) -> tuple[list[Metric], list[Score]]:
    """The metrics to compute, and rows for those that this machine cannot compute.

    Without ``names``: all, or all of ``among``, that the task's annotations allow and that do not take hours
    here. A metric requested by name must be computable. With ``fresh`` stored replies are ignored.
    """
    if names:
        chosen = [metric_of(name, run.task) for name in dict.fromkeys(names)]
        for metric in chosen:
            if lacking := metric.needs - run.task.provides:
                raise CimError(
                    f"metric {metric.name} needs {', '.join(sorted(lacking))}, task {run.task.name} has none"
                )
            if (reason := missing_here(metric, run, parses, named=True, fresh=fresh)) and not _too_few(metric, run):
                raise CimError(f"metric {metric.name} cannot be computed here: {reason}")
        undefined = {metric.name: reason for metric in chosen if (reason := _too_few(metric, run))}
        absent = [not_computed(metric, undefined[metric.name]) for metric in chosen if metric.name in undefined]
        return [metric for metric in chosen if metric.name not in undefined], absent
    metrics = [metric_of(name, run.task) for name in among or registry.names("metrics")]
    metrics = [metric for metric in metrics if metric.needs <= run.task.provides]
    if among and not metrics:
        raise CimError(f"task {run.task.name} has none of the annotations that {', '.join(among)} need")
    reasons = {metric.name: missing_here(metric, run, parses, named=False, fresh=fresh) for metric in metrics}
    absent = [not_computed(metric, reason) for metric in metrics if (reason := reasons[metric.name])]
    return [metric for metric in metrics if not reasons[metric.name]], absent


def missing_here(metric: Metric, run: Run, parses: Parses, *, named: bool, fresh: bool = False) -> str | None:
    """Why a metric of this run cannot be computed here, or only if it is ``named``; None if it can."""
    return (
        metric.missing()
        or _too_few(metric, run)
        or missing(metric, run, fresh=fresh)
        or retrieve.missing(metric, run)
        or parse.missing(run, metric, parses, named=named)
    )


def _too_few(metric: Metric, run: Run) -> str | None:
    """Why a metric is undefined on so few images, or None."""
    images = controls.count_images(run.samples)
    return f"undefined for {images} image, needs {metric.fewest} or more" if images < metric.fewest else None


def metric_of(name: str, task: Task) -> Metric:
    """The metric of this name, or its replacement for synthetic tasks with ground-truth graphs."""
    metric = registry.metric(name)
    return metric.of_graphs if metric.of_graphs and "graph" in task.provides else metric


def not_computed(metric: Metric, reason: str, n: int = 0, *, outage: bool = False) -> Score:
    """The row of a metric without values."""
    nothing: dict[str, float | None] = dict.fromkeys(metric.names)
    none = dict.fromkeys(metric.names, (None, None))
    return Score(metric.name, nothing, none, n, n, None, not_computed=reason, outage=outage)
