"""Where the project, its data and its results lie; environment variables say where, never how a number is made."""

from __future__ import annotations

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
# Where data and results go by default: the checkout, or the working folder of an installed package.
HOME = PROJECT if (PROJECT / "pyproject.toml").is_file() else Path.cwd()
TRAINED = "train"  # the folder of training runs, among those of the tasks


def data_root() -> Path:
    """Folder that holds one folder per benchmark: ``$CIM_DATA``, else ``data/``."""
    return Path(os.environ.get("CIM_DATA") or HOME / "data")


def results_root(folder: str | Path | None = None) -> Path:
    """Folder of all runs: ``--results``, else ``$CIM_RESULTS``, else ``results/``."""
    return Path(folder or os.environ.get("CIM_RESULTS") or HOME / "results")
