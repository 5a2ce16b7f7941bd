"""Do the files of a stored run agree with each other? What can be checked without scoring anything again.

The captions are those that were scored (digest), failed ones are counted right, and every value follows from the rows
a sample, so an edited ``scores.json`` is found. An edited row is not: that is what ``cim verify`` is for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from harness import registry, store
from harness.errors import CimError
from harness.parts import mean
from harness.runs import manifest, records, scored, stats
from leaderboards.runs import Run

TOLERANCE = 1e-9
LARGEST = 1e300


def fault(run: Run) -> str | None:
    """The first contradiction in the files of a run; None where they agree."""
    try:
        return next(_faults(run), None)
    except CimError as error:
        return str(error)
    except (OverflowError, RecursionError):
        return "holds a number or a nesting that is too large"


def _faults(run: Run) -> Iterator[str]:
    str(manifest.flat(run.manifest))  # all of it is shown, so it must be possible to show it
    named = run.manifest["settings"]["task"]["name"]
    if named != run.task:
        yield f"made on task {named}, but stored under {run.task}"
    digest = records.digest(run.folder)
    document = store.read_document(run.folder / scored.SCORES) or {}
    for name, stored in (
        ("scores.json", document["captions"]),
        ("manifest.json", run.manifest.get("captions", digest)),
    ):
        if stored != digest:
            yield f"{name} is about captions {stored}, stored are {digest}"
    captions, ids = records.read(run.folder), run.files.per_sample.keys()
    if not ids <= captions.keys():
        yield f"{scored.PER_SAMPLE} has rows of samples without captions"
        return
    failed = sum(captions[name].text is None for name in ids)
    for row in run.files.scores.values():
        if not row.get("not_computed"):
            yield from (f"{row['metric']}: {what}" for what in _of_score(run, row, failed))


def _of_score(run: Run, row: dict[str, Any], failed: int) -> Iterator[str]:
    metric = registry.metric(row["metric"])
    if not isinstance(row["signature"], str) or row["signature"].partition("|")[0] != metric.name:
        yield "no signature of this metric"
    if row["n_failed"] != failed:
        yield f"{row['n_failed']} captions failed by {scored.SCORES}, {failed} by {records.NAME}"
    for shown in (row, *row["controls"].values()):
        values = shown.get("values") if isinstance(shown, dict) else None
        if not isinstance(values, dict) or not all(is_number(values.get(name)) for name in metric.values):
            yield f"{scored.SCORES} lacks values"
            return
    column = scored.column(run.files, metric)
    if metric.aggregate is not mean and run.files.statistics.keys() != run.files.per_sample.keys():
        yield f"{scored.PER_SAMPLE} and {scored.STATISTICS} hold different samples"
    try:
        again = stats.point(column)
    except (IndexError, ValueError) as error:
        raise CimError(f"{metric.name}: {scored.STATISTICS} has the wrong width") from error
    for name, value in zip(metric.values, np.atleast_1d(again), strict=True):
        if not math.isclose(row["values"][name], value, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            yield f"{name} is {row['values'][name]:.6g} by {scored.SCORES}, {value:.6g} by the rows a sample"


def is_number(value: object) -> bool:
    """Is a value of a JSON file a number that can be shown? No NaN, and no integer of hundreds of digits."""
    return isinstance(value, int | float) and -LARGEST < value < LARGEST
