"""The score files of a stored run, read back: ``scores.json``, ``per_sample.jsonl``, ``statistics.jsonl``.

Written by ``cim score``; read by ``cim compare``, ``cim report`` and the leaderboards.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness import store
from harness.errors import CimError
from harness.parts import Metric, mean
from harness.resources import paths
from harness.runs import manifest, signature, stats
from harness.runs.form import DOCUMENT, malformed

SCORES, PER_SAMPLE, STATISTICS, DETAILS = "scores.json", "per_sample.jsonl", "statistics.jsonl", "details.jsonl"
FILES = (PER_SAMPLE, STATISTICS)


@dataclass(frozen=True, slots=True)
class Scored:
    """The score files of a run, by metric and by sample."""

    folder: Path
    scores: dict[str, dict[str, Any]]
    per_sample: dict[str, dict[str, Any]]
    statistics: dict[str, dict[str, Any]]


def find(given: str, results: Path, task: str | None) -> Path:
    """The folder of a stored run: a path, or a name under the results folder.

    Raises:
        CimError: no such run, or several tasks hold one of this name.
    """
    if (Path(given) / manifest.NAME).is_file():
        return Path(given)
    found = [results / task / given] if task else sorted(path for path in results.glob("*/*") if path.name == given)
    found = [path for path in found if (path / manifest.NAME).is_file() and path.parent.name != paths.TRAINED]
    if not found:
        known = sorted({path.parent.name for path in results.glob(f"*/*/{manifest.NAME}")} - {paths.TRAINED})
        raise CimError(f"no stored run {given!r} under {results}", hint=f"stored: {', '.join(known) or 'none'}")
    if len(found) > 1:
        raise CimError(f"{given!r} is stored for {', '.join(path.parent.name for path in found)}", hint="say --task")
    return found[0]


def load(folder: Path) -> Scored:
    """Read the score files of a run; CimError when it has not been scored."""
    scores = store.read_document(folder / SCORES)
    if scores is None:
        hint = f"run `cim score --model {folder.name} --task {folder.parent.name}`"
        raise CimError("this run has no scores", where=str(folder), hint=hint)
    if faults := list(malformed(scores, DOCUMENT, SCORES)):
        raise CimError("; ".join(faults[:3]), where=str(folder), hint="score the run again")
    by_sample = [{str(row.get("sample_id")): row for row in store.read_rows(folder / name)} for name in FILES]
    return Scored(folder, {row["metric"]: row for row in scores["scores"]}, *by_sample)


def obstacle(one: dict[str, Any] | None, other: dict[str, Any] | None) -> str | None:
    """Why rows of one metric in two score files cannot be compared; None if they can."""
    if one is None or other is None or one.get("not_computed") or other.get("not_computed"):
        return "not computed in " + ("run a" if one is None or one.get("not_computed") else "run b")
    differing = signature.differences(one["signature"] or "", other["signature"] or "")
    return f"signatures differ ({', '.join(differing)})" if differing else None


def column(run: Scored, metric: Metric) -> stats.Column:
    """Statistics (n, s) of a stored metric, in the order of sample ids."""
    try:
        if metric.aggregate is mean:
            rows = [[cells[metric.name][v] for v in metric.values] for _, cells in sorted(run.per_sample.items())]
        else:
            rows = [cells[metric.name] for _, cells in sorted(run.statistics.items())]
        values = np.array(rows, dtype=np.float64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        hint = "score the run again"
        raise CimError(f"score files lack numbers of {metric.name}", where=str(run.folder), hint=hint) from error
    if len(values) != run.scores[metric.name]["n"] or values.ndim != 2 or not np.isfinite(values).all():
        hint = "score the run again"
        raise CimError(f"score files lack numbers of {metric.name}", where=str(run.folder), hint=hint)
    return stats.Column(values, metric.aggregate)
