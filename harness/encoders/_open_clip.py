"""Encoders of OpenCLIP checkpoints: the image tower with its validation transform, and the text tower.

A checkpoint is a folder with ``open_clip_config.json`` and ``open_clip_model.safetensors``, as its page on the Hugging
Face hub holds: ``$CIM_MODELS/<last part of the hub id>``, or the hub's cache. Images are converted to RGB and encoded
in float32, as Jia-hn/CIM:preprocess/embedding_*_image.py@870f58f5 does. Its bytes are identified by their sha256.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness import data
from harness.errors import CimError
from harness.parts import Encode, Encoder

if TYPE_CHECKING:
    from harness.parts import Vectors

WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
BATCH = 32


def encoder(name: str, hub_id: str, kind: Literal["text", "image"]) -> Encoder:
    """The encoder of one tower of a checkpoint."""
    return Encoder(
        name, partial(_settings, hub_id), partial(_session, hub_id, kind), missing=partial(_missing, hub_id), kind=kind
    )


def _folder(hub_id: str) -> Path | None:
    own = [Path(os.environ["CIM_MODELS"]) / hub_id.rpartition("/")[2]] if os.environ.get("CIM_MODELS") else []
    places = [*own, *_cached(hub_id)]
    return next((place for place in places if (place / WEIGHTS).is_file() and (place / CONFIG).is_file()), None)


def _cached(hub_id: str) -> list[Path]:
    if importlib.util.find_spec("huggingface_hub") is None:
        return []
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub_id, WEIGHTS)
    return [Path(found).parent] if isinstance(found, str) else []


def _missing(hub_id: str) -> str | None:
    if lacking := [name for name in ("torch", "open_clip") if importlib.util.find_spec(name) is None]:
        return f"{', '.join(lacking)} not installed; run `make setup-models`"
    if _folder(hub_id) is None:
        place = f"set CIM_MODELS to a folder that holds {hub_id.rpartition('/')[2]}/"
        return f"the weights {hub_id} are not on this machine; run `hf download {hub_id}`, or {place}"
    return None


@cache
def _sha256(path: Path, size: int, changed: int) -> str:
    return data.sha256(path)


def _settings(hub_id: str) -> dict[str, str]:
    place, sha = _folder(hub_id), "not here"
    if place is not None:
        facts = (place / WEIGHTS).stat()
        sha = _sha256(place / WEIGHTS, facts.st_size, facts.st_mtime_ns)
    package = importlib.util.find_spec("open_clip") and importlib.metadata.version("open_clip_torch")
    return {"weights": f"{hub_id}@{sha[:16]}", "precision": "float32", "open_clip": str(package)}


@contextmanager
def _session(hub_id: str, kind: str) -> Iterator[Encode]:
    import open_clip
    import torch

    if reason := _missing(hub_id):
        raise CimError(reason)
    device, place = "cuda" if torch.cuda.is_available() else "cpu", f"local-dir:{_folder(hub_id)}"
    model, _, transform = open_clip.create_model_and_transforms(place, precision="fp32", device=device)
    model.eval()
    if kind == "text":
        yield partial(_texts, model, open_clip.get_tokenizer(place), device)
    else:
        yield partial(_images, model, transform, device)


def _texts(model: Any, tokens: Any, device: str, texts: Sequence[str]) -> Iterator[Vectors]:
    import torch

    rest = iter(texts)
    while part := list(islice(rest, BATCH)):
        with torch.inference_mode():
            yield from model.encode_text(tokens(part).to(device), normalize=True).float().cpu().numpy()


def _images(model: Any, transform: Any, device: str, paths: Sequence[str]) -> Iterator[Vectors]:
    import torch

    rest = iter(paths)
    while part := list(islice(rest, BATCH)):
        pixels = torch.stack([_pixels(path, transform) for path in part])
        with torch.inference_mode():
            yield from model.encode_image(pixels.to(device), normalize=True).float().cpu().numpy()


def _pixels(path: str, transform: Any) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return transform(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise CimError(f"is no image that can be read ({error})", where=path) from error
