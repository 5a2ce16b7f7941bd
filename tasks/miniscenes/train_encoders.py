"""Trains the dual encoder of miniscenes on the CPU by contrast: pictures against captions, captions against full ones.

Half of a batch are twins of the other half: the same scene with one detail changed, an object moved, two places
swapped, or every detail drawn again in the same layout, so that no detail can be passed over. Captions are of all
levels of detail. InfoNCE in both directions (CLIP, arXiv 2103.00020), one temperature. Run with
``make mini-models``, or ``python -m tasks.miniscenes.train_encoders OUT``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tasks.miniscenes import draw, dual_encoder, language
from tasks.miniscenes.language import LEVELS, Level
from tasks.miniscenes.recipe import Stage, descend
from tasks.miniscenes.vision import features
from tasks.miniscenes.world import BACKGROUNDS, CELLS, COLOURS, FAMILIES, SIZES, TEXTURES, Dice, Scene, Thing, scene

DETAILS = ("name", "colour", "size", "texture")
# What a twin changes, each as likely as another.
CHANGES = (*DETAILS, "colour", "background", "move", "move", "swap", "swap", "swap", "swap")


@dataclass(frozen=True, slots=True)
class EncoderRecipe:
    """Everything that decides the encoder's weights; ``redrawn`` is the share of twins with all details drawn again."""

    pool: int = 12_000
    stage: Stage = field(default_factory=lambda: Stage(600, 256, 2e-3))
    redrawn: float = 0.3
    noise: float = 0.1
    seed: int = 0


def _choices(detail: str, thing: Thing) -> Sequence[str]:
    return {"name": FAMILIES[thing.family], "colour": COLOURS, "size": SIZES, "texture": TEXTURES}[detail]


def _other(detail: str, thing: Thing, dice: Dice) -> Thing:
    words = [word for word in _choices(detail, thing) if word != getattr(thing, detail)]
    return _with(thing, {detail: dice.choose(words)})


def _with(thing: Thing, changed: Mapping[str, Any]) -> Thing:
    return replace(thing, **changed)


def _redrawn(thing: Thing, dice: Dice) -> Thing:
    changed = {detail: dice.choose(_choices(detail, thing)) for detail in DETAILS if dice.chance(0.5)}
    return _with(thing, changed)


def twin(scene: Scene, redrawn: float, dice: Dice) -> Scene:
    """A scene like this one but for one change, or for all details of its objects."""
    name, things = f"{scene.id}_twin", list(scene.things)
    if dice.chance(redrawn):
        return Scene(name, tuple(_redrawn(thing, dice) for thing in things), scene.background)
    change, at = dice.choose(CHANGES), dice.number(len(things))
    if change == "background":
        return Scene(name, scene.things, dice.choose([word for word in BACKGROUNDS if word != scene.background]))
    if change == "move":
        free = [cell for cell in range(CELLS) if cell not in [thing.cell for thing in things]]
        things[at] = replace(things[at], cell=dice.choose(free))
    elif change == "swap":
        other = (at + 1) % len(things)
        first, second = things[at].cell, things[other].cell
        things[at], things[other] = replace(things[at], cell=second), replace(things[other], cell=first)
    else:
        things[at] = _other(change, things[at], dice)
    return Scene(name, tuple(things), scene.background)


def contrast(first: Tensor, second: Tensor, scale: Tensor) -> Tensor:
    """Symmetric InfoNCE of unit vectors (n, d) that belong together row by row."""
    scores, right = scale * first @ second.T, torch.arange(len(first))
    return (functional.cross_entropy(scores, right) + functional.cross_entropy(scores.T, right)) / 2


def _level(dice: Dice) -> Level:
    return language.random_level(dice) if dice.number(4) else LEVELS["full"]


def _captions(scenes: Sequence[Scene], level: Callable[[Dice], Level], dice: Dice) -> Tensor:
    return dual_encoder.numbers([language.caption(scene, level(dice), dice) for scene in scenes])


def train(recipe: EncoderRecipe, say: Callable[[str], None]) -> dual_encoder.DualEncoder:
    """The trained encoder, ready to encode."""
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(1)
    dice, start = Dice(f"encoder/{recipe.seed}"), time.process_time()
    scenes = [scene("train", number) for number in range(recipe.pool)]
    scenes += [twin(drawn, recipe.redrawn, dice) for drawn in scenes]
    seen = features(dual_encoder.tower(), np.stack([draw.pixels(drawn) for drawn in scenes]))[0].clone()
    say(f"pool of {len(scenes)} scenes, {time.process_time() - start:.0f} CPU s")
    model, spread = dual_encoder.DualEncoder(), recipe.noise * seen.std()

    def loss() -> Tensor:
        half = torch.randint(recipe.pool, (recipe.stage.batch // 2,))
        rows = torch.cat([half, half + recipe.pool])
        chosen = [scenes[row] for row in rows.tolist()]
        tokens = seen[rows]
        pictures = model.image(tokens + spread * torch.randn_like(tokens))
        some = model.text(_captions(chosen, _level, dice))
        full = model.text(_captions(chosen, lambda _: LEVELS["full"], dice))
        scale = model.scale.exp().clamp(max=60)
        return contrast(some, pictures, scale) + contrast(some, full, scale)

    for step, value in enumerate(descend(list(model.parameters()), recipe.stage, 0.05, loss)):
        if step % 50 == 0 or step == recipe.stage.steps - 1:
            say(f"encoder {step}: loss {value:.3f}, {time.process_time() - start:.0f} CPU s")
    model.eval()
    return model


def recall(model: dual_encoder.DualEncoder, level: Level, count: int = 400) -> float:
    """Share of validation captions of a level, in percent, that are closest to their own picture among all."""
    scenes, dice = [scene("validation", number) for number in range(count)], Dice("recall")
    with torch.inference_mode():
        pictures = model.image(features(dual_encoder.tower(), np.stack([draw.pixels(drawn) for drawn in scenes]))[0])
        texts = model.text(_captions(scenes, lambda _: level, dice))
    return 100 * float(((texts @ pictures.T).argmax(1) == torch.arange(count)).float().mean())


def save(model: dual_encoder.DualEncoder, folder: Path, recipe: EncoderRecipe, seconds: float) -> None:
    """Write weights in bfloat16 and their manifest: recipe, code, measured quality, sums."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: value.to(torch.bfloat16).contiguous() for name, value in model.state_dict().items()}
    save_file(kept, folder / dual_encoder.FILE)
    code = [Path(__file__).with_name(name) for name in ("world.py", "language.py", "draw.py", "dual_encoder.py")]
    rounded = dual_encoder.load(folder)
    content = {
        "recipe": asdict(recipe),
        "code": hashlib.sha256(b"".join(path.read_bytes() for path in (*code, Path(__file__)))).hexdigest(),
        "recall_at_1_of_400": {name: round(recall(rounded, level), 2) for name, level in LEVELS.items()},
        "cpu_seconds": round(seconds),
        "torch": torch.__version__,
        "tower": hashlib.sha256((dual_encoder.TOWER / "model.safetensors").read_bytes()).hexdigest(),
        "files": {dual_encoder.FILE: hashlib.sha256((folder / dual_encoder.FILE).read_bytes()).hexdigest()},
    }
    (folder / dual_encoder.MANIFEST).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Train with the default recipe; writes OUT/encoder."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("out", type=Path)
    given = arguments.parse_args()
    start, recipe = time.process_time(), EncoderRecipe()

    def say(line: str) -> None:
        sys.stderr.write(line + "\n")

    model = train(recipe, say)
    save(model, given.out / "encoder", recipe, time.process_time() - start)
    return 0


if __name__ == "__main__":
    sys.exit(main())
