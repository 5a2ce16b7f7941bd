"""Trains the tiny models from nothing on the CPU: dense vision pre-training, captions of everything, then terseness.

1. vision: every visual token names its cell and what it holds (fine name, colour, size, texture), all tokens together
   the background.
2. detailed: full captions, over frozen vision features. -> ``mini-detailed``
3. base: the same model made terse, so that it omits and sometimes misstates. -> ``mini-base``
Run with ``make mini-models``, or ``python -m tasks.miniscenes.train OUT``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from harness.metrics import _graphs
from tasks.miniscenes import draw, language, network, reading
from tasks.miniscenes.language import LEVELS, Level
from tasks.miniscenes.recipe import Recipe, Stage, descend
from tasks.miniscenes.vision import features, train_vision
from tasks.miniscenes.world import CELLS, Dice, Scene, scene

MANIFEST = "manifest.json"


def prefix() -> tuple[Tensor, Tensor]:
    """Prompt tokens up to where the caption begins, and where among them the visual tokens stand."""
    content = [{"type": "image"}, {"type": "text", "text": network.PROMPT}]
    words = network.tokenizer()
    text = words.apply_chat_template([{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True)
    pad = "<|image_pad|>"
    numbers = torch.tensor(words(text.replace(pad, pad * CELLS), add_special_tokens=False)["input_ids"])
    return numbers, numbers == words.convert_tokens_to_ids(pad)


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


def greedy(model: Any, scenes: Sequence[Scene], longest: int = 64) -> list[str]:
    """Greedy captions of scenes, by the way that every engine goes: pixels and the chat template's prompt in."""
    words, (prompt, visual) = network.tokenizer(), prefix()
    inputs = prompt.expand(len(scenes), -1)
    with torch.inference_mode():
        written = model.generate(
            input_ids=inputs,
            attention_mask=torch.ones_like(inputs),
            mm_token_type_ids=visual.long().expand(len(scenes), -1),
            pixel_values=network.patches(np.stack([draw.pixels(scene) for scene in scenes])),
            image_grid_thw=network.grid(len(scenes)),
            max_new_tokens=longest,
            do_sample=False,
        )
    texts: list[str] = words.batch_decode(written[:, len(prompt) :], skip_special_tokens=True)
    return texts


def quality(model: Any, count: int = 250) -> dict[str, float]:
    """F1 in percent, mean over validation scenes, of families, fine names, attributes and relations."""
    scenes = [scene("validation", number) for number in range(count)]
    shares: dict[str, list[float]] = {}
    for pictured, text in zip(scenes, greedy(model, scenes), strict=True):
        said, true = reading.read(text), language.graph(pictured)
        for part, claimed, actual in (
            ("objects", set(said.objects), set(true.objects)),
            ("fine_names", _graphs.names(said), _graphs.names(true)),
            ("attributes", _graphs.attributes(said), _graphs.attributes(true)),
            ("relations", set(said.relations), set(true.relations)),
        ):
            shares.setdefault(part, []).append(200 * len(claimed & actual) / max(1, len(claimed) + len(actual)))
    return {part: round(sum(values) / count, 2) for part, values in shares.items()}


def note(folder: Path, recipe: Recipe, measured: dict[str, float], seconds: float) -> None:
    """Write ``manifest.json`` beside a checkpoint: recipe, data, measured quality, and every file's sha256."""
    names = ("world.py", "language.py", "draw.py", "network.py", "recipe.py", "vision.py", "train.py")
    code = [Path(__file__).with_name(name) for name in names]
    content = {
        "recipe": asdict(recipe),
        "code": hashlib.sha256(b"".join(path.read_bytes() for path in code)).hexdigest(),
        "validation_f1": measured,
        "cpu_seconds": round(seconds),
        "torch": torch.__version__,
        "files": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.iterdir())
            if path.name != MANIFEST
        },
    }
    (folder / MANIFEST).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def train(recipe: Recipe, out: Path, say: Callable[[str], None]) -> None:
    """All stages; writes ``out/mini-detailed`` and ``out/mini-base``."""
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(1)
    start = time.process_time()
    model = network.network()
    scenes = [scene("train", number) for number in range(recipe.pool)]
    pictures = np.stack([draw.pixels(drawn) for drawn in scenes])
    say(f"pool of {recipe.pool} scenes, {time.process_time() - start:.0f} CPU s")
    train_vision(model, scenes, pictures, recipe, say)
    say(f"vision done, {time.process_time() - start:.0f} CPU s")
    seen = features(model, pictures)
    for name, level, stage in (
        ("mini-detailed", LEVELS["full"], recipe.detailed),
        ("mini-base", LEVELS["base"], recipe.base),
    ):
        train_captions(model, scenes, seen, level, stage, recipe, say)
        network.save(model, out / name)
        model.float()  # goes on from the rounded weights, which are the ones that are kept
        measured = quality(model.eval())
        note(out / name, recipe, measured, time.process_time() - start)
        say(f"{name}: {measured}, {time.process_time() - start:.0f} CPU s")
        model.train()


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
