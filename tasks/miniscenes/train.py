"""Trains the tiny models from nothing on the CPU: dense vision pre-training, captions of everything, then terseness.

1. vision: every visual token names what its cell holds (fine name, colour, size, texture), all tokens the background.
2. detailed: full captions, over frozen vision features. -> ``mini-detailed``
3. base: the same model made terse, so that it omits and sometimes misstates. -> ``mini-base``
Run with ``make mini-models``, or ``python -m tasks.miniscenes.train OUT``.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.miniscenes import draw, language, network
from tasks.miniscenes.language import LEVELS, Level
from tasks.miniscenes.world import BACKGROUNDS, CELLS, COLOURS, FAMILIES, SIZES, TEXTURES, Dice, Scene, scene

NAMES = [name for names in FAMILIES.values() for name in names]
HEADS = {"name": len(NAMES) + 1, "colour": len(COLOURS) + 1, "size": len(SIZES) + 1, "texture": len(TEXTURES) + 1}
TERSE = LEVELS["base"]


@dataclass(frozen=True, slots=True)
class Stage:
    """Steps, batch and peak learning rate of one stage; cosine to 3 %, warm-up 20 steps, clip 1."""

    steps: int
    batch: int
    rate: float


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the weights, with the seed."""

    pool: int = 12_000
    vision: Stage = Stage(500, 128, 3e-3)
    detailed: Stage = Stage(900, 96, 3e-3)
    base: Stage = Stage(150, 96, 1e-3)
    pixel_noise: float = 0.05
    feature_noise: float = 0.05
    seed: int = 0


def descend(
    parameters: Sequence[nn.Parameter], stage: Stage, decay: float, loss: Callable[[], Tensor]
) -> Iterator[float]:
    """AdamW over ``stage.steps`` losses; yields each loss."""
    optimiser = torch.optim.AdamW(parameters, lr=stage.rate, weight_decay=decay, betas=(0.9, 0.98))
    for step in range(stage.steps):
        rate = min(1.0, (step + 1) / 20) * (0.03 + 0.97 * (1 + math.cos(math.pi * step / stage.steps)) / 2)
        for group in optimiser.param_groups:
            group["lr"] = stage.rate * rate
        value = loss()
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        yield float(value.detach())


def cell_labels(scenes: Sequence[Scene]) -> dict[str, Tensor]:
    """What each cell holds (n, 9), 0 for nothing, one tensor a head; and the background (n,)."""
    labels = {head: torch.zeros(len(scenes), CELLS, dtype=torch.long) for head in HEADS}
    for at, made in enumerate(scenes):
        for thing in made.things:
            values = (NAMES.index(thing.name), COLOURS.index(thing.colour), SIZES.index(thing.size))
            for head, value in zip(HEADS, (*values, TEXTURES.index(thing.texture)), strict=True):
                labels[head][at, thing.cell] = value + 1
    labels["background"] = torch.tensor([BACKGROUNDS.index(made.background) for made in scenes])
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
    sizes = {**HEADS, "background": len(BACKGROUNDS)}
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


def prefix() -> tuple[Tensor, Tensor]:
    """Prompt tokens up to where the caption begins, and where among them the visual tokens stand."""
    content = [{"type": "image"}, {"type": "text", "text": network.PROMPT}]
    made = network.tokenizer()
    text = made.apply_chat_template([{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True)
    pad = "<|image_pad|>"
    numbers = torch.tensor(made(text.replace(pad, pad * CELLS), add_special_tokens=False)["input_ids"])
    return numbers, numbers == made.convert_tokens_to_ids(pad)


def positions(visual: Tensor, length: int) -> Tensor:
    """Rotary positions (3, 1, length) of a prompt and its caption, as ``Qwen3VLModel.get_rope_index`` gives them."""
    first, side = int(visual.nonzero()[0]), math.isqrt(CELLS)
    before = torch.arange(first).expand(3, -1)
    cells = torch.stack(
        [torch.zeros(CELLS, dtype=torch.long), *(torch.arange(CELLS) // side, torch.arange(CELLS) % side)]
    )
    after = torch.arange(length - first - CELLS).expand(3, -1) + first + side
    return torch.cat([before, cells + first, after], dim=1)[:, None]


def caption_loss(model: Any, tokens: Tensor, deep: Tensor, captions: Sequence[list[int]]) -> Tensor:
    """Mean cross entropy of caption tokens after the prompt with these visual tokens."""
    prompt, visual = prefix()
    longest = max(map(len, captions))
    padded = torch.full((len(captions), longest), -100)
    for at, caption in enumerate(captions):
        padded[at, : len(caption)] = torch.tensor(caption)
    inputs = torch.cat([prompt.expand(len(captions), -1), padded.clamp(min=0)[:, :-1]], dim=1)
    embedded = model.model.language_model.embed_tokens(inputs)
    mask = torch.zeros_like(inputs, dtype=torch.bool)
    mask[:, : len(prompt)] = visual
    embedded = embedded.masked_scatter(mask[..., None], tokens)
    hidden = model.model.language_model(
        inputs_embeds=embedded,
        position_ids=positions(visual, inputs.shape[1]).expand(-1, len(captions), -1),
        visual_pos_masks=mask,
        deepstack_visual_embeds=[deep.flatten(0, 1)],
        use_cache=False,
    ).last_hidden_state
    scores = model.lm_head(hidden[:, len(prompt) - 1 :])
    return functional.cross_entropy(scores.flatten(0, 1), padded.flatten())


def train_captions(
    model: Any,
    scenes: Sequence[Scene],
    seen: tuple[Tensor, Tensor],
    level: Level,
    stage: Stage,
    recipe: Recipe,
    say: Callable[[str], None],
) -> None:
    """Stages 2 and 3: captions of a level over frozen visual tokens; new wording each time a scene comes."""
    dice, bucket = Dice(f"captions/{recipe.seed}/{level}"), list[tuple[list[int], int]]()

    def loss() -> Tensor:
        if not bucket:  # captions of about one length together, so that little is padded
            chosen = [dice.number(len(scenes)) for _ in range(8 * stage.batch)]
            texts = [language.caption(scenes[at], level, dice) for at in chosen]
            ordered = sorted(zip(network.token_numbers(texts), chosen, strict=True), key=lambda pair: len(pair[0]))
            groups = [ordered[at : at + stage.batch] for at in range(0, len(ordered), stage.batch)]
            bucket.extend(pair for group in dice.sample(groups, len(groups)) for pair in group)
        batch, rows = bucket[: stage.batch], [at for _, at in bucket[: stage.batch]]
        del bucket[: stage.batch]
        tokens, deep = (part[rows] for part in seen)
        noise = recipe.feature_noise
        tokens, deep = (part + noise * torch.randn_like(part) * part.std() for part in (tokens, deep))
        return caption_loss(model, tokens, deep, [caption for caption, _ in batch])

    parameters = list(model.model.language_model.parameters())
    for step, value in enumerate(descend(parameters, stage, 0.01, loss)):
        if step % 50 == 0 or step == stage.steps - 1:
            say(f"captions {step}: loss {value:.3f}")


def train(recipe: Recipe, out: Path, say: Callable[[str], None]) -> None:
    """All stages; writes ``out/mini-detailed`` and ``out/mini-base``."""
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(1)
    start = time.process_time()
    model = network.network()
    scenes = [scene("train", number) for number in range(recipe.pool)]
    pictures = np.stack([draw.pixels(made) for made in scenes])
    say(f"pool of {recipe.pool} scenes, {time.process_time() - start:.0f} CPU s")
    train_vision(model, scenes, pictures, recipe, say)
    say(f"vision done, {time.process_time() - start:.0f} CPU s")
    seen = features(model, pictures)
    for name, level, stage in (("mini-detailed", LEVELS["full"], recipe.detailed), ("mini-base", TERSE, recipe.base)):
        train_captions(model, scenes, seen, level, stage, recipe, say)
        network.save(model, out / name)
        model.float()
        say(f"{name} done, {time.process_time() - start:.0f} CPU s")


def main() -> int:
    """Train with the default recipe."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("out", type=Path)
    given = arguments.parse_args()

    def say(line: str) -> None:
        sys.stderr.write(line + "\n")

    train(Recipe(), given.out, say)
    return 0


if __name__ == "__main__":
    sys.exit(main())
