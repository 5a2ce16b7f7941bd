"""A captioner that hardly sees: ``mini-base`` with noise on the weights of its vision tower, the same on every machine.

The negative control of weak grounding: a policy that cannot tell its images apart can still raise the reward, by saying
what is rewarded of any image; an alarm must stop it. Run with ``python -m tasks.miniscenes.weaken OUT``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

START = Path(__file__).parent / "weights" / "mini-base"
NOISE = 3.0  # standard deviations of each matrix; object F1 falls from 86 to 37, that of fine names to 0
SEED = 0
TOML = """\
# mini-base with noise on its vision tower: a negative control of training, no model of anything.
about = "mini-base that hardly sees its images: a negative control."
engine = "transformers"
checkpoint = "."
dtype = "float32"
tasks = ["miniscenes"]

[sampling]
temperature = 0
max_tokens = 64
"""


def weaken(out: Path, noise: float = NOISE) -> None:
    """Write a model folder: every file of ``mini-base`` but its manifest, the vision tower's weights disturbed."""
    out.mkdir(parents=True, exist_ok=True)
    weights, dice = load_file(START / "model.safetensors"), np.random.RandomState(SEED)
    for name in sorted(weights):
        if ".visual." in name:
            values = weights[name].float()
            drawn = torch.from_numpy(dice.standard_normal(tuple(values.shape))).float()
            weights[name] = (values + noise * values.std() * drawn).to(weights[name].dtype)
    for file in START.iterdir():
        if file.name not in ("model.safetensors", "manifest.json"):
            shutil.copy(file, out / file.name)
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.toml").write_text(TOML, encoding="utf-8")


def main() -> int:
    """Write the weakened model."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--noise", type=float, default=NOISE)
    given = arguments.parse_args()
    weaken(given.out, given.noise)
    return 0


if __name__ == "__main__":
    sys.exit(main())
