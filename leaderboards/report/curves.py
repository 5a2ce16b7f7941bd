"""Training curves from ``steps.jsonl`` and ``validation.jsonl`` of ``results/train/<arm>-seed<k>/``.

A quantity is a dotted name in a row; rows that lack it are left out. An alarm is marked at every step whose row lists
it. Written by ``cim train`` (``harness/train/log.py``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness import store
from harness.resources import paths
from harness.runs import manifest
from harness.runs.form import training_rows

STEPS, VALIDATION, GREEDY, CHOSEN = "steps.jsonl", "validation.jsonl", "greedy.jsonl", "chosen.json"
SHOWN = 3  # held-out images whose captions are shown
SEED = "-seed"


@dataclass(frozen=True, slots=True)
class Quantity:
    """A curve: title, unit, file and dotted name of its values; ``control`` is a second curve in the same panel,
    ``ends`` are natural limits of the axis, if any."""

    title: str
    unit: str
    file: str
    name: str
    control: str | None = None
    ends: tuple[float, float] | None = None


QUANTITIES = (
    Quantity("Reward of the arm", "reward per caption", STEPS, "reward.mean"),
    Quantity("GRC", "length of mean embedding", STEPS, "terms.grc.mean"),
    Quantity("QIR; grey: other images", "weighted cosine sum", STEPS, "terms.qir.mean", "retrieval.qir_shuffled"),
    Quantity("Caption length", "tokens", STEPS, "length.mean"),
    Quantity("KL to the start model", "nats per token", STEPS, "kl"),
    Quantity("Distinct captions", "share among images", STEPS, "text.distinct_images", ends=(0, 1.05)),
    Quantity("Repeated 4-grams", "share of the caption", STEPS, "text.repeated"),
    Quantity("Reward, held-out images", "reward per caption", VALIDATION, "reward"),
    Quantity("True statements, held-out", "percent", VALIDATION, "truth"),
)

Line = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Training:
    """One training run: lines of (step, value) by dotted name, alarms as (step, name), and how it ended.

    ``captions_of`` are greedy captions of the first held-out images: (image, what the checkpoint is, step, caption).
    """

    arm: str
    seed: int
    lines: Mapping[tuple[str, str], Line]
    alarms: tuple[tuple[int, str], ...]
    ended: str
    steps: int
    captions: int
    held_out: int
    captions_of: tuple[tuple[str, str, int, str], ...] = ()

    @property
    def name(self) -> str:
        """Arm and seed."""
        return f"{self.arm}, seed {self.seed}"


def read(results: Path, order: Sequence[str] = ()) -> list[Training]:
    """All stored training runs with rows, sorted by arm (those of ``order`` first, then by name) and seed."""
    runs = []
    for path in sorted((results / paths.TRAINED).glob(f"*/{STEPS}")):
        stored, rows = manifest.read(path.parent), training_rows(path)
        if stored is not None and rows:
            arm, _, seed = path.parent.name.rpartition(SEED)
            named = (arm, int(seed)) if arm and seed.isdigit() else (path.parent.name, 0)
            run = _training(*named, stored, rows, training_rows(path.parent / VALIDATION))
            runs.append(replace(run, captions_of=_captions(path.parent)))
    places = {arm: at for at, arm in enumerate(order)}
    return sorted(runs, key=lambda run: (places.get(run.arm, len(places)), run.arm, run.seed))


def _captions(folder: Path) -> tuple[tuple[str, str, int, str], ...]:
    """What the start model, the chosen and the last checkpoint say of the first held-out images."""
    rows = training_rows(folder / GREEDY)
    if not rows:
        return ()
    chosen = (store.read_document(folder / CHOSEN) or {}).get("step")
    steps = {0: "start", max(int(row["step"]) for row in rows): "last"}
    if isinstance(chosen, int):
        steps[chosen] = "chosen, last" if steps.get(chosen) == "last" else "chosen"
    images = list(dict.fromkeys(str(row["image"]) for row in rows))[:SHOWN]
    said = {(str(row["image"]), int(row["step"])): str(row["caption"]) for row in rows}
    return tuple(
        (image, steps[step], step, said[image, step])
        for image in images
        for step in sorted(steps)
        if (image, step) in said
    )


def _training(
    arm: str, seed: int, stored: Mapping[str, Any], steps: list[dict[str, Any]], held_out: list[dict[str, Any]]
) -> Training:
    rows = {STEPS: steps, VALIDATION: held_out}
    needed = {(quantity.file, name) for quantity in QUANTITIES for name in (quantity.name, quantity.control) if name}
    lines = {(file, name): line for file, name in sorted(needed) if (line := _line(rows[file], name))}
    rung = dict.fromkeys((int(row["step"]), name) for row in steps for name in row.get("alarms", {}))
    if stopped := stored.get("alarm"):
        rung.setdefault((int(steps[-1]["step"]), str(stopped)))
    status = str(stored.get("status", "unknown"))
    return Training(
        arm,
        seed,
        lines,
        tuple(sorted(rung)),
        f"stopped by alarm {stopped}" if stopped else status,
        int(steps[-1]["step"]),
        max((int(row.get("captions", 0)) for row in steps), default=0),
        max((int(row.get("images", 0)) for row in held_out), default=0),
    )


def _line(rows: Sequence[Mapping[str, Any]], name: str) -> Line:
    points = []
    for row in rows:
        value: Any = row
        for key in name.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, int | float) and math.isfinite(value) and "step" in row:
            points.append((float(row["step"]), float(value)))
    return tuple(points)
