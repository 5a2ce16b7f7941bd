"""Relation QA from a judge's stored replies: right answers among all questions, micro average.

score = 100 * right/all by the released code's reading of a reply (``cim-v1``: the matched letters must equal the
gold answer); n/a and unparsed answers are wrong. ``score_tolerant`` accepts more forms. ``yes_recall`` and
``no_accuracy``: share right where gold is Yes or No; ``na_rate``, ``unparsed_rate``: share of all questions.
Counts are given as well, and ``macro``: the mean over images of the share right. Variants use other prompts:
``relation_qa@cim-figure6``, ``relation_qa@fenced`` (``judges/relation_qa.py``).
Source: ``Jia-hn/CIM:eval/eval_qwen_vl.py@870f58f``. Run with ``cim eval --metrics relation_qa --judge J``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from harness import registry
from harness.parts import Measurement, Metric, Records, ReplyParser, Value
from harness.types import Judged, Question, Sample, Share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.parts import Array

VALUES = (
    Value("score"),
    *(Value(name, main=False) for name in ("score_tolerant", "yes_recall", "no_accuracy")),
    *(Value(name, higher_is_better=False, main=False) for name in ("na_rate", "unparsed_rate")),
)
UNREAD = "unread"
COUNTS = ("correct", "correct_tolerant", "correct_yes", "correct_no", "na", "unparsed", "total", "gold_yes", "gold_no")


def _counts(questions: Sequence[Question], reply: str, strictly: ReplyParser, tolerantly: ReplyParser) -> list[int]:
    """Right by either parser, right where gold is Yes and No, n/a, unparsed; then all, gold Yes, gold No."""
    n = len(questions)
    golds = [question.answer for question in questions]
    strict, tolerant = strictly(reply, n), tolerantly(reply, n)
    right = [verdict == gold for verdict, gold in zip(strict, golds, strict=True)]
    return [
        sum(right),
        sum(verdict == gold for verdict, gold in zip(tolerant, golds, strict=True)),
        sum(hit for hit, gold in zip(right, golds, strict=True) if gold == "Yes"),
        sum(hit for hit, gold in zip(right, golds, strict=True) if gold == "No"),
        sum(verdict is not None and verdict.lower() in ("n/a", "na") for verdict in strict),
        sum(verdict is None for verdict in strict),
        n,
        golds.count("Yes"),
        golds.count("No"),
    ]


def aggregate(totals: Array, n: int | Array) -> Array:
    """Percentages (..., 6) of summed counts (..., 9); NaN where there is no such question."""
    among = totals[..., [6, 6, 7, 8, 6, 6]]
    return np.asarray(100.0 * np.divide(totals[..., :6], among, out=np.full_like(among, np.nan), where=among > 0))


def _measure(judged: str, records: Records) -> Measurement:
    answered, parsers = records.replies(judged), registry.judge(judged).parsers
    rows = [
        _counts(sample.questions, reply.get("", ""), parsers["cim-v1"], parsers["tolerant"])
        for sample, reply in zip(records.samples, answered, strict=True)
    ]
    statistics = np.array(rows, dtype=np.float64)
    values = np.nan_to_num(aggregate(statistics, 1))  # of one image 0 where it has no such question
    totals = dict(zip(COUNTS, statistics.sum(axis=0).tolist(), strict=True))
    return Measurement(values, statistics, {**totals, "macro": Share(values[:, 0].mean(), len(values))})


def _verdicts(judged: str, records: Records) -> list[list[str]]:
    answered, parse = records.replies(judged), registry.judge(judged).parsers["cim-v1"]
    return [
        [verdict or UNREAD for verdict in parse(reply.get("", ""), len(sample.questions))]
        for sample, reply in zip(records.samples, answered, strict=True)
    ]


def _judged(judged: str, records: Records) -> list[list[Judged]]:
    return [
        [
            Judged(
                question.text,
                f"key {question.answer}" if question.answer in ("Yes", "No") else "key neither",
                question.answer.lower() if question.answer in ("Yes", "No") else "",
                None if verdict == UNREAD else verdict == question.answer,
            )
            for question, verdict in zip(sample.questions, verdicts, strict=True)
        ]
        for sample, verdicts in zip(records.samples, _verdicts(judged, records), strict=True)
    ]


def _always(answer: str, sample: Sample) -> dict[str, str]:
    return {"": ", ".join(f"{number}: {answer}" for number in range(1, len(sample.questions) + 1))}


def _metric(name: str) -> Metric:
    """The metric that reads the replies to the prompt of its own name."""
    return Metric(
        name=name,
        values=VALUES,
        order=5,
        measure=partial(_measure, name),
        signature=lambda: {"read": "cim-v1", "agg": "micro", "v": "1"},
        empty=(0.0, 0.0, 0.0, 0.0, 100.0, 0.0),  # of an empty caption, a judge answers every question with n/a
        needs=frozenset({"questions"}),
        judge=name,
        aggregate=aggregate,
        verdicts=partial(_verdicts, name),
        judged=partial(_judged, name),
        constants={
            "all_yes": partial(_always, "Yes"),
            "all_no": partial(_always, "No"),
            "all_na": partial(_always, "n/a"),
            "unreadable": partial(_always, "I cannot say"),
        },
    )


METRIC = _metric("relation_qa")
VARIANTS = {"cim-figure6": _metric("relation_qa@cim-figure6"), "fenced": _metric("relation_qa@fenced")}
