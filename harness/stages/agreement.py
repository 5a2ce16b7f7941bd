"""How far two sets of verdicts on the same questions agree: two judges, or one judge before and after an injection.

Three classes: Yes, No, and the rest (n/a and unparsed). p_o is the share of questions with the same class, p_e =
sum over classes of the product of both sides' shares, Cohen's kappa = (p_o - p_e) / (1 - p_e) (Cohen 1960), undefined
if both give the same single class throughout. Intervals: bootstrap over images, as questions of an image are dependent.
Run with ``cim judge --judge OTHER``, and ``cim judge --sway``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import registry
from harness.parts import Metric, Records
from harness.runs import stats
from harness.runs.run import Run
from harness.stages.caption import stored
from harness.stages.judge import answered, answering_name, replies
from harness.stages.judge_files import reply_files
from harness.stages.probes import INJECTIONS

if TYPE_CHECKING:
    from harness.parts import Array

CLASSES = ("yes", "no")  # and the rest
SIZE = len(CLASSES) + 1
AFTER = CLASSES.index("no")  # the verdict that every injection demands
SWAYED = ("relation_qa", "relation_qa@fenced")  # the metrics whose prompts --sway compares

Verdicts = Sequence[Sequence[str]]
Interval = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two answering models on one judge's n questions: share with the same verdict in percent, and kappa."""

    judge: str
    a: str
    b: str
    n: int
    agreement: float
    agreement_ci95: Interval
    kappa: float | None
    kappa_ci95: Interval


@dataclass(frozen=True, slots=True)
class Sway:
    """What an injection does to the verdicts on one prompt's n questions.

    ``changed`` is the share of verdicts that differ from those without it; ``followed`` the share of verdicts other
    than No that became No, as it demands. In percent; None where undefined.
    """

    prompt: str
    injection: str
    n: int
    changed: float
    changed_ci95: Interval
    followed: float | None
    followed_ci95: Interval


def confusion(first: Verdicts, second: Verdicts) -> Array:
    """Confusion counts (n, 9) per sample: class i of ``first`` with class j of ``second`` at 3 i + j."""
    counts = np.zeros((len(first), SIZE * SIZE))
    for row, pair in zip(counts, zip(first, second, strict=True), strict=True):
        for left, right in zip(*pair, strict=True):
            row[SIZE * _class(left) + _class(right)] += 1
    return counts


def _class(verdict: str) -> int:
    word = verdict.lower()
    return CLASSES.index(word) if word in CLASSES else len(CLASSES)


def kappa(totals: Array, _: int | Array) -> Array:
    """Agreement in percent and Cohen's kappa (..., 2) of summed counts (..., 9); NaN where undefined."""
    table = totals.reshape(*totals.shape[:-1], SIZE, SIZE)
    n = table.sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = np.trace(table, axis1=-2, axis2=-1) / n
        expected = (table.sum(axis=-1) * table.sum(axis=-2)).sum(axis=-1) / n**2
        chance_corrected = (observed - expected) / (1 - expected)
    return np.stack([100 * observed, np.where(expected < 1, chance_corrected, np.nan)], axis=-1)


def followed(totals: Array, _: int | Array) -> Array:
    """Changed and followed verdicts in percent (..., 2) of summed counts (..., 9); NaN where undefined."""
    table = totals.reshape(*totals.shape[:-1], SIZE, SIZE)
    free = np.delete(table, AFTER, axis=-2)
    with np.errstate(invalid="ignore"):
        changed = 1 - np.trace(table, axis1=-2, axis2=-1) / table.sum(axis=(-2, -1))
        to_no = free[..., AFTER].sum(axis=-1) / free.sum(axis=(-2, -1))
    return np.stack([100 * changed, 100 * to_no], axis=-1)


def numbers(
    keys: Sequence[str], counts: Array, aggregate: stats.Aggregate, draws: int
) -> tuple[list[float | None], list[Interval]]:
    """The two numbers of an aggregate of counts (n, 9), each with its interval; ``keys`` name the n samples' images."""
    column = stats.Column(counts, aggregate, stats.image_numbers(keys))
    several = draws > 0 and len(set(keys)) > 1
    around = stats.interval(stats.bootstrap([column], draws)[0]) if several else np.full((2, 2), np.nan)
    points, pairs = stats.point(column).tolist(), around.tolist()
    return [_known(x) for x in points], [(_known(low), _known(high)) for low, high in pairs]


def _image_keys(run: Run) -> list[str]:
    return [sample.image_key for sample in run.samples]


def _known(number: float) -> float | None:
    return None if np.isnan(number) else number


def records_of(run: Run, judge: str, probe: str = "") -> Records:
    """What a metric reads verdicts from: the stored replies of the model named ``judge``."""
    captions = stored(run)
    texts = [captions[sample.id].text or "" for sample in run.samples]
    other = replace(run, judge=judge)
    return Records(run.samples, texts, _no_parses, lambda name: replies(other, name, probe), run.task.parser)


def _verdicts(run: Run, metric: Metric, judge: str, probe: str = "") -> list[list[str]]:
    assert metric.verdicts is not None
    return metric.verdicts(records_of(run, judge, probe))


def _no_parses(_: str, texts: Sequence[str]) -> list[Any]:
    raise AssertionError(f"verdicts are read from replies, not from parses of {len(texts)} texts")


def with_others(run: Run, metrics: Sequence[Metric], draws: int = stats.DRAWS) -> list[Agreement]:
    """Agreement of the current judge model with every other whose replies are complete in the run, per judge."""
    return list(_with_others(run, metrics, draws))


def _with_others(run: Run, metrics: Sequence[Metric], draws: int) -> Iterator[Agreement]:
    now = answering_name(run)
    for metric in metrics:
        if metric.judge is None or metric.verdicts is None or now is None or not answered(run, metric.judge):
            continue
        for name in [name for judge, name in reply_files(run.folder) if judge == metric.judge and name != now]:
            if not answered(replace(run, judge=name), metric.judge):
                continue
            counts = confusion(_verdicts(run, metric, name), _verdicts(run, metric, now))
            (agreement, kappa_), (around, around_kappa) = numbers(_image_keys(run), counts, kappa, draws)
            assert agreement is not None
            yield Agreement(metric.judge, name, now, int(counts.sum()), agreement, around, kappa_, around_kappa)


def sway(run: Run, metrics: Sequence[Metric], draws: int = stats.DRAWS) -> list[Sway]:
    """Effect of every injection on the judge model's verdicts, per prompt; replies must be stored."""
    rows, now = list[Sway](), answering_name(run) or ""
    for metric in metrics:
        if metric.judge is None or metric.verdicts is None:
            continue
        base, prompt = _verdicts(run, metric, now), registry.judge(metric.judge).signature["prompt"]
        for injection in INJECTIONS:
            counts = confusion(base, _verdicts(run, metric, now, injection))
            (changed, to_no), (around, around_no) = numbers(_image_keys(run), counts, followed, draws)
            assert changed is not None
            rows.append(Sway(prompt, injection, int(counts.sum()), changed, around, to_no, around_no))
    return rows


def as_rows(rows: Sequence[Agreement | Sway]) -> list[Mapping[str, Any]]:
    """What ``--json`` prints."""
    return [asdict(row) for row in rows]
