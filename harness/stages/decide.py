"""Judge two runs image by image until it is clear what all images will show (``runs/sequential.py``).

The images are judged in a fixed random order, some at a look. Replies are stored where ``cim judge`` stores them, so
that the same command resumes, and one without ``--decide`` goes on to all images. Until then the runs have no score of
the metric: ``cim score`` says how many questions are not answered. Run with ``cim judge --model A,B --decide D``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.errors import CimError
from harness.parts import Metric
from harness.runs import manifest, power, sequential, stats
from harness.runs.run import Run
from harness.stages import agreement, judge
from harness.stages.caption import Generate
from harness.types import Sample, Track

if TYPE_CHECKING:
    from harness.parts import Array

OPPOSITE = {sequential.BETTER: sequential.WORSE, sequential.WORSE: sequential.BETTER}


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided of run b against run a, in the first value of a metric, from ``judged`` of ``images``.

    ``a``, ``b`` and ``difference`` are of the judged images alone: no scores of the runs. ``ids`` stands for the judged
    samples, ``replies`` is how many were asked for now.
    """

    metric: str
    value: str
    decision: str
    judged: int
    images: int
    ids: str
    a: float
    b: float
    difference: float
    least: float
    replies: int


def decide(a: Run, b: Run, metric: Metric, least: float, track: Track, generate: Generate) -> Decided:
    """Judge both runs until it is decided whether b is better or worse than a, or that they differ by less.

    Args:
        least: the smallest difference that matters, in units of the value.
        generate: a model and its requests to completions.

    Raises:
        CimError: the runs are of other samples, or the metric is not judged or has no direction or bounds.
        OutageError: replies failed or none can be read; finished ones are kept.
    """
    bounds, value = metric.bounds(metric.names[0]), metric.values[0]
    if metric.judge is None or bounds is None or value.higher_is_better is None:
        raise CimError(f"nothing to decide by {metric.name}", hint="--decide takes a judged metric with a direction")
    if a.scope() != b.scope() or a.settings["samples"]["ids"] != b.settings["samples"]["ids"]:
        raise CimError(f"{a.model.name} and {b.model.name} are of different samples", where=a.task.name)
    if judge.answering_name(a) != judge.answering_name(b):
        raise CimError("both runs need the same judge", where=a.task.name, hint="--judge J")
    by_image = dict[str, list[Sample]]()
    for sample in a.samples:
        by_image.setdefault(sample.image_key, []).append(sample)
    order = sequential.order(list(by_image))
    replies = 0
    for n in sequential.looks(len(order)):
        samples = [sample for image in order[:n] for sample in by_image[image]]
        parts = [replace(run, samples=samples) for run in (a, b)]
        replies += sum(sum(judge.judge(part, [metric], track, (), generate).values()) for part in parts)
        columns = [_column(part, metric) for part in parts]
        first, second = (float(stats.point(column)[0]) for column in columns)
        differences = _differences(columns)
        largest = bounds[1] - bounds[0]
        if len(differences) > 1 and (decision := sequential.decision(differences, len(order), least, largest)):
            if value.higher_is_better is False:
                decision = OPPOSITE.get(decision, decision)
            ids = manifest.digest([sample.id for sample in samples])
            difference = second - first
            return Decided(
                metric.name, value.name, decision, n, len(order), ids, first, second, difference, least, replies
            )
    raise CimError("two images at least are needed", where=a.task.name)


def _column(run: Run, metric: Metric) -> stats.Column:
    measured = metric.measure(agreement.records_of(run, judge.answering_name(run) or ""))
    return stats.Column(
        measured.statistics, metric.aggregate, stats.image_numbers([sample.image_key for sample in run.samples])
    )


def _differences(columns: Sequence[stats.Column]) -> Array:
    a, b = (power.influence(column)[:, 0] for column in columns)
    return b - a
