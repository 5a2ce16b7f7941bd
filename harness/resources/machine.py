"""What this machine has for models: GPUs and their driver, the CUDA of torch, glibc, Python; nothing heavy is imported.

A fault is one line with what to do, or None. Shown by ``cim doctor``; checked before anything is downloaded or loaded.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# Oldest driver by CUDA's major version: tables 2 and 3 of CUDA's release notes (minor version compatibility).
DRIVERS = {12: 525, 13: 580}
LOCK_CUDA = 13  # of torch in requirements/gpu.lock
LOCK_GLIBC = (2, 31)  # llguidance 1.7.6 has wheels for manylinux_2_31 alone
PYTHONS = ((3, 11), (3, 13))
SECONDS = 30  # nvidia-smi may take several where no daemon keeps the driver loaded


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as the driver names it, with the driver's version and the memory in GB."""

    name: str
    driver: str
    gigabytes: float

    def __str__(self) -> str:
        return f"{self.name}, {self.gigabytes:.0f} GB, driver {self.driver}"


def gpus() -> tuple[Gpu, ...]:
    """The GPUs that ``nvidia-smi`` lists; none where it is not there or does not answer."""
    program = shutil.which("nvidia-smi")
    return _listed(program) if program else ()


def visible() -> int:
    """How many of the GPUs this process may use: ``CUDA_VISIBLE_DEVICES`` hides the others."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return len(gpus()) if named is None else min(len(gpus()), len(list(filter(None, named.split(",")))))


@cache
def _listed(program: str) -> tuple[Gpu, ...]:
    command = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True).stdout
        rows = [line.rsplit(",", 2) for line in answer.splitlines() if line.strip()]
        return tuple(Gpu(name.strip(), driver.strip(), float(mib) * 2**20 / 1e9) for name, driver, mib in rows)
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()


def torch_build() -> tuple[str, str | None] | None:
    """Version of torch and of its CUDA (None: a build for CPUs), read from its file; None where it is not installed."""
    spec = importlib.util.find_spec("torch")
    path = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    if path is None or not path.is_file():
        return None
    text = path.read_text(encoding="utf-8")
    version, cuda = (re.search(rf"^{name}\b[^=\n]*= *'([^']+)'", text, re.M) for name in ("__version__", "cuda"))
    return (version[1] if version else "?"), (cuda[1] if cuda else None)


def gpu_fault() -> str | None:
    """Why torch does not run on the GPU that is there; None where it does, or without GPU or torch."""
    cards, build = gpus(), torch_build()
    if not cards or build is None:
        return None
    version, cuda = build
    if cuda is None:
        return f"torch {version} is a build for CPUs, though nvidia-smi shows {cards[0].name}; run `make setup-gpu`"
    return driver_fault(int(cuda.partition(".")[0]))


def driver_fault(cuda: int = LOCK_CUDA) -> str | None:
    """Why the driver cannot run a major version of CUDA."""
    for gpu in gpus():
        major = gpu.driver.partition(".")[0]
        if major.isdigit() and int(major) < DRIVERS.get(cuda, 0):
            return (
                f"NVIDIA driver {gpu.driver} is too old for CUDA {cuda}: {DRIVERS[cuda]} or newer; "
                "update the driver, or take --engine openai and a server that has it"
            )
    return None


def lock_fault() -> str | None:
    """Why the packages of ``requirements/gpu.lock`` do not run here: Python, glibc, or the driver."""
    here, (oldest, newest) = sys.version_info[:2], PYTHONS
    if not oldest <= here <= newest:
        return f"GPU packages need Python {_dotted(oldest)} to {_dotted(newest)}, this is {_dotted(here)}; set PYTHON="
    name, version = platform.libc_ver()
    numbers = tuple(int(part) for part in version.split(".") if part.isdigit())
    if name == "glibc" and numbers < LOCK_GLIBC:
        older = "Ubuntu 20.04, Debian 11, RHEL 9 or newer have it; use a container of one"
        return f"GPU packages need glibc {_dotted(LOCK_GLIBC)} or newer, here is {version}; {older}"
    return driver_fault()


def usable_gpu() -> bool:
    """Is there a GPU that torch can use, as far as can be told without loading it?"""
    return bool(gpus()) and gpu_fault() is None


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
