"""The correlation study's 3,000 scenes: drawn when they are read, their bytes pinned by ``pearson.json``.

Captions of random detail, without errors, tell whether the reward follows what captions leave out (the paper's
Figure 2). The pin is written by ``python -m tasks.miniscenes.pearson``.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from pathlib import Path

from harness.types import Sample
from tasks.miniscenes import language, samples
from tasks.miniscenes.world import SPLITS, Dice, of_sample, scene

SPLIT = "pearson"
PIN = Path(__file__).parent / "pearson.json"


@functools.cache
def _drawn() -> tuple[tuple[Sample, ...], str]:
    """The samples, and the sha256 of their rows."""
    rows = [samples.row(scene(SPLIT, number)) for number in range(SPLITS[SPLIT])]
    content = "".join(samples.line(row) for row in rows)
    return tuple(map(samples.sample, rows)), hashlib.sha256(content.encode()).hexdigest()


def load(folder: Path) -> list[Sample]:
    """The samples, in order.

    Raises:
        RuntimeError: this Python draws other scenes than those of ``pearson.json``.
    """
    rows, digest = _drawn()
    if digest != json.loads((folder / PIN.name).read_text(encoding="utf-8"))["sha256"]:
        raise RuntimeError(f"split {SPLIT} is drawn otherwise here: its rows have sha256 {digest}")
    return list(rows)


def caption(sample_id: str) -> str:
    """A scene's caption of random detail, without errors."""
    dice = Dice(f"random/{sample_id}")
    return language.caption(of_sample(sample_id), language.random_level(dice), dice)


def pin() -> str:
    """Content of ``pearson.json``."""
    rows, digest = _drawn()
    return json.dumps({"split": SPLIT, "samples": len(rows), "sha256": digest}) + "\n"


if __name__ == "__main__":
    PIN.write_text(pin(), encoding="utf-8")
    sys.exit(0)
