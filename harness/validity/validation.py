"""Validation of metrics on a set of judgements: their values per text, agreement per criterion, paired tests.

Metrics come from the registry and read ``Records`` as they do of a run: every text of the set is a caption, several of
one image are samples of their own. A value with ``higher_is_better=False`` is negated; word count stands beside all as
what a metric must beat.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import OutageError
from harness.parts import Metric, Records, Value
from harness.runs import in_memory, signature, stats
from harness.stages import choice, parse
from harness.types import Track, untracked
from harness.validity import agreement
from harness.validity.agreement import Contrast, Drawn, Estimate
from harness.validity.judgements import Judged, Judgements, judged

if TYPE_CHECKING:
    from harness.parts import Array

LENGTH = "length"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Column:
    """One value of a metric for every text of a set (t,), higher is better; NaN where undefined."""

    metric: str
    value: str
    label: str
    signature: str
    texts: Array

    @property
    def undefined(self) -> int:
        """How many texts have no value."""
        return int(np.count_nonzero(~np.isfinite(self.texts)))


@dataclass(frozen=True, slots=True)
class Validation:
    """What was measured on one set: estimates by criterion, metric label and statistic; paired tests."""

    judgements: Judgements
    columns: tuple[Column, ...]
    not_computed: Mapping[str, str]
    criteria: Mapping[str, Judged]
    estimates: Mapping[str, Mapping[str, Mapping[str, Estimate]]]
    contrasts: tuple[Contrast, ...]
    draws: int


def validate(
    judgements: Judgements,
    metrics: Sequence[str] | None,
    results: Path,
    *,
    draws: int = agreement.DRAWS,
    track: Track = untracked,
) -> Validation:
    """Agreement of metrics with judgements.

    Args:
        metrics: names; all that the set's references allow and this machine can compute if None.
        results: folder of results, whose caches of parses are used.
        draws: bootstrap resamples of images; 0: no intervals and no tests.

    Raises:
        CimError: a metric is unknown or cannot be computed here.
    """
    columns, not_computed = measured(judgements, metrics, results, track)
    by_label = {column.label: column.texts for column in columns}
    criteria = {name: judged(judgements, name) for name in judgements.criteria}
    estimates, contrasts = dict[str, dict[str, dict[str, Estimate]]](), list[Contrast]()
    for name, rows in criteria.items():
        known = dict[str, Drawn]()
        for label in track(by_label, f"resampling {name}".strip(), len(by_label)):
            known[label] = agreement.drawn(rows, by_label[label], draws)
        estimates[name] = {
            label: {statistic: agreement.estimate(values) for statistic, values in of_metric.items()}
            for label, of_metric in known.items()
        }
        pairs = (agreement.contrast(rows, a, b, by_label, known) for a, b in itertools.combinations(by_label, 2))
        tests = [test for test in pairs if test is not None]
        corrected = stats.holm([test.p for test in tests])
        contrasts += [replace(test, holm=holm) for test, holm in zip(tests, corrected, strict=True)]
    return Validation(judgements, tuple(columns), not_computed, criteria, estimates, tuple(contrasts), draws)


def measured(
    judgements: Judgements, metrics: Sequence[str] | None, results: Path, track: Track = untracked
) -> tuple[list[Column], dict[str, str]]:
    """Values of metrics for every text of a set, word count last, and why others have none."""
    numbered = judgements.texts()
    ids = {f"{at}": text for text, at in numbered.items()}
    references = {image: judgements.references.get(image, ()) for image, _ in numbered}
    names = None if metrics is None else [*metrics, *([LENGTH] if LENGTH not in metrics else [])]
    with tempfile.TemporaryDirectory() as scratch, parse.Parses(results, track) as parses:
        images = {name: image for name, (image, _) in ids.items()}
        run = in_memory.in_memory_run(judgements.name, references, images, Path(scratch))
        in_memory.add_captions(run, {name: caption for name, (_, caption) in ids.items()})
        chosen, absent = choice.choose(names, run, parses)
        captions = [run.captions[sample.id].text or "" for sample in run.samples]
        records = Records(run.samples, captions, parses.parse, lambda _: [], encode=parses.encode)
        columns, not_computed = list[Column](), {row.metric: row.not_computed or "" for row in absent}
        for metric in sorted(chosen, key=lambda metric: (metric.order, metric.name)):
            try:
                values = metric.measure(records).values
            except OutageError as error:
                not_computed[metric.name] = str(error)
                continue
            columns += [_column(metric, value, values[:, at]) for at, value in enumerate(metric.values) if value.main]
    return columns, not_computed


def _column(metric: Metric, value: Value, texts: Array) -> Column:
    toward = -1.0 if value.higher_is_better is False else 1.0
    finite = np.where(np.isfinite(texts), texts, math.nan)
    return Column(metric.name, value.name, metric.label(value.name), metric_signature(metric), toward * finite)


def metric_signature(metric: Metric) -> str:
    """The signature of a metric without what differs between runs: samples and benchmark."""
    return signature.render(metric.name, metric.signature())


def document(validation: Validation, title: str, files: Mapping[str, str]) -> dict[str, Any]:
    """A validation as JSON.

    Args:
        title: of the set.
        files: SHA-256 of its files by name.
    """
    return {
        "format": FORMAT,
        "set": validation.judgements.name,
        "title": title,
        "shape": validation.judgements.shape,
        "files": dict(files),
        "interval": {"method": "percentile bootstrap over images", "draws": validation.draws, "seed": stats.SEED},
        "criteria": {
            name: {
                "judgements": len(rows.values),
                "texts": rows.n_texts,
                "images": rows.n_images,
                "systems": rows.n_systems,
                "median_words": rows.median_words,
                "metrics": [
                    _of_metric(column, validation.estimates[name][column.label]) for column in validation.columns
                ],
            }
            for name, rows in validation.criteria.items()
        },
        "contrasts": [asdict(test) for test in validation.contrasts],
        "not_computed": dict(validation.not_computed),
    }


def _of_metric(column: Column, estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {
        "metric": column.metric,
        "value": column.value,
        "label": column.label,
        "signature": column.signature,
        "undefined": column.undefined,
        "agreement": {name: asdict(estimate) for name, estimate in estimates.items()},
    }
