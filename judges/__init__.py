"""A file here is a judge: a prompt and the parsers of its replies, both pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness import registry
from harness.errors import OutageError

if TYPE_CHECKING:
    from harness.parts import Measurement, Records


def yes_share(records: Records, judge: str, keys: Sequence[str] = ("",)) -> Measurement:
    """Per sample and prompt key 100 where the judge says yes, else 0: values (n, keys), and how many were unparsed.

    Raises:
        OutageError: not one reply can be parsed, which says nothing about the captions.
    """
    import numpy as np

    from harness.parts import Measurement

    (parse, *_) = registry.judge(judge).parsers.values()
    replies = records.replies(judge)
    answers = [[parse(row.get(key, ""), 1)[0] for key in keys] for row in replies]
    unparsed = sum(answer is None for row in answers for answer in row)
    if answers and unparsed == len(answers) * len(keys):
        first = next((text for row in replies for text in row.values()), "")
        hint = "another --judge, or --fresh to ask again"
        raise OutageError(f"none of {unparsed} replies to judge {judge} can be parsed, first {first[:40]!r}", hint=hint)
    values = np.array([[100.0 * (answer == "yes") for answer in row] for row in answers], dtype=np.float64)
    return Measurement(values, values, {"unparsed": float(unparsed)})
