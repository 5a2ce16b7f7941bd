"""Both sides of the embedded world's dual encoder as encoders of the harness; the weights ship with the project."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

from harness.encoders._weights import batches
from harness.errors import CimError
from harness.images import open_image
from harness.parts import Encode, Encoder

BATCH = 256


def encoder(name: str, kind: Literal["text", "image"], text_tower: str | None = None) -> Encoder:
    """The encoder of one side."""
    return Encoder(name, partial(_settings, kind), partial(_session, kind), _missing, kind, text_tower)


def _missing() -> str | None:
    lacking = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    return f"{', '.join(lacking)} not installed; run `make setup-models`" if lacking else None


def _settings(kind: str) -> dict[str, str]:
    import json

    from tasks import miniscenes

    weights = Path(miniscenes.__file__).parent / "weights" / "encoder"
    manifest = json.loads((weights / "manifest.json").read_bytes())
    sums = {"encoder": manifest["files"]["model.safetensors"][:16]}
    return sums if kind == "text" else {**sums, "tower": manifest["tower"][:16]}


@contextmanager
def _session(kind: str) -> Iterator[Encode]:
    import torch

    from tasks.miniscenes import dual_encoder

    if reason := _missing():
        raise CimError(reason)
    torch.set_num_threads(1)  # a second thread costs more than it brings to a model this small
    sides = dual_encoder.load()
    if kind == "text":
        yield partial(batches, encode=lambda texts: sides.text(dual_encoder.numbers(texts)), size=BATCH)
    else:
        tower = dual_encoder.tower()

        def look(pixels: list[Any]) -> Any:
            return sides.image(dual_encoder.seen(tower, pixels))

        yield partial(batches, encode=look, size=BATCH, read=_pixels)


def _pixels(path: str) -> Any:
    import numpy as np

    pixels = np.asarray(open_image(Path(path), path))
    if pixels.shape != (48, 48, 3):
        raise CimError("is no picture of miniscenes (48 x 48 pixels)", where=path, hint="use another image encoder")
    return pixels
