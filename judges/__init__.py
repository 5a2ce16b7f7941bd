"""A file here is a judge: a prompt and the parsers of its replies, both pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness import registry
from harness.errors import OutageError

if TYPE_CHECKING:
    from harness.parts import Array, Measurement, Records


def yes_share(records: Records, judge: str, keys: Sequence[str] = ("",)) -> Measurement:
    """Share of yes among the parsed replies, in percent, per prompt key; its aggregate is ``share_of_parsed``.

    An unparsed reply is no answer: its sample is left out of that key's share and counted under ``unparsed``.

    Returns:
        ``values`` (n, keys), 100 or 0; ``statistics`` (n, 2 keys): yes, then parsed.

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
        raise unreadable(judge, replies)
    yes, parsed = (
        np.array([[test(said) for said in row] for row in answers], dtype=np.float64) for test in (_yes, _any)
    )
    return Measurement(100.0 * yes, np.hstack([yes, parsed]), {"unparsed": float(unparsed)})


def unreadable(judge: str, replies: Sequence[Mapping[str, str]]) -> OutageError:
    """The error of a metric where not one reply can be parsed."""
    texts = [text for row in replies for text in row.values()] or [""]
    hint = "another --judge, or --fresh to ask again"
    what = f"none of {len(texts)} replies to judge {judge} can be parsed, first {texts[0][:40]!r}"
    return OutageError(what, hint=hint)


def _yes(answer: str | None) -> bool:
    return answer == "yes"


def _any(answer: str | None) -> bool:
    return answer is not None


def share_of_parsed(totals: Array, n: int | Array) -> Array:
    """Percentages (..., k) of summed statistics (..., 2 k); NaN where nothing was parsed."""
    import numpy as np

    yes, parsed = np.split(totals, 2, axis=-1)
    return np.asarray(100.0 * np.divide(yes, parsed, out=np.full_like(yes, np.nan), where=parsed > 0))
