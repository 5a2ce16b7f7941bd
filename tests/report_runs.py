"""Stored runs that no model made, for the report: invented rewards, accuracies and training rows with known relations.

A caption tells a share of what there is; longer ones are right more often and find closer images. Files have the form
of real runs, and their manifests say that they are synthetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness import store
from harness.runs import records, signature, stored_run
from harness.types import Completion
from tests import synthetic_runs

VALUES = {
    "cim": ("reward", "grc", "qir"),
    "fine_names": ("precision", "recall", "f1"),
    "objects": ("precision", "recall", "f1"),
    "taxonomy": ("species", "breed"),
    "length": ("words",),
}


def write(
    folder: Path,
    ids: Sequence[str],
    cells: Mapping[str, np.ndarray],
    captions: Sequence[str] | None = None,
    rows: int = 8000,
) -> Path:
    """A scored run of these ids: ``cells`` are (n, v) values of each metric, ``rows`` those of the gallery."""
    texts = captions or ["a synthetic caption"] * len(ids)
    completions = [Completion(name, text, "stop", 9, 9) for name, text in zip(ids, texts, strict=True)]
    store.write_rows(folder / records.NAME, [records.row(completion) for completion in completions])
    per_sample: list[dict[str, Any]] = [{"sample_id": name} for name in ids]
    scores = []
    for name, values in sorted(cells.items()):
        labels = VALUES[name]
        for row, numbers in zip(per_sample, values.tolist(), strict=True):
            row[name] = dict(zip(labels, numbers, strict=True))
        fields = {"n": str(len(ids)), "task": f"{folder.parent.name}@synthetic", "v": "synthetic"}
        fields |= {"gallery": f"synthetic-{rows}@{rows:012x}", "rows": str(rows)} if name == "cim" else {}
        means = values.mean(axis=0).tolist()
        scores.append(
            {
                "metric": name,
                "values": dict(zip(labels, means, strict=True)),
                "ci95": {label: [None, None] for label in labels},
                "n": len(ids),
                "n_failed": 0,
                "signature": signature.render(name, fields),
                "controls": {},
                "counts": {},
                "not_computed": None,
                "outage": False,
            }
        )
    store.write_rows(folder / stored_run.PER_SAMPLE, per_sample)
    store.write_rows(folder / stored_run.STATISTICS, [{"sample_id": name} for name in ids])
    digest = records.digest(records.read(folder))
    manifest = synthetic_runs.manifest_of(folder.parent.name, folder.name, list(ids))
    store.write_document(folder / "manifest.json", {**manifest, "captions": digest})
    interval = {"method": "none", "draws": 0, "seed": 0}
    head = {"format": 1, "task": folder.parent.name, "model": folder.name, "captions": digest, "interval": interval}
    store.write_document(folder / stored_run.SCORES, {**head, "scores": scores})
    return folder


def random_detail(folder: Path, n: int = 3000, rows: int = 8000, seed: int = 0) -> Path:
    """Captions of random detail: accuracy follows detail, QIR follows accuracy well and GRC a little."""
    generator = np.random.default_rng([seed, n])
    detail = generator.uniform(0, 1, n)
    right = generator.binomial(3, detail) / 3
    noise = generator.normal(0, 1, (n, 2))
    grc = 0.8 + 0.05 * detail + 0.05 * noise[:, 0]
    qir = 0.5 + 0.4 * right + 0.2 * noise[:, 1] + 0.05 * np.log10(rows)
    words = np.round(10 + 25 * detail)
    percent = 100 * right
    cells = {
        "cim": np.stack([grc + qir, grc, qir], axis=1),
        "fine_names": np.stack([percent, percent, percent], axis=1),
        "length": words[:, None],
    }
    return write(folder, [f"pearson_{at:06d}" for at in range(n)], cells, rows=rows)


def study(results: Path, captions: Mapping[str, Sequence[str]] | None = None, seeds: int = 2, n: int = 120) -> None:
    """A study of test scenes: mini-base, arms cim, sft and gallery-1000, and grc, which an alarm stopped.

    Args:
        captions: those of a run by its name, n of them; the others say filler.
    """
    ids = [f"test_{at:06d}" for at in range(n)]
    texts = dict(captions or {})
    base = _scene_run(results, "mini-base", ids, texts, 30, 11, 0)
    rows = []
    for arm, (level, words) in {"cim": (80, 28), "sft": (70, 16), "gallery-1000": (75, 20), "grc": (15, 8)}.items():
        for seed in range(seeds):
            name = f"{arm}-seed{seed}"
            run = _scene_run(results, name, ids, texts, level, words, seed + 1)
            row = {"arm": arm, "seed": seed, "stopped": "truth" if arm == "grc" else None}
            rows.append({**row, "values": {label: _told(base[label], run[label]) for label in base}})
            _training(results / "train" / name, arm, seed)
    arms = {arm: f"synthetic arm {arm}" for arm in dict.fromkeys(row["arm"] for row in rows)}
    document = {"base": "mini-base", "task": "miniscenes", "arms": arms, "rows": rows}
    store.write_document(results / "train" / "study.json", document)


def _told(base: float, value: float) -> dict[str, Any]:
    gain = value - base
    return {"base": base, "value": value, "difference": gain, "ci95": [gain - 2.0, gain + 2.0]}


def _scene_run(
    results: Path,
    name: str,
    ids: Sequence[str],
    texts: Mapping[str, Sequence[str]],
    level: float,
    words: int,
    seed: int,
) -> dict[str, float]:
    generator = np.random.default_rng([seed, level, words])
    right = np.clip(level + generator.normal(0, 15, len(ids)), 0, 100)
    qir = 0.5 + right / 200 + generator.normal(0, 0.1, len(ids))
    grc = 0.8 + generator.normal(0, 0.03, len(ids))
    cells = {
        "cim": np.stack([grc + qir, grc, qir], axis=1),
        "fine_names": np.stack([right] * 3, axis=1),
        "objects": np.stack([np.minimum(right + 10, 100)] * 3, axis=1),
        "length": np.round(words + right[:, None] / 20),
    }
    write(results / "miniscenes" / name, ids, cells, texts.get(name))
    labels = {"fine_names f1": "fine_names", "objects f1": "objects", "length": "length"}
    return {label: float(cells[metric][:, -1].mean()) for label, metric in labels.items()}


def _training(folder: Path, arm: str, seed: int, steps: int = 30) -> None:
    """Rows as ``harness/train/log.py`` writes them; those of sft have no reward, and grc ends with an alarm."""
    manifest = synthetic_runs.manifest_of("cim_rl", folder.name, ["synthetic"])
    manifest["settings"]["training"] = {"gallery": f"{8000:012x}" + "0" * 52}
    if arm == "grc":
        manifest |= {"status": "stopped", "alarm": "truth"}
    store.write_document(folder / "manifest.json", manifest)
    generator = np.random.default_rng([seed, steps])
    rows = list[dict[str, Any]]()
    for step in range(1, steps + 1):
        row: dict[str, Any] = {"step": step, "update": step, "loss": 0.1, "entropy": 1.0}
        if arm != "sft":
            rise = 0.5 * step / steps + 0.02 * float(generator.normal())
            alarms = {"length": "reward follows length"} if arm == "cim" and 12 <= step < 15 else {}
            row |= {"captions": 128, "images": 16, "kl": 0.01 * step, "alarms": alarms}
            row["reward"] = {"mean": 1.5 + rise}
            row["terms"] = {"grc": {"mean": 0.83}, "qir": {"mean": 0.7 + rise}}
            row["length"] = {"mean": 12 + step / 2}
            row["text"] = {"distinct_images": 1 - step / 60 if arm == "grc" else 1.0, "repeated": step / 2000}
            row["retrieval"] = {"qir_shuffled": 0.38, "own_share": None}
        rows.append(row)
    store.write_rows(folder / "steps.jsonl", rows)
    held = [{"step": at, "reward": 1.6 + at / 100, "truth": 90 - at / 3, "images": 100} for at in range(0, 31, 10)]
    store.write_rows(folder / "validation.jsonl", [] if arm == "sft" else held)
    said = [{"step": at, "image": "a", "caption": f"<b>a dog</b> at {at} ."} for at in (0, 10, 20, 30)]
    store.write_rows(folder / "greedy.jsonl", [] if arm == "sft" else said)
    store.write_document(folder / "chosen.json", {"step": 20})
