"""Encoders of OpenCLIP checkpoints: the image tower with its validation transform, and the text tower.

A checkpoint is a folder with ``open_clip_config.json`` and ``open_clip_model.safetensors``, as its page on the Hugging
Face hub holds. Images are opened as RGB (``harness/images.py``) and encoded in float32, as
Jia-hn/CIM:preprocess/embedding_*_image.py@870f58f5 does; the embedding is the one that the model compares with texts,
for SigLIP that of its attention pooling.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.encoders._weights import Tower, batches
from harness.images import open_image
from harness.parts import Encode, Encoder
from harness.resources import devices

if TYPE_CHECKING:
    from harness.parts import Vectors

FILES = ("open_clip_model.safetensors", "open_clip_config.json")


def encoder(name: str, hub_id: str, kind: Literal["text", "image"], text_tower: str | None = None) -> Encoder:
    """The encoder of one tower of a checkpoint."""
    tower = Tower(hub_id, FILES, "open_clip_torch", "open_clip")
    return Encoder(name, tower.settings, partial(_session, tower, kind), tower.missing, kind, text_tower)


@contextmanager
def _session(tower: Tower, kind: str) -> Iterator[Encode]:
    import open_clip

    device, place = devices.torch_device(), f"local-dir:{tower.require()}"
    model, _, transform = open_clip.create_model_and_transforms(place, precision="fp32", device=device)
    model.eval()
    if kind == "text":
        yield partial(_texts, model, open_clip.get_tokenizer(place), device)
    else:
        yield partial(_images, model, transform, device)


def _texts(model: Any, tokens: Any, device: str, texts: Sequence[str]) -> Iterator[Vectors]:
    return batches(texts, lambda part: model.encode_text(tokens(part).to(device), normalize=True))


def _images(model: Any, transform: Any, device: str, paths: Sequence[str]) -> Iterator[Vectors]:
    import torch

    def encode(part: list[Any]) -> Any:
        return model.encode_image(torch.stack(part).to(device), normalize=True)

    return batches(paths, encode, read=lambda path: transform(open_image(Path(path), path)))
