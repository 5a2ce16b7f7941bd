"""The refined precision, recall and F1 of objects and of attributes: which images count, and how they are averaged.

The metric defines P and R of an image (``objects.py``, ``attributes.py``); F1 = 2 P R / (P + R + 1e-6); means over
references, then over images, so mean F1 is not that of mean P and mean R. Two modes::

    strict   every image counts; a side with nothing to match scores 0, or 1 if the other list is empty too
    compat   images whose caption's or reference's graph has no attribute are left out of all means, as
             ``zl2048/SC-Captioner:evaluate_*/capture.py@6c35a35`` does silently; here they are counted: ``skipped``

In compat, statistics have a fourth column, 1 for an image that counts, so that resamples average the kept images; the
value shown for a skipped image is 0. ``@lite`` is strict with a parser and an encoder for laptops.
``cim eval --metrics objects,attributes,objects@compat``
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.metrics import _match
from harness.metrics._scenes import CIM, LITE, STRICT, Reading, Scenes, missing, scenes, signature
from harness.parts import PRECISION_RECALL_F1, Measurement, Metric, Records, mean
from harness.types import Element

if TYPE_CHECKING:
    from harness.parts import Array


def by_sample(values: Array, graphs: Scenes, kept: Array | None = None) -> Array:
    """Means (n, v) over each sample's references of values (p, v); only of those ``kept`` (p,), 0 if none is."""
    sizes = [len(group) for group in graphs.references]
    weights = np.ones(len(values)) if kept is None else kept
    sums = np.zeros((len(sizes), values.shape[1] + 1))
    np.add.at(sums, np.repeat(np.arange(len(sizes)), sizes), np.column_stack([values * weights[:, None], weights]))
    return np.asarray(sums[:, :-1] / np.maximum(sums[:, -1:], 1))


# From records, scenes, an encoder, and whether two empty lists score 1: precision and recall (p,) of p pairs, counts to
# print.
Ratios = Callable[[Records, Scenes, str, bool], tuple["Array", "Array", Mapping[str, float]]]


def _kept_mean(totals: Array, n: int | Array) -> Array:
    """Means over the images that count: (..., 4) sums to (..., 3); 0 if none does."""
    return np.asarray(totals[..., :3] / np.maximum(totals[..., 3:], 1))


def _measure(records: Records, ratios: Ratios, how: Reading, *, compat: bool) -> Measurement:
    graphs = scenes(records, how.parser)
    precision, recall, counts = ratios(records, graphs, how.encoder, not compat)
    rows = 100.0 * np.column_stack([precision, recall, _match.f1(precision, recall)])
    bare = [
        [not graph.attributes for graph in (stated, true)]
        for stated, group in zip(graphs.captions, graphs.references, strict=True)
        for true in group
    ]
    empty = np.array(bare, dtype=bool).reshape(-1, 2)
    counts = {**without_attributes(graphs), **counts, **graphs.counts}
    if not compat:
        values = by_sample(rows, graphs)
        return Measurement(values, values, counts)
    kept = np.asarray(1.0 - empty.any(axis=1))
    values = by_sample(rows, graphs, kept)
    weights = np.ceil(by_sample(kept[:, None], graphs))
    skipped = {"skipped": float(len(weights) - weights.sum())}
    return Measurement(values, np.hstack([values, weights]), skipped | counts)


def without_attributes(scenes: Scenes) -> dict[str, float]:
    """Numbers of captions, and of first references, whose graph has no attributes."""
    firsts = [group[0] for group in scenes.references]
    sides = {"captions": scenes.captions, "references": firsts}
    return {
        f"{side}_without_attributes": float(sum(not g.attributes for g in graphs)) for side, graphs in sides.items()
    }


def refined(
    name: str,
    annotated: str,
    ratios: Ratios,
    elements: Callable[[Records, str], list[list[Element]]],
    *,
    order: int,
    variant: Literal["", "compat", "lite"] = "",
    of_graphs: Metric | None = None,
) -> Metric:
    """The strict metric ``name``, which needs the annotations ``annotated``, or a variant; ``lite`` is strict, too."""
    how, compat = {"": STRICT, "compat": CIM, "lite": LITE}[variant], variant == "compat"
    return Metric(
        name=f"{name}@{variant}" if variant else name,
        values=PRECISION_RECALL_F1,
        order=order,
        measure=lambda records: _measure(records, ratios, how, compat=compat),
        signature=lambda: {**signature(how), "mode": variant or "strict", "agg": "mean", "v": "1"},
        empty=(0.0, 0.0, 0.0),
        needs=frozenset({"references", annotated}),
        parsers=(how.parser,),
        aggregate=_kept_mean if compat else mean,
        floor=True,
        missing=lambda: missing(how),
        of_graphs=of_graphs,
        elements=lambda records: elements(records, how.parser),
        pretrained=how.pretrained,
    )
