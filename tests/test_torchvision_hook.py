"""torchvision's CUDA build beside CPU torch: mended in its own file, once, and at no start of Python."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from harness.resources import torchvision_hook


def test_the_declaration_is_appended_once_and_to_a_file_of_its_own(tmp_path: Path) -> None:
    original = tmp_path / "cache.py"
    original.write_text("def _has_ops():\n    return False\n")
    package = tmp_path / "torchvision"
    package.mkdir()
    os.link(original, package / "extension.py")  # as installers link files of their caches
    for _ in range(2):
        torchvision_hook.write(package)
    text = (package / "extension.py").read_text()
    assert text.count(torchvision_hook.MARK) == 1 and "nms" in text
    assert torchvision_hook.MARK not in original.read_text()


def test_torchvision_can_be_imported_here_and_no_start_pays_for_it() -> None:
    pytest.importorskip("torch", reason="torch is not installed: run `make setup-models`")
    assert torchvision_hook.mend() is None
    done = subprocess.run([sys.executable, "-c", "import torchvision.transforms"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not [name for name in torchvision_hook.OLD if (Path(sysconfig.get_path("purelib")) / name).exists()]
