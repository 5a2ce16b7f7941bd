"""Caption-only QA: questions that a language model answers right from the caption alone, micro average in percent.

``accuracy``: right answers among all questions. ``score``: CaptionQA's, where "cannot answer" of a
question with k choices earns 1/k + 0.05. ``na_rate`` and ``unparsed_rate``: answered by "cannot answer", and not read;
the latter are wrong. By kind of question: ``cim facts``.
Source: ``bronyayang/CaptionQA:qa.py@f729489``. Run with ``cim eval --task captionqa --judge J``.
"""

from __future__ import annotations

from functools import partial
from string import ascii_uppercase
from typing import TYPE_CHECKING

import numpy as np

from harness import registry
from harness.parts import Measurement, Metric, Records, Value
from harness.types import Fact, Sample
from judges import unreadable
from judges.caption_qa import CANNOT, NOT_SAID, questions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.parts import Array

VALUES = (
    Value("accuracy"),
    Value("score"),
    Value("na_rate", higher_is_better=False, main=False),
    Value("unparsed_rate", higher_is_better=False),
)
BONUS = 0.05  # of "cannot answer" over guessing


def _answers(judged: str, together: bool, sample: Sample, reply: Mapping[str, str]) -> list[str | None]:
    """Letter, ``n/a`` or None (unparsed) for each question of a sample."""
    (parse, *_), facts = registry.judge(judged).parsers.values(), questions(sample)
    if together:
        letters = parse(reply.get("", ""), len(facts))
    else:
        letters = [parse(reply.get(fact.id, ""), len(fact.choices))[0] for fact in facts]
    return [_answer(fact, letter) for fact, letter in zip(facts, letters, strict=True)]


def _answer(fact: Fact, letter: str | None) -> str | None:
    """A letter that is none of the options is unparsed; that of "cannot answer" is ``n/a``."""
    if letter is None or letter == NOT_SAID:
        return letter
    at = ascii_uppercase.index(letter)
    if at >= len(fact.choices):
        return None
    return NOT_SAID if fact.choices[at] == CANNOT else letter


def _counts(facts: Sequence[Fact], answers: Sequence[str | None]) -> list[float]:
    """Right, points, n/a, unparsed, all."""
    right = sum(answer == fact.answer for fact, answer in zip(facts, answers, strict=True))
    unsure = [fact for fact, answer in zip(facts, answers, strict=True) if answer == NOT_SAID]
    # Rounded as the benchmark stores each.
    points = sum(round(1 / (len(fact.choices) - fact.choices.count(CANNOT)) + BONUS, 4) for fact in unsure)
    return [right, right + points, len(unsure), list(answers).count(None), len(facts)]


def aggregate(totals: Array, n: int | Array) -> Array:
    """Percentages (..., 4) of summed counts (..., 5); NaN without questions."""
    counts, among = totals[..., :-1], totals[..., -1:]
    return np.asarray(100.0 * np.divide(counts, among, out=np.full_like(counts, np.nan), where=among > 0))


def _measure(judged: str, together: bool, records: Records) -> Measurement:
    replies = records.replies(judged)
    answers = [_answers(judged, together, *pair) for pair in zip(records.samples, replies, strict=True)]
    rows = [_counts(questions(sample), of_sample) for sample, of_sample in zip(records.samples, answers, strict=True)]
    statistics = np.array(rows, dtype=np.float64)
    right, _, unsure, unparsed, total = statistics.sum(axis=0).tolist()
    if total and unparsed == total:
        raise unreadable(judged, replies)
    counts = {"right": right, "na": unsure, "unparsed": unparsed, "questions": total}
    return Measurement(np.nan_to_num(aggregate(statistics, 1)), statistics, counts)


def _verdicts(judged: str, together: bool, records: Records) -> list[list[str]]:
    return [
        [answer or "unread" for answer in _answers(judged, together, sample, reply)]
        for sample, reply in zip(records.samples, records.replies(judged), strict=True)
    ]


def _always(together: bool, sample: Sample) -> dict[str, str]:
    facts = questions(sample)
    if together:
        return {"": "\n".join(f"{at}. A" for at in range(len(facts)))}
    return {fact.id: "A" for fact in facts}


def _metric(name: str, together: bool = False) -> Metric:
    """The metric that reads the replies to the prompts of its own name, of a question each or of all ``together``."""
    return Metric(
        name=name,
        values=VALUES,
        order=5,
        measure=partial(_measure, name, together),
        signature=lambda: {"read": "numbered" if together else "captionqa", "agg": "micro", "v": "1"},
        empty=(0.0, 100 * (1 / 2 + BONUS), 100.0, 0.0),  # no question can be answered; points as of two choices
        needs=frozenset({"choices"}),
        judge=name,
        aggregate=aggregate,
        verdicts=partial(_verdicts, name, together),
        constants={"always_a": partial(_always, together)},
    )


METRIC = _metric("caption_qa")
VARIANTS = {"together": _metric("caption_qa@together", together=True)}
