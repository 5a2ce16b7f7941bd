"""Is a stored run consistent? Two depths, used by ``cim verify``, ``cim report``, the board, the gate and the audit.

``contradictions``: do its files agree with each other? The captions are those that were scored (digest), failed ones
are counted right, and every value follows from the rows per sample, so an edited ``scores.json`` is found. An edited
row is not: ``cim verify`` scores the raw rows again and compares by ``differences``. Reads only; needs no metric code
beyond its aggregate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, TypeGuard

import numpy as np

from harness import registry
from harness.errors import CimError
from harness.runs import manifest, records, stats, stored_run
from harness.runs.stored_run import StoredRun

TOLERANCE = 1e-9  # sums of the same binary numbers in another order; relative above 1
LARGEST = 1e300
BY_ROWS = ("n", "captioned", "failed", "refused", "empty", "cut", "reasoning")  # the others depend on patterns, too


def fault(run: StoredRun) -> str | None:
    """The first contradiction in the files of a run; None where they agree."""
    try:
        return next(contradictions(run), None)
    except CimError as error:
        return str(error)
    except (OverflowError, RecursionError):
        return "holds a number or a nesting that is too large"


def contradictions(run: StoredRun) -> Iterator[str]:
    """Where the files of a run contradict each other.

    Raises:
        CimError: a file cannot be read, a metric is unknown, or rows lack its numbers.
    """
    str(manifest.flat(run.manifest))  # all of it is shown, so it must be possible to show it
    yield from stale(run)
    ids = run.per_sample.keys()
    for name, others in (
        (records.NAME, run.files.completions().keys()),
        (stored_run.STATISTICS, run.statistics.keys()),
    ):
        if others != ids:
            yield f"{name} and {stored_run.PER_SAMPLE} hold different samples"
            return
    counted = asdict(run.outcomes)
    stated = run.document.get("outcomes", counted)  # runs from before have none
    if not isinstance(stated, dict) or any(stated.get(name) != counted[name] for name in BY_ROWS):
        yield f"outcomes in {stored_run.SCORES} are not those of {records.NAME}"
    for name, row in run.computed.items():
        yield from (f"{name}: {what}" for what in (*_malformed(run, row), *unfounded(run, name)))


def stale(run: StoredRun) -> Iterator[str]:
    """Which documents are about other captions than the stored ones."""
    digest = records.digest(run.files.completions())
    stated = {stored_run.SCORES: run.document["captions"], manifest.NAME: run.manifest.get("captions", digest)}
    yield from (f"{name} is about captions {of}, stored are {digest}" for name, of in stated.items() if of != digest)


def _malformed(run: StoredRun, row: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a score beside its values."""
    metric = registry.metric(row["metric"])
    if not isinstance(row["signature"], str) or row["signature"].partition("|")[0] != metric.name:
        yield "no signature of this metric"
    if row["n_failed"] != run.failed:
        yield f"{row['n_failed']} captions failed by {stored_run.SCORES}, {run.failed} by {records.NAME}"
    for control in row["controls"].values():
        values = control.get("values") if isinstance(control, dict) else None
        if not isinstance(values, dict) or not all(_is_value(values.get(name, "")) for name in metric.names):
            yield f"{stored_run.SCORES} lacks values of a control"


def unfounded(run: StoredRun, name: str) -> Iterator[str]:
    """Values of a metric that do not follow from the rows per sample.

    Raises:
        CimError: the rows lack numbers of the metric.
    """
    metric, stated = registry.metric(name), run.scores[name]["values"]
    try:
        again = np.atleast_1d(stats.point(run.column(metric)))
    except (IndexError, ValueError) as error:
        raise CimError(f"{name}: {stored_run.STATISTICS} has the wrong width", where=str(run.files.folder)) from error
    for value, number in zip(metric.names, again.tolist(), strict=True):
        shown = stated.get(value) if isinstance(stated, dict) else None
        if shown is None and math.isnan(number):
            continue  # undefined: the share of an empty set
        if not is_number(shown):
            yield f"{value} is no number in {stored_run.SCORES}"
        elif not math.isclose(shown, number, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            yield f"{value} is {shown} by {stored_run.SCORES}, {number!r} by the rows per sample"


def _is_value(value: object) -> bool:
    return value is None or is_number(value)


def is_number(value: object) -> TypeGuard[int | float]:
    """Is a value of a JSON file a number that can be shown? No NaN, and no integer of hundreds of digits."""
    return isinstance(value, int | float) and -LARGEST < value < LARGEST


def differences(stored: Any, again: Any, path: str = "") -> Iterator[str]:
    """Where two JSON values differ by more than rounding, as ``path: stored / again``."""
    if isinstance(stored, dict) and isinstance(again, dict):
        for name in {**stored, **again}:
            yield from differences(stored.get(name), again.get(name), f"{path}.{name}".lstrip("."))
    elif isinstance(stored, list | tuple) and isinstance(again, list | tuple) and len(stored) == len(again):
        for at, pair in enumerate(zip(stored, again, strict=True)):
            yield from differences(*pair, f"{path}[{at}]")
    elif isinstance(stored, int | float) and isinstance(again, int | float):
        if not math.isclose(stored, again, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            yield f"{path}: {stored} / {again}"
    elif stored != again:
        yield f"{path}: {stored} / {again}"
