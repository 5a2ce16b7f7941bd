"""Lets torchvision's CUDA build be imported beside CPU torch; written into the environment only where that fails.

PyPI holds torchvision for CUDA alone. Beside CPU torch its library cannot be loaded, ``torchvision::nms`` is
never registered and ``import torchvision`` fails, and with it the processors of Qwen-VL, InternVL and SmolVLM.
The set-up appends to the installed ``torchvision/extension.py`` a declaration of the two operators' schemas; resizing
and normalising, all that processors use, then work. Nothing runs where torchvision is not imported (an earlier ``.pth``
file cost 25 ms at every start of this Python and is removed). ``python -m harness.resources.torchvision_hook``
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from harness import store

SYMPTOM = "operator torchvision::nms does not exist"
OLD = ("cim_torchvision_hook.pth", "cim_torchvision_hook.py")  # of site-packages, from earlier set-ups
MARK = "# Appended by the set-up of cim-harness: torchvision's CUDA build beside CPU torch."
# The Library object must live as long as the process.
SOURCE = f"""

{MARK}
if not _has_ops():
    _cim_harness_library = torch.library.Library("torchvision", "FRAGMENT")
    for _name in ("nms", "qnms"):
        _cim_harness_library.define(_name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def complaint() -> str:
    """What ``import torchvision`` says in a process of its own; empty when it works."""
    command = [sys.executable, "-c", "import torchvision"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300).stderr.strip()


def write(package: Path) -> None:
    """Append the declarations to ``extension.py`` of an installed torchvision; once."""
    file = package / "extension.py"
    text = file.read_text(encoding="utf-8")
    if MARK not in text:
        store.write_bytes(
            file, (text + SOURCE).encode()
        )  # a new file: the old one may be linked to an installer's cache


def mend() -> str | None:
    """Mend torchvision where it fails for just this reason; returns what is still wrong, or None."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return "torchvision is not installed"
    package = Path(spec.origin).parent
    for name in OLD:
        (package.parent / name).unlink(missing_ok=True)
    said = complaint()
    if SYMPTOM in said:
        write(package)
        said = complaint()
    return said.splitlines()[-1] if said else None


def main() -> int:
    """Mend this environment; exit 1, with the reason on standard error, where torchvision still fails."""
    wrong = mend()
    if wrong:
        sys.stderr.write(f"setup: torchvision cannot be used ({wrong})\n")
    return int(wrong is not None)


if __name__ == "__main__":
    sys.exit(main())
