"""Species and breed named in captions, from a judge's stored yes-or-no replies: share of images in percent.

A reply with neither yes nor no is left out of the share and counted under ``unparsed``.
Run with ``cim eval --metrics taxonomy``.
"""

from __future__ import annotations

from functools import partial

from harness.parts import Metric, Value
from harness.types import Sample
from judges import share_of_parsed, yes_share

VALUES = ("species", "breed")


def _always(answer: str, _: Sample) -> dict[str, str]:
    return dict.fromkeys(VALUES, answer)


METRIC = Metric(
    name="taxonomy",
    values=tuple(Value(name) for name in VALUES),
    order=6,
    measure=partial(yes_share, judge="taxonomy", keys=VALUES),
    signature=lambda: {"read": "first-yes-no", "agg": "mean of parsed", "v": "2"},
    empty=(0.0, 0.0),
    needs=frozenset({"taxonomy"}),
    judge="taxonomy",
    aggregate=share_of_parsed,
    constants={"all_yes": partial(_always, "yes"), "all_no": partial(_always, "no")},
)
