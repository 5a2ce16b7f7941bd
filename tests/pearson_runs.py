"""Stored runs that no model made, for the correlation study: invented rewards and accuracies with a known relation.

A caption tells a share of what there is; longer ones are right more often and find closer images. Files have the form
of real runs, and their manifests say that they are synthetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness import records, scored, signature, store
from harness.types import Completion
from tests import synthetic_runs

VALUES = {
    "cim": ("reward", "grc", "qir"),
    "fine_names": ("precision", "recall", "f1"),
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
    made = [Completion(name, text, "stop", 9, 9) for name, text in zip(ids, texts, strict=True)]
    store.write_rows(folder / records.NAME, [records.row(one) for one in made])
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
    store.write_rows(folder / scored.PER_SAMPLE, per_sample)
    store.write_rows(folder / scored.STATISTICS, [{"sample_id": name} for name in ids])
    digest = records.digest(folder)
    manifest = synthetic_runs.manifest_of(folder.parent.name, folder.name, list(ids))
    store.write_document(folder / "manifest.json", {**manifest, "captions": digest})
    interval = {"method": "none", "draws": 0, "seed": 0}
    head = {"format": 1, "task": folder.parent.name, "model": folder.name, "captions": digest, "interval": interval}
    store.write_document(folder / scored.SCORES, {**head, "scores": scores})
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
