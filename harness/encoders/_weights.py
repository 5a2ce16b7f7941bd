"""Weights of an image or text tower: their folder, the digest that identifies them, and batches.

A folder of ``$CIM_MODELS`` called as the last part of the hub id comes first, then the hub's cache. Nothing asks the
network. A checkpoint is known by the sha256 of its weights.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import CimError
from harness.resources import data

if TYPE_CHECKING:
    from harness.parts import Vectors

BATCH = 32
AHEAD = 2  # batches that are read while one is encoded
_WORKERS: ContextVar[int] = ContextVar("workers", default=1)


@dataclass(frozen=True, slots=True)
class Tower:
    """A published checkpoint: hub id, files (weights first), the package that runs it, and notes for settings."""

    hub_id: str
    files: tuple[str, ...]
    package: str
    module: str
    notes: tuple[tuple[str, str], ...] = ()

    def folder(self) -> Path | None:
        """Where it lies on this machine, or None."""
        name = self.hub_id.rpartition("/")[2]
        folders = [Path(os.environ["CIM_MODELS"]) / name] if os.environ.get("CIM_MODELS") else []
        places = [*folders, *self._cached()]
        return next((place for place in places if all((place / file).is_file() for file in self.files)), None)

    def _cached(self) -> list[Path]:
        if importlib.util.find_spec("huggingface_hub") is None:
            return []
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(self.hub_id, self.files[0])
        return [Path(cached).parent] if isinstance(cached, str) else []

    def missing(self) -> str | None:
        """Why it cannot run here, with the command that fixes it; or None."""
        if lacking := [name for name in ("torch", self.module) if importlib.util.find_spec(name) is None]:
            return f"{', '.join(lacking)} not installed; run `make setup-models`"
        if self.folder() is None:
            place = f"set CIM_MODELS to a folder that holds {self.hub_id.rpartition('/')[2]}/"
            return f"the weights {self.hub_id} are not on this machine; run `hf download {self.hub_id}`, or {place}"
        return None

    def require(self) -> Path:
        """Its folder; CimError where it is not here."""
        place, reason = self.folder(), self.missing()
        if place is None or reason:
            raise CimError(reason or "")
        return place

    def settings(self) -> dict[str, str]:
        """All settings that can change an embedding."""
        place, sha = self.folder(), "not here"
        if place is not None:
            facts = (place / self.files[0]).stat()
            sha = _sha256(place / self.files[0], facts.st_size, facts.st_mtime_ns)
        version = importlib.util.find_spec(self.module) and importlib.metadata.version(self.package)
        return {
            "weights": f"{self.hub_id}@{sha[:16]}",
            "precision": "float32",
            **dict(self.notes),
            self.module: str(version),
        }


@cache
def _sha256(path: Path, size: int, changed: int) -> str:
    return data.sha256(path)


@contextmanager
def reading(workers: int) -> Iterator[None]:
    """While it is held, so many threads open and resize images ahead of the encoder; embeddings are the same."""
    token = _WORKERS.set(workers)
    try:
        yield
    finally:
        _WORKERS.reset(token)


def batches(
    inputs: Sequence[str],
    encode: Callable[[list[Any]], Any],
    size: int = BATCH,
    read: Callable[[str], Any] | None = None,
) -> Iterator[Vectors]:
    """One embedding (d,) per text or path, in order.

    Args:
        encode: a batch to a tensor (n, d), of what ``read`` made of each input where there is such a function.
    """
    import torch

    for part in _parts(inputs, size) if read is None else _read_ahead(inputs, size, read):
        with torch.inference_mode():
            yield from encode(part).float().cpu().numpy()


def _parts(inputs: Sequence[str], size: int) -> Iterator[list[Any]]:
    rest = iter(inputs)
    while part := list(islice(rest, size)):
        yield part


def _read_ahead(inputs: Sequence[str], size: int, read: Callable[[str], Any]) -> Iterator[list[Any]]:
    """Batches of what is read, the next ``AHEAD`` of them on their way while one is encoded; by one worker, in turn."""
    workers = _WORKERS.get()
    if workers == 1:
        yield from ([read(path) for path in part] for part in _parts(inputs, size))
        return
    pool, waiting = ThreadPoolExecutor(workers), deque[list[Future[Any]]]()
    try:
        for part in _parts(inputs, size):
            waiting.append([pool.submit(read, path) for path in part])
            if len(waiting) > AHEAD:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)
