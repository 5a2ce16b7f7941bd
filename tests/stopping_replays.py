"""How often ``cim judge --decide`` stops with another decision than all images, and what it saves.

``python -m tests.stopping_replays`` prints a table of differences of five FAKE verdicts an image; with a folder of
``chair500`` captions (objects that two decoders of LLaVA-1.5 name, right or wrong) or with RUN_A RUN_B METRIC of two
stored runs, of those. Each replay draws 500 images, in a random order, of a population whose mean difference is what
the row says.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import registry
from harness.runs import compare, power, sequential, stored_run

if TYPE_CHECKING:
    from harness.parts import Array

IMAGES, REPLAYS, POPULATION = 500, 10_000, 40_000
SIZES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)  # of a true difference, in standard deviations
MARGINS = (0.13, 0.18, 0.25)  # --difference, in standard deviations


def questions(size: float, generator: np.random.Generator) -> Array:
    """Percent right of five questions of b minus a, for 40,000 images: whole fifths, mostly 0."""
    hard = generator.beta(4, 2, POPULATION)
    a, b = (generator.binomial(5, np.clip(hard + gain, 0, 1)) for gain in (0.0, size * 0.25))
    return np.asarray(20.0 * (b - a))


def stored(a: Path, b: Path, name: str) -> Array:
    """The same of two stored runs."""
    metric, runs = registry.metric(name), [stored_run.load(folder) for folder in (a, b)]
    ((first, second),) = compare.pairs(runs[0], runs[1], [metric])
    return np.asarray((power.influence(second) - power.influence(first))[:, 0])


def chair(folder: Path) -> Array:
    """Percent of named objects that are there, of one decoder minus another, for 500 photographs."""
    there = {row["image_id"]: set(row["objects"]) for row in _rows(folder / "objects.jsonl")}
    sides = [
        {row["image_id"]: row["generated"] for row in _rows(folder / f"llava-1.5_{name}.jsonl")}
        for name in ("vcd", "deco")
    ]
    shares = [[100 * np.mean([word in there[name] for word in side[name]] or [1]) for name in there] for side in sides]
    return np.array(shares[1]) - np.array(shares[0])


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def moved(differences: Array, size: float, generator: np.random.Generator) -> Array:
    """Images of stored differences whose mean is so many standard deviations: signs are turned, none is invented.

    A size that is larger than that of the stored differences stays theirs.
    """
    mean, sd = float(differences.mean()), float(differences.std())
    sign = np.where(generator.random(POPULATION) < min(1.0, (1 + size * sd / abs(mean)) / 2), 1.0, -1.0)
    return np.asarray(generator.choice(differences, POPULATION) * sign * math.copysign(1, mean))


def replay(
    population: Array, margin: float, replays: int, generator: np.random.Generator
) -> tuple[float, float, float]:
    """Share of calls, of wrong decisions and of undecided replays at a margin in the population's unit.

    Wrong: ``better`` where all images of the replay are not significantly better; ``no difference`` where their mean
    differs by the margin or more.
    """
    calls = wrong = undecided = 0
    for _ in range(replays):
        drawn = generator.permutation(population) if len(population) == IMAGES else generator.choice(population, IMAGES)
        for n in sequential.looks(IMAGES):
            if said := sequential.decision(drawn[:n], IMAGES, margin, 100.0):
                break
        calls, undecided = calls + n, undecided + (said == sequential.UNDECIDED)
        if said == sequential.NO_DIFFERENCE:
            wrong += abs(float(drawn.mean())) >= margin
        elif said != sequential.UNDECIDED:
            wrong += sequential.decision(drawn, IMAGES, 0.0, 100.0) != said
    return calls / replays / IMAGES, wrong / replays, undecided / replays


def table(source: Array | None, replays: int) -> Iterator[tuple[float, float, float, float, float]]:
    """Margin and true size in standard deviations, then ``replay``'s three shares."""
    generator = np.random.default_rng(7)
    for size in SIZES:
        population = questions(size, generator) if source is None else moved(source, size, generator)
        sd = float(population.std())
        for margin in MARGINS:
            yield margin, abs(float(population.mean())) / sd, *replay(population, margin * sd, replays, generator)


def fixed(differences: Array, replays: int) -> Iterator[tuple[float, str, float, float, float]]:
    """The same 500 images in random orders: as they are, and moved to the borders of both decisions."""
    generator = np.random.default_rng(8)
    sd = float(differences.std(ddof=1))
    for margin in MARGINS:
        for mean in (abs(float(differences.mean())) / sd, 1.95 / math.sqrt(IMAGES), 1.001 * margin):
            images = differences - differences.mean() + mean * sd
            yield margin, f"{mean:.3f}, fixed images", *replay(images, margin * sd, replays, generator)


def source(named: list[str]) -> Array | None:
    """The differences that a command line names."""
    return None if not named else chair(Path(named[0])) if len(named) == 1 else stored(*map(Path, named[:2]), named[2])


if __name__ == "__main__":
    print("| `--decide`, sd | true difference, sd | calls % | wrong % | undecided % |\n" + "| --- " * 5 + "|")
    rows = source(sys.argv[1:])
    shown = [(margin, f"{size:.2f}", *shares) for margin, size, *shares in sorted(table(rows, REPLAYS))]
    for margin, size, *shares in (*shown, *(fixed(rows, REPLAYS) if rows is not None else ())):
        print(f"| {margin:.2f} | {size} | " + " | ".join(f"{100 * share:.1f}" for share in shares) + " |", flush=True)
