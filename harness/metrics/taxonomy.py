"""Species and breed named in captions, from a judge's stored yes-or-no replies: share of images in percent.

A reply with neither yes nor no counts as no (``judges/taxonomy.py``). Run with ``cim eval --metrics taxonomy``.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from harness.parts import Measurement, Metric, Records
from harness.types import Sample
from judges import taxonomy as judge

VALUES = ("species", "breed")


def _measure(records: Records) -> Measurement:
    answered = records.replies("taxonomy")
    rows = [[100.0 * (judge.says_yes(reply.get(key, "")) is True) for key in VALUES] for reply in answered]
    values = np.array(rows, dtype=np.float64)
    return Measurement(values, values)


def _always(answer: str, _: Sample) -> dict[str, str]:
    return dict.fromkeys(VALUES, answer)


METRIC = Metric(
    name="taxonomy",
    values=VALUES,
    measure=_measure,
    signature=lambda: {"read": "first-yes-no", "agg": "mean", "v": "1"},
    empty=(0.0, 0.0),
    needs=frozenset({"taxonomy"}),
    judge="taxonomy",
    constants={"all_yes": partial(_always, "yes"), "all_no": partial(_always, "no")},
)
