"""Dense vision pre-training: every visual token learns to name its cell and what stands in it.

Without it a captioner this small writes one caption for all images. The heads are thrown away afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.miniscenes import network
from tasks.miniscenes.recipe import Recipe, descend
from tasks.miniscenes.world import BACKGROUNDS, CELLS, COLOURS, FAMILIES, SIZES, TEXTURES, Scene

NAMES = [name for names in FAMILIES.values() for name in names]
HEADS = {"name": len(NAMES) + 1, "colour": len(COLOURS) + 1, "size": len(SIZES) + 1, "texture": len(TEXTURES) + 1}


def cell_labels(scenes: Sequence[Scene]) -> dict[str, Tensor]:
    """What each cell holds (n, 9), 0 for nothing, one tensor a head; which cell it is; the background (n,)."""
    labels = {head: torch.zeros(len(scenes), CELLS, dtype=torch.long) for head in HEADS}
    labels["cell"] = torch.arange(CELLS).expand(len(scenes), -1)
    for at, scene in enumerate(scenes):
        for thing in scene.things:
            values = (NAMES.index(thing.name), COLOURS.index(thing.colour), SIZES.index(thing.size))
            for head, value in zip(HEADS, (*values, TEXTURES.index(thing.texture)), strict=True):
                labels[head][at, thing.cell] = value + 1
    labels["background"] = torch.tensor([BACKGROUNDS.index(scene.background) for scene in scenes])
    return labels


def see(model: Any, pictures: np.ndarray, noise: float = 0.0) -> tuple[Tensor, Tensor]:
    """Visual tokens and their deep-stack companions, each (n, 9, width)."""
    patches = network.patches(pictures)
    patches = patches + noise * torch.randn_like(patches) if noise else patches
    seen = model.model.visual(patches, grid_thw=network.grid(len(pictures)), return_dict=True)
    top, deep = seen.pooler_output, seen.deepstack_features[0]
    return top.reshape(len(pictures), CELLS, -1), deep.reshape(len(pictures), CELLS, -1)


def probe() -> nn.ModuleDict:
    """Linear heads on visual tokens, for pre-training only; not part of the checkpoint."""
    sizes = {**HEADS, "cell": CELLS, "background": len(BACKGROUNDS)}
    return nn.ModuleDict({head: nn.Linear(network.WIDTH, size) for head, size in sizes.items()})


def read_out(probe: nn.ModuleDict, tokens: Tensor) -> dict[str, Tensor]:
    """Scores of every head (n, 9, classes), and of the background (n, classes) from the mean token."""
    return {head: layer(tokens.mean(1) if head == "background" else tokens) for head, layer in probe.items()}


def probe_loss(scores: dict[str, Tensor], labels: dict[str, Tensor]) -> Tensor:
    """Sum of the heads' cross entropies."""
    return torch.stack(
        [functional.cross_entropy(scores[head].flatten(0, -2), labels[head].flatten()) for head in labels]
    ).sum()


def train_vision(
    model: Any, scenes: Sequence[Scene], pictures: np.ndarray, recipe: Recipe, say: Callable[[str], None]
) -> None:
    """Stage 1: both outputs of the vision tower learn to name what stands in their cell."""
    probes, labels = nn.ModuleList([probe(), probe()]), cell_labels(scenes)
    generator = torch.Generator().manual_seed(recipe.seed)

    def loss() -> Tensor:
        chosen = torch.randint(len(scenes), (recipe.vision.batch,), generator=generator)
        tokens = see(model, pictures[chosen.numpy()], recipe.pixel_noise)
        wanted = {head: values[chosen] for head, values in labels.items()}
        return probe_loss(read_out(probes[0], tokens[0]), wanted) + 0.5 * probe_loss(
            read_out(probes[1], tokens[1]), wanted
        )

    parameters = [*model.model.visual.parameters(), *probes.parameters()]
    for step, value in enumerate(descend(parameters, recipe.vision, 0.02, loss)):
        if step % 50 == 0 or step == recipe.vision.steps - 1:
            with torch.inference_mode():
                scores = read_out(probes[0], see(model, pictures[:256])[0])
            held = labels["name"][:256] > 0
            right = (scores["name"].argmax(-1) == labels["name"][:256])[held].float().mean()
            say(f"vision {step}: loss {value:.3f}, fine names of cells {right:.3f}")


def features(model: Any, pictures: np.ndarray) -> tuple[Tensor, Tensor]:
    """``see`` over a pool, in batches."""
    with torch.inference_mode():
        parts = [see(model, pictures[at : at + 256]) for at in range(0, len(pictures), 256)]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
