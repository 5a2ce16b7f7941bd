"""A training run of two steps for ``accelerate launch``: python -m tests.launched FOLDER CHECKPOINT PROCESSES."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from harness.train import trl_engine
from tests import training


def main(folder: str, checkpoint: str, processes: str) -> None:
    """Train with the fake scorer; each process holds its share of a step."""
    job = training.job(Path(folder), Path(checkpoint))
    preset = replace(job.preset, micro_batch=16 // int(processes))
    validation = list(job.train[:3])
    trl_engine.train(replace(job, preset=preset, validation=validation))


if __name__ == "__main__":
    main(*sys.argv[1:])
