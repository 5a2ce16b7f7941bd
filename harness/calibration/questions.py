"""What people are asked about a run: the facts that its judge has judged, in the order to label them.

Blind: a question names neither the model that wrote the caption nor what the judge said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from harness.calibration import labels, plan
from harness.calibration.estimate import Stratum
from harness.calibration.labels import Labels
from harness.errors import CimError
from harness.parts import Metric
from harness.runs import stats
from harness.runs.run import Run
from harness.stages import agreement, judge
from harness.stages.score import judged_rows
from harness.types import Sample


@dataclass(frozen=True, slots=True)
class LabelQuestion:
    """A question about a caption; ``fact`` is the sample's id and the question's number, ``stratum`` is not shown."""

    fact: tuple[str, int]
    caption: str
    question: str
    stratum: Stratum
    sample: Sample

    @property
    def caption_hash(self) -> str:
        """What its label keeps of the caption."""
        return labels.caption_hash(self.caption)


@dataclass(frozen=True, slots=True)
class Labelling:
    """The questions of a run about one metric, in order, and whose replies they check."""

    run: Run
    judge: str
    answering: str
    questions: Sequence[LabelQuestion]

    @property
    def labels(self) -> Labels:
        """What is stored now."""
        return labels.read(self.run.folder, self.judge, self.answering)


def labelling(run: Run, metrics: Sequence[Metric], count: int) -> Labelling:
    """The first ``count`` questions in the plan of the first metric whose judge's verdicts can be labelled.

    Raises:
        CimError: no such metric.
        OutageError: the judge has not answered all of them yet.
    """
    metric = next((metric for metric in metrics if metric.judged), None)
    if metric is None or metric.judge is None or metric.judged is None:
        named = ", ".join(metric.name for metric in metrics) or "no metric"
        raise CimError(f"{named} has no verdicts to label on {run.task.name}", hint="name one: --metrics relation_qa")
    answering = judge.answering_name(run) or ""
    seen = agreement.records_of(run, answering)
    judged, facts = metric.judged(seen), list[LabelQuestion]()
    for sample, caption, questions, rows in zip(run.samples, seen.captions, judged, judged_rows(judged), strict=True):
        for number, (question, (kind, state, _)) in enumerate(zip(questions, rows, strict=True)):
            facts.append(LabelQuestion((sample.id, number), caption, question.question, (state, kind), sample))
    chosen = plan.order([question.stratum for question in facts], [question.fact for question in facts], count)
    return Labelling(run, metric.judge, answering, [facts[index] for index in chosen])


def picture(run: Run, sample: Sample) -> Path | bytes | None:
    """The image of a sample, rendered where its task renders; None where there is none here."""
    path = run.images / sample.image
    if sample.image and path.is_file():
        return path
    return run.task.draw(sample.task_id) if run.task.draw else None


def kappas(of: Labelling, draws: int = stats.DRAWS) -> list[agreement.Agreement]:
    """How far every two labellers agree, on the questions that both have answered."""
    return list(_kappas(of, draws))


def _kappas(of: Labelling, draws: int) -> Iterator[agreement.Agreement]:
    stored = of.labels
    for a, b in combinations(sorted({name for by in stored.values() for name in by}), 2):
        pairs = dict[str, list[tuple[str, str]]]()
        for question in of.questions:
            by = stored.get(question.fact, {})
            if a in by and b in by:
                verdicts = by[a].verdict or "", by[b].verdict or ""
                pairs.setdefault(question.sample.image_key, []).append(verdicts)
        if not pairs:
            continue
        sides = [[[pair[side] for pair in of_image] for of_image in pairs.values()] for side in (0, 1)]
        counts = agreement.confusion(*sides)
        (share, kappa), (around, around_kappa) = agreement.numbers(list(pairs), counts, agreement.kappa, draws)
        assert share is not None
        yield agreement.Agreement(of.judge, a, b, int(counts.sum()), share, around, kappa, around_kappa)
