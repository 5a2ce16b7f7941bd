"""Stored runs that no model made, for the rows of the paper's tables: noise around invented levels, on invented images.

Files have the form of real runs; every signature says that it is synthetic.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness import registry
from harness.runs import stats
from leaderboards import published
from leaderboards.tables import systems
from tests import synthetic_runs

if TYPE_CHECKING:
    from harness.parts import Array

TRIPLES = ("objects@compat", "attributes@compat")
MEANS = ("bleu4_char", "meteor_nltk", "capture@cim")
QUESTIONS = 5


def make(results: Path, n: int = 500, names: Collection[str] | None = None, seed: int = 0) -> None:
    """A run for every system of the tables (or those whose run has one of ``names``) and benchmark that shows it."""
    mapping = systems.read()
    wanted = dict.fromkeys((row.benchmark, row.system) for row in published.read())
    images = {benchmark: np.random.default_rng([seed, 1]).normal(0, 8, n) for benchmark, _ in wanted}
    for at, (benchmark, system) in enumerate(wanted):
        run = mapping[system].run
        if names is None or run in names:
            generator = np.random.default_rng([seed, 2, at])
            task = published.TASKS[benchmark]
            level = generator.uniform(35, 60) + images[benchmark]
            synthetic_runs.write(results / task / run, task, columns(level, generator))


def columns(level: Array, generator: np.random.Generator) -> dict[str, stats.Column]:
    """Statistics of the metrics of the tables for images of these levels (n,)."""
    n, by_name = len(level), dict[str, stats.Column]()
    for name in MEANS:
        values = np.clip(level + generator.normal(0, 5, n), 0, 100)[:, None]
        by_name[name] = stats.Column(values, registry.metric(name).aggregate)
    for name in TRIPLES:
        p, r = (np.clip(level + shift + generator.normal(0, 5, n), 0, 100) for shift in (10, -10))
        kept = (np.arange(n) % 50 > 0).astype(float)  # one image in fifty has no attributes and is skipped
        values = np.stack([p, r, 2 * p * r / np.maximum(p + r, 1e-6)], axis=1) * kept[:, None]
        by_name[name] = stats.Column(np.column_stack([values, kept]), registry.metric(name).aggregate)
    right = np.clip(np.round(level / 100 * QUESTIONS + generator.normal(0, 0.7, n)), 0, QUESTIONS)
    zero = np.zeros(n)
    counts = [right, right, np.minimum(right, 4), np.maximum(right - 4, 0), zero, zero]
    asked = [zero + QUESTIONS, zero + 4, zero + 1]
    by_name["relation_qa"] = stats.Column(np.stack([*counts, *asked], axis=1), registry.metric("relation_qa").aggregate)
    return dict(sorted(by_name.items()))
