"""Every statement of a caption against its scene: how many are true, false, or say a truth again.

Per caption, with verdicts as in ``tasks/miniscenes/truth.py``; T, F and R are sums over captions, n their number::

    share_true = T / (T + F)    true = T / n    false = F / n    repeated = R / n    clean = captions with F = 0 < T

``relations`` are relations stated per caption, ``relations_true`` the share of true ones among them, ``well_formed``
the share of sentences that the grammar could have written. Shares are in percent, of all captions together.
``cim eval --model M --task miniscenes --metrics statements``
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from harness.parts import Measurement, Metric, Records, Value
from harness.types import Sample
from tasks.miniscenes.reading import sentences
from tasks.miniscenes.truth import FALSE, REPEATED, TRUE, verdicts

if TYPE_CHECKING:
    from harness.parts import Array

SHARE = (0.0, 100.0)
VALUES = (
    Value("share_true", bounds=SHARE),
    Value("clean", main=False, bounds=SHARE),
    Value("true", main=False),
    Value("false", higher_is_better=False, main=False),
    Value("repeated", higher_is_better=False, main=False),
    Value("relations", higher_is_better=None, main=False),
    Value("relations_true", main=False, bounds=SHARE),
    Value("well_formed", main=False, bounds=SHARE),
)
# Of an empty caption: it says nothing true; what share of no relation is true is undefined.
EMPTY = tuple(float("nan") if value.name == "relations_true" else 0.0 for value in VALUES)
# Columns of the statistics: what each value counts, and among what; None is among the captions.
COUNTS = ("true", "clean", "false", "repeated", "relations", "relations_true", "well_formed", "true_or_false", "said")
PARTS = (0, 1, 0, 2, 3, 4, 5, 6)
AMONG = (7, None, None, None, None, None, 4, 8)


def _counts(caption: str, sample: Sample) -> list[int]:
    judged = verdicts(caption, sample)
    number = Counter(verdict for _, verdict in judged)
    relations = Counter(verdict for statement, verdict in judged if statement.kind == "relation")
    said, well_formed = sentences(caption)
    return [
        number[TRUE],
        int(number[FALSE] == 0 < number[TRUE]),
        number[FALSE],
        number[REPEATED],
        relations[TRUE] + relations[FALSE],
        relations[TRUE],
        well_formed,
        number[TRUE] + number[FALSE],
        said,
    ]


def aggregate(totals: Array, n: int | Array) -> Array:
    """The values (..., 8) of summed counts (..., 9) of n captions; shares of nothing are those of an empty caption."""
    captions = np.broadcast_to(np.asarray(n, dtype=np.float64), totals[..., :1].shape)
    columns = []
    for value, part, among, empty in zip(VALUES, PARTS, AMONG, EMPTY, strict=True):
        whole = captions[..., 0] if among is None else totals[..., among]
        shares = np.divide(totals[..., part], whole, out=np.full_like(whole, empty), where=whole > 0)
        columns.append(100.0 * shares if value.bounds == SHARE else shares)
    return np.stack(columns, axis=-1)


def _measure(records: Records) -> Measurement:
    rows = [_counts(text, sample) for text, sample in zip(records.captions, records.samples, strict=True)]
    statistics = np.array(rows, dtype=np.float64).reshape(-1, len(COUNTS))
    values = np.nan_to_num(aggregate(statistics, 1))  # of one caption 0 where it is a share of nothing
    return Measurement(values, statistics)


def _signature() -> Mapping[str, str]:
    return {"mentions": "all", "object": "true once", "again": "repeated", "agg": "micro", "v": "1"}


METRIC = Metric(
    name="statements",
    values=VALUES,
    order=6,
    measure=_measure,
    signature=_signature,
    empty=EMPTY,
    needs=frozenset({"graph"}),
    aggregate=aggregate,
    floor=True,
    scale=None,
)
