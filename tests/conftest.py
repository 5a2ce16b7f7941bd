"""Where the real annotation files are, and the skip that says so when they are not there."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def benchmarks() -> Path:
    """Folder with the annotation files of both benchmarks, or a skip that says what is missing."""
    folder = Path(os.environ.get("CIM_DATA") or SHARED / "benchmarks")
    if not (folder / "docci500" / "test_docci_500_gt.json").is_file():
        pytest.skip(f"annotation files not found under {folder}: set CIM_DATA (cim data fetch docci500 coco_ln500)")
    return folder


@pytest.fixture(scope="session")
def paper() -> Path:
    """Folder with the paper's published tables and printed captions, or a skip."""
    folder = SHARED / "paper"
    if not folder.is_dir():
        pytest.skip(f"the paper's tables and captions are not at {folder}")
    return folder
