"""What the runs of a study show: each against the base, arms' means over seeds, and arms against each other.

Tests of one run are the paired ones of ``cim compare``, over images. A mean over s seeds has Student's interval over
seeds and images together: difference +- t(.975, s - 1) sqrt(V_seeds / s + V_images), with the variance of the seeds'
differences and the paired bootstrap variance of the mean over images (which holds a part of the first again, so the
interval is rather too wide); p is of the same t. Of one seed it is over images alone. p values are corrected by Holm
(1979) over all arms, seeds and values that a table shows. Read by ``cim study``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from harness import registry
from harness.runs import compare, stats
from harness.runs.stored_run import StoredRun, obstacle

SHOWN = (
    "objects f1",
    "attributes f1",
    "fine_names f1",
    "relation_qa",
    "statements share_true",
    "statements clean",
    "statements true",
    "statements false",
    "statements repeated",
    "statements well_formed",
    "length",
)
LEVEL = 0.05

Cells = dict[str, dict[str, Any]]


def against(base: StoredRun, run: StoredRun) -> Cells:
    """Every value that two runs have under one signature: both, their difference, interval and p."""
    rows = compare.compare(base, run)
    return {row.label: stored(row.test) for row in rows if row.test is not None}


def stored(test: stats.Difference) -> dict[str, Any]:
    """A test as it is stored."""
    return {
        "base": test.a,
        "value": test.b,
        "difference": test.difference,
        "ci95": list(test.ci95),
        "p": test.p_permutation,
    }


def correct(rows: Iterable[Mapping[str, Any]]) -> None:
    """Put ``p_holm`` beside the p of every shown value, over all rows of one table."""
    cells = [row["values"][label] for row in rows for label in SHOWN if label in row["values"]]
    for cell, adjusted in zip(cells, stats.holm([cell["p"] for cell in cells]), strict=True):
        cell["p_holm"] = adjusted


Seeds = Mapping[int, StoredRun]  # an arm's runs by seed


def means(base: StoredRun, arms: Mapping[str, Seeds]) -> list[dict[str, Any]]:
    """One row per arm: its mean over seeds against the base."""
    return _table({name: [(base, run) for run in runs.values()] for name, runs in arms.items()})


def between(arms: Mapping[str, Seeds], than: str) -> list[dict[str, Any]]:
    """One row per arm: its difference in mean to arm ``than`` over the seeds that both have."""
    first = arms[than]
    shared = {name: sorted(first.keys() & runs.keys()) for name, runs in arms.items() if name != than}
    return _table({name: [(first[s], arms[name][s]) for s in seeds] for name, seeds in shared.items() if seeds})


def _table(arms: Mapping[str, Sequence[tuple[StoredRun, StoredRun]]]) -> list[dict[str, Any]]:
    rows = []
    for name, runs in arms.items():
        before, after = [base for base, _ in runs], [run for _, run in runs]
        labels = [label for label in SHOWN if all(_comparable(before[0], run, label) for run in (*before, *after))]
        pairs = [(_average(before, label), _average(after, label)) for label in labels]
        values = dict[str, dict[str, Any]]()
        for label, tests in zip(labels, stats.paired(pairs) if pairs else [], strict=True):
            by_seed = [_value(run, label) - _value(base, label) for base, run in runs]
            test = tests[_place(label)[1]]
            values[label] = {**stored(test), **over_seeds(test, by_seed), "by_seed": by_seed}
        rows.append({"arm": name, "seeds": len(runs), "values": values})
    correct(rows)
    return rows


def over_seeds(test: stats.Difference, by_seed: Sequence[float]) -> dict[str, Any]:
    """Interval and p over seeds and images together of a mean difference; none of one seed.

    Args:
        test: the paired test, over images, of the mean over seeds.
        by_seed: the difference of each seed.
    """
    if len(by_seed) < 2:
        return {}
    of_images = test.detectable / stats.minimum_detectable(1.0)
    error = math.sqrt(float(np.var(by_seed, ddof=1)) / len(by_seed) + of_images**2)
    half = stats.student_quantile((1 + stats.LEVEL) / 2, len(by_seed) - 1) * error
    p = 2 * stats.student(-abs(test.difference) / error, len(by_seed) - 1) if error else float(not test.difference)
    bounds = [test.difference - half, test.difference + half]
    return {"ci95": bounds, "p": p, "ci95_images": list(test.ci95), "p_images": test.p_permutation}


def apart(cell: Mapping[str, Any]) -> bool:
    """Is a difference significant after correction, with the same sign in every seed that stands beside it?"""
    signs = {np.sign(difference) for difference in cell.get("by_seed", [cell["difference"]])}
    return bool(cell["p_holm"] < LEVEL and len(signs) == 1)


def _place(label: str) -> tuple[str, int]:
    """Metric of a shown value, and which of its values that is."""
    name, _, value = label.partition(" ")
    return name, registry.metric(name).names.index(value) if value else 0


def _comparable(first: StoredRun, run: StoredRun, label: str) -> bool:
    name, _ = _place(label)
    first_score, score = first.scores.get(name), run.scores.get(name)
    return obstacle(first_score, score) is None and set(first.per_sample) == set(run.per_sample)


def _average(runs: Sequence[StoredRun], label: str) -> stats.Column:
    """Each image's mean statistics; shown values are means, or shares of what is asked of an image in every run."""
    metric = registry.metric(_place(label)[0])
    columns = [run.column(metric) for run in runs]
    return stats.Column(np.mean([column.statistics for column in columns], axis=0), metric.aggregate, columns[0].images)


def _value(run: StoredRun, label: str) -> float:
    return float(stats.point(_average([run], label))[_place(label)[1]])
