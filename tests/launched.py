"""A training run of two steps for ``accelerate launch``: python -m tests.launched FOLDER CHECKPOINT PROCESSES."""

from __future__ import annotations

import sys
from pathlib import Path

from tests import training


def main(folder: str, checkpoint: str, processes: str) -> None:
    """Train with the fake scorer; each process holds its share of a step."""
    changes = {"micro_batch": 16 // int(processes)}
    training.train(training.tiny(Path(folder), Path(checkpoint), training.material(validation=3), changes=changes))


if __name__ == "__main__":
    main(*sys.argv[1:])
