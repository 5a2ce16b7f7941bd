"""Which packages a model needs beyond the core: ``models``, ``vllm``, or nothing; called by make before it runs one.

Only names are read. What is wrong with a model is left to the command that runs it.
Run with ``python -m harness.command.needs qwen2.5-vl-7b [ENGINE]``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness import registry
from harness.errors import CimError
from harness.models import model_file
from harness.resources import machine
from harness.stages import model

PACKAGES = {"transformers": "models", "vllm": "vllm"}


def of(models: str, engine: str | None = None) -> str:
    """The set of packages for one or more models with commas; vLLM's holds those of the others."""
    packages = set[str]()
    for name in models.split(","):
        try:
            folder = Path(name) / model.TOML
            content = model_file.read(folder if folder.is_file() else registry.model_file(name.strip()))
        except CimError:
            continue
        if "checkpoint" in content and "unavailable" not in content:
            packages.add(PACKAGES.get(engine or content["engine"], "models"))
    return max(packages, default="")


def main(name: str, engine: str | None) -> int:
    """Print the set of packages; exit 2 where a model wants the GPU, and the packages for it cannot run here."""
    packages = of(name, engine)
    fault = machine.lock_fault() if packages == "vllm" and machine.gpus() else None
    if fault:
        sys.stderr.write(f"setup: {fault}\n")
        return 2
    sys.stdout.write(packages + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 and sys.argv[2] else None))
