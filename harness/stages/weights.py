"""The models that a command is going to load: can this machine run them, and are their checkpoints here?

Both are settled before anything is loaded: first what this machine lacks, in one line and without asking the hub, then
the downloads, with size and licence. ``cim model fetch M`` does the second alone, also where there is no GPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.engines import vllm
from harness.errors import CimError
from harness.models import model_file
from harness.resources import checkpoint, hub, machine
from harness.types import Model

LARGEST_ON_CPU = 1e9  # parameters that engine transformers runs on a CPU where there is a GPU
BYTES = 2  # of a parameter, where only the memory it takes is known


@dataclass(frozen=True, slots=True)
class Load:
    """A model with weights that will be loaded, and what for: ``captioner`` or ``judge``."""

    role: str
    model: Model

    @property
    def facts(self) -> dict[str, Any]:
        """The keys of its model file that say something about the checkpoint itself: licence, gate, size."""
        path = self.model.source
        content = model_file.read(path) if path is not None and path.suffix == ".toml" else {}
        return {name: content[name] for name in ("licence", "gated", "memory_gb") if name in content}

    @property
    def source(self) -> hub.Source | None:
        """Where on the hub the checkpoint comes from; None for a folder on this machine."""
        weights = self.model.weights
        if weights is None or weights.local:
            return None
        files = hub.FILES + (hub.CODE if weights.trust_remote_code else ())
        facts = self.facts
        return hub.Source(
            self.model.name,
            weights.checkpoint,
            weights.revision,
            files,
            facts.get("licence"),
            bool(facts.get("gated", False)),
        )

    @property
    def folder(self) -> Path | None:
        """Where the whole checkpoint lies on this machine, or None."""
        if self.source is not None:
            return hub.here(self.source)
        return Path(self.model.weights.checkpoint) if self.model.weights else None

    @property
    def gigabytes(self) -> float | None:
        """Size of the weights; None where it is known to the hub alone."""
        if (folder := self.folder) is not None:
            return sum(path.stat().st_size for path in folder.glob("*.safetensors")) / hub.GIGABYTE
        size = self.facts.get("memory_gb")
        return None if size is None else float(size)

    @property
    def parameters(self) -> float | None:
        """Number of parameters; None where it is known to the hub alone."""
        if (folder := self.folder) is not None:
            return checkpoint.parameters(folder)
        return None if self.gigabytes is None else self.gigabytes * hub.GIGABYTE / BYTES


def check(loads: Sequence[Load]) -> None:
    """Refuse what this machine cannot run, or cannot download; the hub is not asked.

    Raises:
        CimError: no GPU for vLLM, a driver or torch that does not serve the GPU, a gate without token, a full disk.
    """
    for load in loads:
        if reason := obstacle(load):
            raise CimError(f"{load.role} {load.model.name}: {reason}")
        if load.source is not None and load.folder is None:
            hub.refuse(load.source, load.gigabytes and load.gigabytes * hub.GIGABYTE)


def obstacle(load: Load) -> str | None:
    """Why this machine cannot run a model, with what to do; None if it can."""
    if load.model.engine == "vllm" and not vllm.on_cpu():
        other = "`--engine transformers` runs it on the CPU" if load.role == "captioner" else "name another: --judge J"
        return machine.gpu_fault() if machine.gpus() else f"engine vllm needs a GPU and nvidia-smi shows none; {other}"
    if load.model.engine == "transformers" and (load.parameters or 0) > LARGEST_ON_CPU:
        return machine.gpu_fault()
    return None


def bring(loads: Sequence[Load], say: Callable[[str], None], *, offline: bool = False) -> None:
    """Download the checkpoints that are not here; ``say`` is told size and licence first.

    Args:
        offline: this process asks the hub nothing afterwards, where all of them are pinned to a commit.

    Raises:
        CimError: as ``hub.fetch``.
    """
    sources = [(load, source) for load in loads if (source := load.source) is not None]
    for source in {source.where: source for load, source in sources if load.folder is None}.values():
        hub.fetch(source, say)
    fixed = [bool(hub.COMMIT.fullmatch(source.revision or "")) for _, source in sources]
    trusted = any(load.model.weights and load.model.weights.trust_remote_code for load, _ in sources)
    if offline and fixed and all(fixed) and not trusted:
        # All is here: a node without network does not wait for each optional file that a loader looks for.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
