"""Image encoders of the DINO family by transformers: the class token after the last norm, L2.

``pooler_output`` is that token in ``Dinov2Model`` and ``DINOv3ViTModel`` (transformers 5.17,
``modeling_dinov2.py``, ``modeling_dinov3_vit.py``); DINOv2's own k-NN evaluation compares images by it
(facebookresearch/dinov2:dinov2/eval/knn.py). Patch tokens are left out. Pixels are made by the checkpoint's own image
processor, RGB, float32. There is no text tower: captions of a gallery are encoded by another encoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.encoders._weights import Tower, batches
from harness.images import open_image
from harness.parts import Encode, Encoder
from harness.resources import pretrained

if TYPE_CHECKING:
    from harness.parts import Vectors

FILES = ("model.safetensors", "config.json", "preprocessor_config.json")


def encoder(name: str, hub_id: str) -> Encoder:
    """The encoder of a checkpoint."""
    tower = Tower(hub_id, FILES, "transformers", "transformers", (("pooling", "class token, L2"),))
    return Encoder(name, tower.settings, partial(_session, tower), missing=tower.missing, kind="image")


@contextmanager
def _session(tower: Tower) -> Iterator[Encode]:
    import torch
    from transformers import AutoImageProcessor, AutoModel

    options = {"local_files_only": True, "trust_remote_code": False}
    place = tower.require()
    with pretrained.device() as device:
        model = AutoModel.from_pretrained(place, dtype=torch.float32, use_safetensors=True, **options)
        pixels = AutoImageProcessor.from_pretrained(place, **options)
        yield partial(_images, model.to(device).eval(), pixels, device)


def _images(model: Any, pixels: Any, device: str, paths: Sequence[str]) -> Iterator[Vectors]:
    import torch

    def read(path: str) -> Any:
        return pixels(images=open_image(Path(path), path), return_tensors="pt")["pixel_values"]

    def encode(part: list[Any]) -> Any:
        values = torch.cat(part).to(device)
        return torch.nn.functional.normalize(model(pixel_values=values).pooler_output, dim=1)

    return batches(paths, encode, read=read)
