"""The stages of an evaluation over any number of runs: captions of all runs first, then parses, replies, scores.

Stage after stage rather than run after run, so that a model that several runs use is loaded once, and no two models are
in memory together (``device.py``). A run that fails stops alone. Used by ``cim eval``, by the verbs of its stages, and
by ``cim_harness.evaluate``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from harness import store
from harness.errors import CimError, OutageError
from harness.parts import Metric
from harness.runs import manifest, shards, stats
from harness.runs.run import Run, refuse_to_discard
from harness.stages import caption, choice, judge, parse, retrieve, score, weights
from harness.stages.parse import Parses
from harness.stages.weights import Load
from harness.types import Score, Track, untracked


@dataclass(frozen=True, slots=True)
class Options:
    """How stages are done: bootstrap draws, probes that the judges are asked about, and the progress display.

    ``offline``: the process needs no hub once its checkpoints are here, which holds for a command.
    """

    fresh: bool = False
    draws: int = stats.DRAWS
    probes: Sequence[str] = ()
    track: Track = untracked
    offline: bool = False


@dataclass(slots=True)
class Work:
    """A run with the metrics to compute, and what came of it.

    ``absent`` are rows of metrics that cannot be computed here; ``counts`` what each stage did now, ``lines`` what its
    parses lost; ``scores`` are None until it is scored. ``failure`` stopped it; what is done is kept.
    """

    run: Run
    metrics: Sequence[Metric]
    absent: Sequence[Score]
    counts: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    scores: list[Score] | None = None
    failure: CimError | None = None


def plan(
    runs: Sequence[Run], names: Sequence[str], parses: Parses, *, among: Sequence[str] = (), fresh: bool = False
) -> list[Work]:
    """The metrics of each run, chosen as by ``choice.choose``; writes nothing.

    Raises:
        CimError: a metric or judge that is named cannot be used, or ``fresh`` would discard what a run is made from.
    """
    works = list[Work]()
    for run in runs:
        if fresh:
            refuse_to_discard(run)
        else:
            retrieve.check(run)
        judge.check(run)
        parses.take(None if fresh else run.folder)
        works.append(Work(run, *choice.choose(names, run, parses, among=among, fresh=fresh)))
    return works


def evaluate(works: Sequence[Work], stages: Sequence[str], parses: Parses, options: Options) -> Iterator[Work]:
    """Do these stages, in order, and yield each run after its last one, while its folder is still locked.

    If ``score`` is among the stages, an outage of a parser, judge or encoder does not stop a run: the metrics that need
    it say so.

    Raises:
        CimError: images are missing, a model cannot run here or be brought, or another process is writing one of the
            runs; no run has changed.
    """
    for work in works if "caption" in stages else ():
        if not options.fresh:
            shards.absorb(work.run)
        caption.check(work.run, fresh=options.fresh)
    loads = to_load(works, stages, options)
    weights.check(loads)
    weights.bring(loads, parses.device.say, offline=options.offline)
    weights.check(loads)  # of a checkpoint that was not here the size is known only now
    with ExitStack() as locks:
        for work in works:
            locks.enter_context(store.writing(work.run.folder))
        for work in works if options.fresh else ():
            store.clear(work.run.folder)
        steps = [(stage, step) for stage in stages for step in STAGES[stage]]
        for at, (stage, step) in enumerate(steps):
            for work in _by_model(works, stage):
                if work.failure is None:
                    _attempt(step, work, parses, options, goes_on="score" in stages and stage in OUTLIVED)
                if at == len(steps) - 1:
                    yield work


def to_load(works: Sequence[Work], stages: Sequence[str], options: Options) -> list[Load]:
    """The models with weights that these stages will load, each once."""
    loads = list[Load]()
    for work in works:
        run = work.run
        judges = {metric.judge for metric in work.metrics if metric.judge} if "judge" in stages else set()
        captions = options.fresh or bool(caption.todo(run))
        if "caption" in stages and captions:
            loads.append(Load("captioner", run.model))
        if any(captions or not judge.answered(run, name, probe) for name in judges for probe in ("", *options.probes)):
            loads.append(Load("judge", judge.answering(run)))
    return [load for at, load in enumerate(loads) if load.model.weights and load not in loads[:at]]


def _by_model(works: Sequence[Work], stage: str) -> list[Work]:
    """Runs in the order in which their models are loaded fewest times."""
    if stage != "judge":
        return list(works)
    names = [judge.answering_name(work.run) or "" for work in works]
    return [work for name in dict.fromkeys(names) for work, other in zip(works, names, strict=True) if other == name]


def _attempt(step: Step, work: Work, parses: Parses, options: Options, *, goes_on: bool) -> None:
    try:
        parses.take(work.run.folder)
        step(work, parses, options)
    except CimError as error:
        parses.device.close()  # what has failed is loaded again for the next run
        if goes_on and isinstance(error, OutageError):
            parses.device.say(f"cim: {error}")
        else:
            work.failure = error


def _caption(work: Work, parses: Parses, options: Options) -> None:
    work.counts["captions"] = caption.caption(work.run, options.track, partial(parses.device.generate, "captioner"))


def _parse(work: Work, parses: Parses, options: Options) -> None:
    for line in parse.ahead(work.run, work.metrics, parses):
        parses.device.say(f"{line}; what is done is kept")
    work.counts["parses"] = parse.parse(work.run, work.metrics, parses)
    work.lines = parse.summaries(work.run, work.metrics, parses)


def _judge(work: Work, parses: Parses, options: Options) -> None:
    generate = partial(parses.device.generate, "judge")
    work.counts["replies"] = judge.judge(work.run, work.metrics, options.track, options.probes, generate)


def _images(work: Work, parses: Parses, options: Options) -> None:
    retrieve.encode_images(work.run, work.metrics, parses.encode, options.track)


def _retrieve(work: Work, parses: Parses, options: Options) -> None:
    work.counts["retrievals"] = retrieve.retrieve(work.run, work.metrics, parses.encode, options.track)


def _score(work: Work, parses: Parses, options: Options) -> None:
    work.scores = score.score(work.run, work.metrics, parses, absent=work.absent, draws=options.draws)
    if not any(row.outage for row in work.scores):
        manifest.advance(work.run.folder, "complete")


Step = Callable[[Work, Parses, Options], None]
STAGES: dict[str, tuple[Step, ...]] = {
    "caption": (_caption,),
    "parse": (_parse,),
    "judge": (_judge,),
    "retrieve": (_images, _retrieve),
    "score": (_score,),
}
OUTLIVED = ("parse", "judge", "retrieve")
