"""What metrics make of a run's captions and of its controls: all at once, or block by block where there are many.

Of more than ``WHOLE`` samples, ``BLOCK`` are measured at a time and only sums of their statistics are kept, over as
many groups of images as the bootstrap resamples, so that memory does not grow with the run. Values per sample are the
same. Judged and retrieved metrics are measured at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import OutageError
from harness.parts import Measurement, Metric, Records
from harness.runs import controls, stats
from harness.runs.run import Run
from harness.stages import retrieve
from harness.stages.judge import answered, replies
from harness.stages.parse import Parses
from harness.stages.probes import CONTROLS
from harness.types import Completion, Sample, Share

if TYPE_CHECKING:
    from harness.parts import Array
    from harness.runs.stats import Ints

WHOLE, BLOCK = 20_000, 10_000  # samples


@dataclass(frozen=True, slots=True)
class Block:
    """Some samples of a run from number ``start`` on, and what metrics make of them and of their controls, by name."""

    start: int
    inputs: Records
    metrics: Mapping[str, Measurement]
    beside: Mapping[str, Mapping[str, Measurement]]


@dataclass(slots=True)
class Sums:
    """Statistics of all samples by metric and control ("": none), as columns; counts; and what stopped."""

    images: Ints | None
    n: int
    whole: bool
    stopped: dict[str, str] = field(default_factory=dict)
    counts: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)
    _sums: dict[tuple[str, str], Array] = field(default_factory=dict)
    _grouping: tuple[Ints, int] | None = None

    def add(self, block: Block) -> None:
        """Add the statistics of a block."""
        for name, measurement in block.metrics.items():
            for control, measured in {"": measurement, **block.beside[name]}.items():
                key, statistics = (name, control), measured.statistics
                self.counts[key] = pooled(self.counts.get(key, {}), measured.counts)
                if self.whole:
                    self._sums[key] = statistics
                    continue
                group, count = self._groups()
                before = self._sums.setdefault(key, np.zeros((count, statistics.shape[1])))
                np.add.at(before, group[block.start : block.start + len(statistics)], statistics)

    def controls(self, metric: Metric) -> list[str]:
        """The controls of a metric that were measured."""
        return [control for name, control in self.counts if control and name == metric.name]

    def counted(self, metric: Metric, control: str = "") -> dict[str, float]:
        """The counts of a metric."""
        return {name: float(number) for name, number in self.counts[metric.name, control].items()}

    def column(self, metric: Metric, control: str = "") -> stats.Column:
        """The statistics of a metric."""
        if self.whole:
            return stats.Column(self._sums[metric.name, control], metric.aggregate, self.images)
        group, count = self._groups()
        captions = np.bincount(group, minlength=count).astype(np.float64)
        return stats.Column(self._sums[metric.name, control], metric.aggregate, None, captions)

    def _groups(self) -> tuple[Ints, int]:
        if self._grouping is None:
            group, count = stats.grouping(self.images, self.n)
            self._grouping = np.arange(self.n) if group is None else group, count
        return self._grouping


def pooled(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """The counts of two blocks together: shares by their weight, the others added."""
    together = {**before, **now}
    for name in before.keys() & now.keys():
        a, b = before[name], now[name]
        if isinstance(a, Share) and isinstance(b, Share):
            weight = a.weight + b.weight
            together[name] = Share((a * a.weight + b * b.weight) / weight, weight)
        else:
            together[name] = a + b
    return together


class Stopped(Exception):
    """A metric stopped in a later block, after rows with its values were written: all begins again without it."""

    def __init__(self, metric: Metric, reason: str) -> None:
        super().__init__(reason)
        self.metric = metric


def blocks(
    run: Run, captions: Mapping[str, Completion], metrics: Sequence[Metric], parses: Parses, sums: Sums
) -> Iterator[Block]:
    """Measure a run; each block is added to ``sums`` and given out, what stops in the first block left out.

    Raises:
        Stopped: a metric stopped in a later block.
    """
    places = controls.positions(run.samples, run.all_samples) if any(metric.floor for metric in metrics) else {}
    size = max(1, len(run.samples)) if sums.whole else BLOCK
    parts = [slice(start, start + size) for start in range(0, max(1, len(run.samples)), size)]
    corpus = {
        metric.name: metric.corpus(_records(run, {}, part, parses) for part in parts)
        for metric in metrics
        if metric.corpus is not None and len(parts) > 1
    }
    for part in parts:
        inputs = replace(_records(run, captions, part, parses), corpus=corpus)
        block = replace(run, samples=inputs.samples)
        measured, beside = dict[str, Measurement](), dict[str, dict[str, Measurement]]()
        for metric in metrics:
            if metric.name in sums.stopped:
                continue
            try:
                measurement = metric.measure(inputs)
                others = _controls(block, metric, inputs, partial(_texts, run, captions, inputs, places, part))
                beside[metric.name] = {name: metric.measure(other) for name, other in others}
                measured[metric.name] = measurement
            except OutageError as error:
                if part.start:
                    raise Stopped(metric, str(error)) from error
                sums.stopped[metric.name] = str(error)
        done = Block(part.start, inputs, measured, beside)
        sums.add(done)
        yield done


def _records(run: Run, captions: Mapping[str, Completion], part: slice, parses: Parses) -> Records:
    samples = list(run.samples[part])
    block = replace(run, samples=samples)
    texts = [_text(captions[sample.id]) if captions else "" for sample in samples]
    answers, looked_up = partial(replies, block), partial(retrieve.retrievals, block)
    return Records(samples, texts, parses.parse, answers, run.task.parser, parses.encode, looked_up)


def _texts(
    run: Run,
    captions: Mapping[str, Completion],
    inputs: Records,
    places: Mapping[str, Ints],
    part: slice,
) -> dict[str, list[str]]:
    """What stands in for the captions of a block, by control."""

    def text(control: str, at: int) -> str:
        if control == controls.WRONG_IMAGE:
            return controls.first_reference(run.all_samples[at])
        here = at - part.start
        return inputs.captions[here] if 0 <= here < len(inputs.captions) else _text(captions[run.samples[at].id])

    return {control: [text(control, int(at)) for at in of_all[part]] for control, of_all in places.items()}


def _text(caption: Completion) -> str:
    return caption.text or ""


def _controls(
    block: Run, metric: Metric, inputs: Records, texts: Callable[[], Mapping[str, list[str]]]
) -> Iterator[tuple[str, Records]]:
    """What a metric reads for each of its controls: other captions, constant judges, replies about other captions."""
    if metric.floor:
        for name, captions in _memo(inputs, texts).items():
            yield name, replace(inputs, captions=captions)
    elif retrieve.NEEDED in metric.needs:
        for name in (controls.WRONG_IMAGE, controls.NEXT_CAPTION):
            if retrieve.whole(block, name):
                yield name, replace(inputs, retrievals=partial(retrieve.retrievals, block, name))
    for name, reply in metric.constants.items():
        yield name, replace(inputs, replies=partial(_constant, block, reply))
    for name in CONTROLS if metric.judge else ():
        if metric.judge and answered(block, metric.judge, name):
            yield name, replace(inputs, replies=partial(replies, block, probe=name))


def _memo(inputs: Records, texts: Callable[[], Mapping[str, list[str]]]) -> Mapping[str, list[str]]:
    if "control texts" not in inputs.shared:
        inputs.shared["control texts"] = texts()
    known: Mapping[str, list[str]] = inputs.shared["control texts"]
    return known


def _constant(block: Run, reply: Callable[[Sample], Mapping[str, str]], _: str) -> list[dict[str, str]]:
    return [dict(reply(sample)) for sample in block.samples]
