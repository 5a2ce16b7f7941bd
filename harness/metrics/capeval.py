"""CAPEval: how much of a checklist a caption mentions, and how much of that it says right, from a judge's replies.

coverage C = 100 (yes + no) / statements, precision P = 100 yes / (yes + no), sums over images, over all and by domain.
An image whose reply cannot be read is left out of both, as in the benchmark; ``unparsed_rate`` is the share of
statements without a verdict, in such a reply or left out of another. By kind of statement: ``cim facts``.
Source: ``liuzhipenggg/CAPEval:capeval/metrics/aggregate.py@40a92dd``. Run with ``cim eval --task capeval --judge J``.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from harness import registry
from harness.parts import Measurement, Metric, Records, Value
from harness.types import Sample
from judges import unreadable
from judges.capeval import NOT_MENTIONED, statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.parts import Array

DOMAINS = {"SO": "scene_object", "PA": "people_activity", "TI": "text_interface", "DK": "design_knowledge"}
SHARES = ("coverage", "precision")
VALUES = (
    *(Value(share) for share in SHARES),
    *(Value(f"{domain}_{share}", main=False) for domain in DOMAINS.values() for share in SHARES),
    Value("unparsed_rate", higher_is_better=False),  # shown, because the others leave such images out
)


def _counts(sample: Sample, verdicts: Sequence[str | None], read: Sequence[str | None]) -> Array:
    """Yes, no, statements (6, 3): of each domain, of another one, and in the last row 0, unparsed, all."""
    counts = np.zeros((len(DOMAINS) + 2, 3))
    if any(verdicts):
        domain = [*DOMAINS, sample.domain].index(sample.domain)
        counts[domain if domain < len(DOMAINS) else -2] = _of("yes", verdicts), _of("no", verdicts), len(verdicts)
    counts[-1] = 0, _of(None, read), len(read)
    return counts


def _of(word: str | None, verdicts: Sequence[str | None]) -> int:
    return sum(verdict == word for verdict in verdicts)


def aggregate(totals: Array, n: int | Array) -> Array:
    """Percentages (..., 11) of summed counts (..., 18); NaN for a domain without statements.

    Precision is 0 where nothing is mentioned, as in the benchmark.
    """
    counts = totals.reshape(*totals.shape[:-1], -1, 3)
    judged, (_, unparsed, every) = counts[..., :-1, :], np.moveaxis(counts[..., -1:, :], -1, 0)
    groups = np.concatenate([judged.sum(axis=-2, keepdims=True), judged[..., :-1, :]], axis=-2)
    yes, no, among = np.moveaxis(groups, -1, 0)
    nothing = np.where(among > 0, 0.0, np.nan)
    coverage = np.divide(yes + no, among, out=nothing.copy(), where=among > 0)
    precision = np.divide(yes, yes + no, out=nothing.copy(), where=yes + no > 0)
    shares = np.stack([coverage, precision], axis=-1).reshape(*totals.shape[:-1], -1)
    rate = np.divide(unparsed, every, out=np.zeros_like(every), where=every > 0)
    return np.asarray(100.0 * np.concatenate([shares, rate], axis=-1))


def _measure(judged: str, records: Records) -> Measurement:
    replies, parsers = records.replies(judged), registry.judge(judged).parsers
    rows = []
    for sample, reply in zip(records.samples, replies, strict=True):
        text, n = reply.get("", ""), len(statements(sample))
        rows.append(_counts(sample, parsers["capeval-v1"](text, n), parsers["strict"](text, n)))
    statistics = np.array(rows).reshape(len(rows), -1)
    *domains, (_, unparsed, every) = np.sum(rows, axis=0).tolist()
    yes, no, among = (sum(column) for column in zip(*domains, strict=True))
    if every and not among:
        raise unreadable(judged, replies)
    counts = {"yes": yes, "no": no, NOT_MENTIONED: among - yes - no, "statements": among, "unparsed": unparsed}
    return Measurement(np.nan_to_num(aggregate(statistics, 1)), statistics, counts)


def _verdicts(judged: str, records: Records) -> list[list[str]]:
    replies, parse = records.replies(judged), registry.judge(judged).parsers["strict"]
    return [
        [verdict or "unread" for verdict in parse(reply.get("", ""), len(statements(sample)))]
        for sample, reply in zip(records.samples, replies, strict=True)
    ]


def _always(verdict: str, sample: Sample) -> dict[str, str]:
    rows = [{"item_index": at, "verdict": verdict} for at in range(len(statements(sample)))]
    return {"": json.dumps({"gt_verdicts": rows})}


def _metric(name: str) -> Metric:
    """The metric that reads the replies to the prompt of its own name."""
    return Metric(
        name=name,
        values=VALUES,
        order=5,
        measure=partial(_measure, name),
        signature=lambda: {"read": "capeval-v1", "agg": "micro", "v": "1"},
        empty=(0.0, 0.0, *[float("nan")] * 2 * len(DOMAINS), 0.0),
        needs=frozenset({"checklist"}),
        judge=name,
        aggregate=aggregate,
        verdicts=partial(_verdicts, name),
        constants={f"all_{verdict}": partial(_always, verdict) for verdict in ("yes", "no", NOT_MENTIONED)},
    )


METRIC = _metric("capeval")
VARIANTS = {"fenced": _metric("capeval@fenced")}
