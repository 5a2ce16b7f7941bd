"""The outcome matrix: what each of several runs says of each fact, read from the verdicts stored with their scores.

An outcome is ``right`` (the verdict is the fact's answer), ``wrong`` (another), ``not said`` (the caption does not say,
or a question cannot be answered from it) or ``unparsed``: no verdict, which is evidence of nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness import registry
from harness.errors import CimError
from harness.parts import Metric
from harness.resources import data
from harness.runs import compare, signature
from harness.runs.run import of_captions
from harness.runs.stored_run import StoredRun, obstacle
from harness.types import Fact, Sample, Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

OUTCOMES = ("right", "wrong", "not said", "unparsed")
RIGHT, WRONG, NOT_SAID, UNPARSED = range(len(OUTCOMES))
SILENT = ("n/a", "na", "not_mentioned")  # verdicts of judges: the caption does not say
UNREAD = "unread"
TAGS = re.compile(r"[,，;；|]")  # between several tags of a fact, as liuzhipenggg/CAPEval:capeval/tags.py@40a92dd
GROUPS: dict[str, Callable[[Sample, Fact], Sequence[str]]] = {
    "kind": lambda sample, fact: [fact.kind],
    "tag": lambda sample, fact: [tag.strip() for tag in TAGS.split(fact.tag) if tag.strip()],
    "domain": lambda sample, fact: [sample.domain],
}


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """Facts and the sample of each, names of runs, and ``outcomes`` (facts, runs): indices of ``OUTCOMES``.

    ``images`` (facts,) numbers the image of each fact from 0; ``judge`` is the model that gave the verdicts.
    """

    task: Task
    metric: str
    judge: str
    runs: tuple[str, ...]
    samples: tuple[Sample, ...]
    facts: tuple[Fact, ...]
    outcomes: NDArray[np.int8]
    images: NDArray[np.int64]

    @property
    def n_images(self) -> int:
        """How many images the facts are about."""
        return int(self.images.max()) + 1


def outcome(answer: str, verdict: str) -> int:
    """The outcome of a verdict on a fact with this answer: an index of ``OUTCOMES``."""
    if verdict == answer:
        return RIGHT
    if verdict == UNREAD:
        return UNPARSED
    return NOT_SAID if verdict.lower() in SILENT else WRONG


def facts_of(sample: Sample, metric: Metric) -> list[Fact]:
    """The facts that a metric asks about, in its order; relation questions are facts of the kind ``relation``."""
    if "questions" in metric.needs:
        return [Fact(str(at), asked.text, asked.answer, "relation") for at, asked in enumerate(sample.questions)]
    return [fact for fact in sample.facts if bool(fact.choices) == ("choices" in metric.needs)]


def read(runs: Sequence[StoredRun], named: str | None, tell: Callable[[str], None]) -> Matrix:
    """The matrix of runs of one task under one judge; a run that was not judged is left out, and ``tell`` hears why.

    Args:
        named: the metric whose verdicts count; by default the one that most runs have.

    Raises:
        CimError: several tasks, no run with verdicts, runs that cannot be compared, damaged details.
    """
    if len(tasks := dict.fromkeys(run.task for run in runs)) > 1:
        raise CimError(f"runs of several tasks: {', '.join(tasks)}", hint="name runs of one, or say --task")
    task = registry.task(runs[0].task)
    metric = registry.metric(named) if named else _most_judged(runs, task)
    if metric.verdicts is None or not metric.needs <= task.provides:
        raise CimError(f"metric {metric.name} judges no facts of {task.name}", where="--metric")
    judged = [run for run in runs if metric.name in run.computed]
    if not judged:
        hint = _command(runs[0], metric)
        raise CimError(f"no verdicts of {metric.name} in {', '.join(run.model for run in runs)}", hint=hint)
    for run in runs:
        if run not in judged:
            tell(f"left out: {run.model} has no verdicts of {metric.name}; {_command(run, metric)}")
    first, *others = judged
    for run in others:
        pair = first.scores[metric.name], run.scores[metric.name]
        if reason := obstacle(*pair, (first.model, run.model)):
            hint = "judge both by one model, on the same images"
            raise CimError(f"{run.model} and {first.model} cannot be compared: {reason}", hint=hint)
    return _matrix(task, metric, judged)


def _most_judged(runs: Sequence[StoredRun], task: Task) -> Metric:
    stored, known = [name for run in runs for name in run.computed], registry.names("metrics")
    variants = {name for name in stored if name.partition("@")[0] in known}
    for metric in map(registry.metric, sorted({*known, *variants}, key=lambda name: (-stored.count(name), name))):
        if metric.verdicts is not None and metric.needs <= task.provides:
            return metric
    raise CimError(f"task {task.name} has neither facts nor questions", hint="cim list tasks")


def _command(run: StoredRun, metric: Metric) -> str:
    return f"run `cim eval --model {run.files.folder} --task {run.task} --metrics {metric.name} --judge J`"


def _matrix(task: Task, metric: Metric, runs: Sequence[StoredRun]) -> Matrix:
    settings = runs[0].manifest["settings"]["task"]
    if settings["data"] != data.fingerprint(task):
        what, hint = f"made on another version of {task.name}", "score it again with --fresh"
        raise CimError(what, where=str(runs[0].files.folder), hint=hint)
    samples = of_captions(data.samples(task), runs[0].per_sample)
    asked = [(sample, fact) for sample in samples for fact in facts_of(sample, metric)]
    if not asked:
        raise CimError(f"no fact of {task.name} is about these images")
    columns = [[code for sample in samples for code in _codes(run, sample, metric)] for run in runs]
    numbers = {key: at for at, key in enumerate(dict.fromkeys(sample.image_key for sample, _ in asked))}
    return Matrix(
        task,
        metric.name,
        signature.read(runs[0].scores[metric.name]["signature"]).get("judge", ""),
        tuple(compare.names(runs)),
        tuple(sample for sample, _ in asked),
        tuple(fact for _, fact in asked),
        np.array(columns, dtype=np.int8).T,
        np.array([numbers[sample.image_key] for sample, _ in asked], dtype=np.int64),
    )


def _codes(run: StoredRun, sample: Sample, metric: Metric) -> list[int]:
    facts = facts_of(sample, metric)
    row = run.details.get(sample.id, {}).get(metric.name)
    verdicts = row.get("verdicts") if isinstance(row, dict) else None
    if not isinstance(verdicts, list) or len(verdicts) != len(facts) or not all(isinstance(v, str) for v in verdicts):
        what = f"sample {sample.id} lacks verdicts of {metric.name}"
        raise CimError(what, where=str(run.files.folder), hint="score the run again")
    return [outcome(fact.answer, verdict) for fact, verdict in zip(facts, verdicts, strict=True)]
