"""The tiny dual encoder of miniscenes: captions and pictures as unit vectors of one space, for galleries and CIM.

Both sides add up their parts, so that a vector is close to another by each detail that both hold: a picture is the
sum over the nine cells of what mini-base's frozen vision tower sees there; a caption the sum over its words, each
read together with its neighbours by two convolutions ("a red ring in the upper left" binds colour and place to the
noun). Trained by contrast in ``train_encoders.py``; weights in ``weights/encoder``, under half a million parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.miniscenes import network

FOLDER = Path(__file__).parent / "weights" / "encoder"
TOWER = Path(__file__).parent / "weights" / "mini-base"
FILE, MANIFEST = "model.safetensors", "manifest.json"
WIDTH, INNER, SPACE = 96, 256, 128
REACH, LAYERS, LONGEST = 7, 2, 64  # words that a convolution sees together, convolutions, words that are read
WORDS = {word: number for number, word in enumerate(["<none>", *network.words()])}


class TextSide(nn.Module):  # type: ignore[misc]  # torch is Any to mypy
    """Word numbers (n, length), 0 for none, to unit vectors (n, SPACE)."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(len(WORDS), WIDTH, padding_idx=0)
        self.near = nn.ModuleList(nn.Conv1d(WIDTH, WIDTH, REACH, padding=REACH // 2) for _ in range(LAYERS))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(LAYERS))
        self.up, self.down = nn.Linear(WIDTH, INNER), nn.Linear(INNER, SPACE)

    def forward(self, numbers: Tensor) -> Tensor:
        """Unit vectors; padding changes nothing."""
        there = (numbers != 0).float()[..., None]
        hidden = self.words(numbers)
        for near, norm in zip(self.near, self.norms, strict=True):
            seen = near((norm(hidden) * there).transpose(1, 2)).transpose(1, 2)
            hidden = (hidden + functional.gelu(seen)) * there
        return functional.normalize(self.down((functional.gelu(self.up(hidden)) * there).sum(1)), dim=-1)


class ImageSide(nn.Module):  # type: ignore[misc]  # torch is Any to mypy
    """Visual tokens (n, 9, width of the tower) to unit vectors (n, SPACE)."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.Sequential(
            *(nn.LayerNorm(network.WIDTH), nn.Linear(network.WIDTH, INNER), nn.GELU(), nn.Linear(INNER, INNER)),
            nn.GELU(),
        )
        self.down = nn.Linear(INNER, SPACE)

    def forward(self, tokens: Tensor) -> Tensor:
        """Unit vectors."""
        return functional.normalize(self.down(self.cell(tokens).sum(1)), dim=-1)


class DualEncoder(nn.Module):  # type: ignore[misc]  # torch is Any to mypy
    """Both sides and the temperature that they were trained with."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.image = TextSide(), ImageSide()
        self.scale = nn.Parameter(torch.tensor(2.3))


def numbers(captions: Sequence[str]) -> Tensor:
    """Word numbers (n, longest) of captions; words outside the language are passed over, as are those past LONGEST."""
    rows = [[WORDS[word] for word in text.lower().split() if word in WORDS][:LONGEST] for text in captions]
    padded = torch.zeros(len(rows), max(1, max(map(len, rows), default=1)), dtype=torch.long)
    for at, row in enumerate(rows):
        padded[at, : len(row)] = torch.tensor(row, dtype=torch.long)
    return padded


def tower() -> Any:
    """mini-base, whose vision tower is the frozen eye of the encoder."""
    from transformers import Qwen3VLForConditionalGeneration, logging

    logging.disable_progress_bar()

    return Qwen3VLForConditionalGeneration.from_pretrained(
        TOWER, dtype=torch.float32, local_files_only=True, use_safetensors=True
    ).eval()


def load(folder: Path = FOLDER) -> DualEncoder:
    """The trained encoder, in float32."""
    from safetensors.torch import load_file

    encoder = DualEncoder()
    encoder.load_state_dict({name: value.float() for name, value in load_file(folder / FILE).items()})
    encoder.eval()
    return encoder


def seen(model: Any, pictures: Sequence[Any]) -> Tensor:
    """Visual tokens (n, 9, width of the tower) of pictures (48, 48, 3)."""
    from tasks.miniscenes.vision import features

    return features(model, np.stack(pictures))[0]
