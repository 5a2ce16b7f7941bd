"""Stored runs that no model made, many at once: scores of invented systems on invented images, for the leaderboards.

A system has a quality, an image a difficulty; values a sample follow from both and noise. Files have the form of real
runs (``harness/runs/form.py``) and their score document agrees with their rows; captions are filler.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from harness import registry, store
from harness.parts import mean
from harness.runs import records, signature, stats, stored_run
from harness.types import Completion

TASKS = {"coco_ln500": "000000{:06d}", "docci500": "test_{:05d}"}
MEANS = ("attributes", "bleu4_char", "capture", "length", "meteor_nltk", "objects", "rouge_l")
DRAWS = 10_000


def make(results: Path, models: int = 30, n: int = 500, tasks: tuple[str, ...] = tuple(TASKS), seed: int = 0) -> None:
    """Write ``results/<task>/system-NN/`` for every task; systems differ by about a point from one to the next."""
    for task in tasks:
        generator = np.random.default_rng([seed, len(task)])
        difficulty = generator.normal(0, 8, n)
        folders = {}
        for number in range(models):
            noise = generator.normal(0, 6, (n, 40))
            folders[f"system-{number:02d}"] = _columns(30 + 1.2 * number - difficulty, noise)
        drawn = stats.bootstrap([column for columns in folders.values() for column in columns.values()], DRAWS)
        for name, columns in folders.items():
            write(results / task / name, task, columns, [stats.interval(drawn.pop(0)) for _ in columns])


def _columns(quality: Any, noise: Any) -> dict[str, stats.Column]:
    columns, at = {}, 0
    for name in MEANS:
        metric = registry.metric(name)
        width = len(metric.names)
        values = np.clip(quality[:, None] + noise[:, at : at + width], 0, 100)
        if metric.names == ("precision", "recall", "f1"):
            values[:, 2] = 2 * values[:, 0] * values[:, 1] / np.maximum(values[:, 0] + values[:, 1], 1e-6)
        columns[name] = stats.Column(values, metric.aggregate)
        at += width
    right = np.clip(np.round((quality + noise[:, at]) / 20), 0, 5)
    counts = [right, right, np.minimum(right, 4), np.maximum(right - 4, 0), 0 * right, 0 * right]
    asked = [0 * right + 5, 0 * right + 4, 0 * right + 1]
    columns["relation_qa"] = stats.Column(np.stack([*counts, *asked], axis=1), registry.metric("relation_qa").aggregate)
    words = np.round(60 + noise[:, at + 1])
    hits = [np.round(words * np.clip(quality, 1, 99) / 100 / 2**order) for order in range(4)]
    sizes = [words - order for order in range(4)]
    bleu = np.stack([*hits, *sizes, words, words], axis=1)
    columns["bleu4"] = stats.Column(bleu, registry.metric("bleu4").aggregate)
    return dict(sorted(columns.items()))


def write(folder: Path, task: str, columns: dict[str, stats.Column], intervals: list[Any] | None = None) -> None:
    """The files of one run whose metrics have these statistics; without ``intervals`` none are stored."""
    n = len(next(iter(columns.values())).statistics)
    ids = [TASKS[task].format(at) for at in range(n)]
    scores, per_sample, corpus = [], [dict(sample_id=key) for key in ids], [dict(sample_id=key) for key in ids]
    for at, (name, column) in enumerate(columns.items()):
        metric, values = registry.metric(name), stats.point(column)
        bounds = intervals[at] if intervals else [(None, None)] * len(values)
        line = signature.render(name, {"n": str(n), "task": f"{task}@synthetic", "v": "synthetic"})
        scores.append(
            {
                "metric": name,
                "values": {v: None if np.isnan(x) else float(x) for v, x in zip(metric.names, values, strict=True)},
                "ci95": {
                    v: [b if b is None else float(b) for b in two] for v, two in zip(metric.names, bounds, strict=True)
                },
                "n": n,
                "n_failed": 0,
                "signature": line,
                "controls": {},
                "counts": {},
                "not_computed": None,
                "outage": False,
            }
        )
        by_sample = [np.nan_to_num(column.aggregate(row, 1)).tolist() for row in column.statistics]
        for row, below, cells, sums in zip(per_sample, corpus, by_sample, column.statistics.tolist(), strict=True):
            row[name] = dict(zip(metric.names, cells, strict=True))
            if metric.aggregate is not mean:
                below[name] = sums
    store.write_rows(
        folder / "captions.jsonl", [records.row(Completion(key, "synthetic", "stop", 9, 9)) for key in ids]
    )
    store.write_rows(folder / stored_run.PER_SAMPLE, per_sample)
    store.write_rows(folder / stored_run.STATISTICS, corpus)
    interval = {"method": "percentile bootstrap over images", "draws": DRAWS, "seed": stats.SEED}
    digest = records.digest(records.read(folder))
    store.write_document(folder / "manifest.json", manifest_of(task, folder.name, ids))
    store.write_document(
        folder / stored_run.SCORES,
        {"format": 1, "task": task, "model": folder.name, "captions": digest, "interval": interval, "scores": scores},
    )


def manifest_of(task: str, model: str, ids: list[str]) -> dict[str, Any]:
    """A manifest of real form that says it is synthetic."""
    digest = hashlib.sha256("".join(ids).encode()).hexdigest()[:12]
    return {
        "format": 1,
        "status": "complete",
        "settings": {
            "task": {"name": task, "version": "1", "data": "synthetic", "prompt": "synthetic"},
            "model": {"name": model, "engine": "synthetic"},
            "samples": {"n": len(ids), "limit": None, "ids": digest},
        },
        "prompt": "synthetic",
        "made_by": {
            "git": None,
            "packages": {"cim-harness": "0"},
            "python": "3.11",
            "platform": "synthetic",
            "cpus": 2,
        },
        "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T00:00:01+00:00",
    }
