"""The ablation of Figure 4 (arXiv 2603.01696) from ``results/train/study.json``: arms, seeds, differences to the base.

Per arm and value: the mean difference over seeds, with Student's 95 % interval mean +- t(.975, s - 1) sd / sqrt(s)
for s >= 2 seeds. Two arms are compared over their common seeds: the same t of their paired differences, p values
corrected by Holm over the arms of one value. Seeds are the unit, because runs of one arm differ by more than images
explain; with two or three seeds only large effects are significant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness import store
from harness.errors import CimError
from harness.resources import paths
from harness.runs import stats

FILE = "study.json"
REFERENCE = "cim"
LEVEL = 0.975


@dataclass(frozen=True, slots=True)
class Point:
    """One run in one value: value of the base and of the run, difference, its paired interval over images."""

    seed: int
    base: float
    value: float
    difference: float
    ci95: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Arm:
    """An arm: points by value and seed, and by seed the alarm that stopped it."""

    name: str
    about: str
    seeds: tuple[int, ...]
    points: Mapping[str, tuple[Point, ...]]
    stopped: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Study:
    """A stored study: base run, task, arms in their order."""

    base: str
    task: str
    arms: tuple[Arm, ...]

    def arm(self, name: str) -> Arm | None:
        """The arm of a name."""
        return next((arm for arm in self.arms if arm.name == name), None)


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over seeds and its t interval; None for one seed."""

    seeds: int
    mean: float
    ci95: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Contrast:
    """An arm minus the reference arm over their common ``seeds``, and p corrected over the arms of the value."""

    arm: str
    seeds: int
    mean: float
    ci95: tuple[float, float] | None
    p: float | None
    p_holm: float | None


def read(results: Path) -> Study | None:
    """The stored study; None if there is none.

    Raises:
        CimError: it is not in the format that ``cim study`` writes.
    """
    path = results / paths.TRAINED / FILE
    content = store.read_document(path)
    if content is None:
        return None
    try:
        arms = tuple(_arm(name, str(about), content["rows"]) for name, about in content["arms"].items())
        return Study(str(content["base"]), str(content["task"]), tuple(arm for arm in arms if arm.seeds))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CimError(f"is malformed ({error})", where=str(path), hint="run `make ablation` again") from error


def _arm(name: str, about: str, rows: Sequence[Mapping[str, Any]]) -> Arm:
    arm_rows = sorted((row for row in rows if row["arm"] == name), key=lambda row: int(row["seed"]))
    points = dict[str, list[Point]]()
    for row in arm_rows:
        for label, cell in row["values"].items():
            base, value, difference = (float(cell[key]) for key in ("base", "value", "difference"))
            low, high = (float(bound) for bound in cell["ci95"])
            if not all(map(math.isfinite, (base, value, difference, low, high))):
                raise ValueError(f"{label} of {name} is not a number")
            points.setdefault(label, []).append(Point(int(row["seed"]), base, value, difference, (low, high)))
    stopped = {int(row["seed"]): str(row["stopped"]) for row in arm_rows if row["stopped"]}
    fixed = {label: tuple(points_of_value) for label, points_of_value in points.items()}
    return Arm(name, about, tuple(int(row["seed"]) for row in arm_rows), fixed, stopped)


def over_seeds(values: Sequence[float]) -> Mean | None:
    """Mean and t interval of one number per seed; None without numbers."""
    if not values:
        return None
    mean, s = float(np.mean(values)), len(values)
    if s < 2:
        return Mean(s, mean, None)
    half = stats.student_quantile(LEVEL, s - 1) * float(np.std(values, ddof=1)) / math.sqrt(s)
    return Mean(s, mean, (mean - half, mean + half))


def contrasts(study: Study, value: str, reference: str = REFERENCE) -> list[Contrast]:
    """Every other arm compared with the reference arm in one value."""
    against = study.arm(reference)
    if against is None:
        return []
    by_seed = {point.seed: point.value for point in against.points.get(value, ())}
    means = list[tuple[str, Mean, float | None]]()
    for arm in study.arms:
        pairs = [p.value - by_seed[p.seed] for p in arm.points.get(value, ()) if p.seed in by_seed]
        mean = None if arm.name == reference else over_seeds(pairs)
        if mean is not None:
            means.append((arm.name, mean, _p(pairs)))
    corrected = iter(stats.holm([p for *_, p in means if p is not None]))
    return [
        Contrast(name, mean.seeds, mean.mean, mean.ci95, p, None if p is None else next(corrected))
        for name, mean, p in means
    ]


def _p(values: Sequence[float]) -> float | None:
    """Two-sided p of the one-sample t-test of mean 0; None for one value, or for equal ones."""
    if len(values) < 2 or not (deviation := float(np.std(values, ddof=1))):
        return None
    t = -abs(float(np.mean(values))) * math.sqrt(len(values)) / deviation
    return 2 * stats.student(t, len(values) - 1)
