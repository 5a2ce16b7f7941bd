"""Lets torchvision's CUDA build be imported beside CPU torch; written into the environment only where that fails.

PyPI holds torchvision for CUDA alone. Beside CPU torch its library cannot be loaded, ``torchvision::nms`` is
never registered and ``import torchvision`` fails, and with it the processors of Qwen-VL, InternVL and SmolVLM.
The hook declares the schemas of the two operators before they are asked for; resizing and normalising, all
that processors use, then work. Run with ``python -m harness.resources.torchvision_hook``, as ``make`` does.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path

SYMPTOM = "operator torchvision::nms does not exist"
MODULE = "cim_torchvision_hook"
# A module of its own, not of this project: the .pth line runs at every start of this Python, also in the
# worker processes of vLLM, and must stay cheap there. The Library object must live as long as the process.
SOURCE = '''"""Written by harness.resources.torchvision_hook: torchvision's CUDA build beside CPU torch."""
import importlib.abc
import sys

_kept = []


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "torchvision._meta_registrations":
            return None
        sys.meta_path.remove(self)
        import torch
        import torchvision.extension

        if not torchvision.extension._has_ops():
            library = torch.library.Library("torchvision", "FRAGMENT")
            _kept.append(library)
            for operator in ("nms", "qnms"):
                library.define(operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return None


sys.meta_path.insert(0, _Finder())
'''


def complaint() -> str:
    """What ``import torchvision`` says in a process of its own; empty when it works."""
    command = [sys.executable, "-c", "import torchvision"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300).stderr.strip()


def write(folder: Path) -> None:
    """Write the hook and the line that loads it into a folder of site-packages."""
    (folder / f"{MODULE}.py").write_text(SOURCE, encoding="utf-8")
    (folder / f"{MODULE}.pth").write_text(f"import {MODULE}\n", encoding="utf-8")


def mend(folder: Path) -> str | None:
    """Write the hook where torchvision fails for just this reason; returns what is still wrong, or None."""
    if importlib.util.find_spec("torchvision") is None:
        return "torchvision is not installed"
    said = complaint()
    if SYMPTOM in said:
        write(folder)
        said = complaint()
    return said.splitlines()[-1] if said else None


def main() -> int:
    """Mend this environment; exit 1, with the reason on standard error, where torchvision still fails."""
    wrong = mend(Path(sysconfig.get_path("purelib")))
    if wrong:
        sys.stderr.write(f"setup: torchvision cannot be used ({wrong})\n")
    return int(wrong is not None)


if __name__ == "__main__":
    sys.exit(main())
