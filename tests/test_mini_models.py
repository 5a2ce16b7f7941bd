"""The tiny models: trained with what engines will give them, whole, and able to see."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from tasks.miniscenes import draw, samples, world
from tests.cli import Cim, captions_file
from tests.conftest import ROOT

pytest.importorskip("torch", reason="torch is not installed: run `make setup-models`")
pytest.importorskip("transformers", reason="transformers is not installed: run `make setup-models`")

WEIGHTS = ROOT / "tasks" / "miniscenes" / "weights"
SCENES = [world.scene("test", number) for number in range(3)]


@pytest.mark.parametrize("name", ["mini-base", "mini-detailed"])
def test_committed_weights_are_those_of_their_manifest(name: str) -> None:
    noted = json.loads((WEIGHTS / name / "manifest.json").read_text())
    there = {path.name for path in (WEIGHTS / name).iterdir()} - {"manifest.json"}
    assert set(noted["files"]) == there
    for file, digest in noted["files"].items():
        assert hashlib.sha256((WEIGHTS / name / file).read_bytes()).hexdigest() == digest
    assert noted["validation_f1"]["objects"] > 75 and noted["recipe"]["seed"] == 0
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*")) < 8e6


def test_training_sees_what_the_processor_gives() -> None:
    """Patches, prompt tokens and rotary positions of training are those of transformers, bit for bit or to rounding."""
    import torch
    from PIL import Image

    from tasks.miniscenes import network, train

    pictures = np.stack([draw.pixels(scene) for scene in SCENES])
    processor = network.processor()
    content = [
        [{"type": "image", "image": Image.fromarray(p)}, {"type": "text", "text": network.PROMPT}] for p in pictures
    ]
    given = processor.apply_chat_template(
        [[{"role": "user", "content": part}] for part in content],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True},
    )
    prompt, visual = train.prefix()
    assert torch.allclose(network.patches(pictures), given["pixel_values"], atol=1e-6)
    assert torch.equal(network.grid(3), given["image_grid_thw"])
    assert all(torch.equal(row, prompt) for row in given["input_ids"])
    model = network.network()
    tokens = torch.cat([given["input_ids"], torch.full((3, 5), 9)], dim=1)
    kinds = torch.cat([given["mm_token_type_ids"], torch.zeros(3, 5, dtype=torch.long)], dim=1)
    positions, _ = model.model.get_rope_index(tokens, mm_token_type_ids=kinds, image_grid_thw=given["image_grid_thw"])
    assert torch.equal(positions, train.positions(visual, tokens.shape[1]).expand(-1, 3, -1))


def test_the_training_loss_is_the_models_own() -> None:
    import torch

    from tasks.miniscenes import network, train, vision

    torch.manual_seed(1)
    model = network.network().eval()
    pictures = np.stack([draw.pixels(scene) for scene in SCENES])
    captions = network.token_numbers(["a red ring .", "a blue bar .", "a red bowl ."])
    prompt, visual = train.prefix()
    tokens = torch.cat([prompt.expand(3, -1), torch.tensor(captions)], dim=1)
    labels = torch.cat([torch.full((3, len(prompt)), -100), torch.tensor(captions)], dim=1)
    kinds = torch.cat([visual.long().expand(3, -1), torch.zeros(3, len(captions[0]), dtype=torch.long)], dim=1)
    with torch.no_grad():
        whole = model(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            mm_token_type_ids=kinds,
            pixel_values=network.patches(pictures),
            image_grid_thw=network.grid(3),
            labels=labels,
        ).loss
        ours = train.caption_loss(model, *vision.see(model, pictures), captions)
    assert float(ours) == pytest.approx(float(whole), abs=1e-5)


def test_every_word_has_a_number() -> None:
    from tasks.miniscenes import network

    known = set(network.words())
    assert all(set(samples.reference(world.scene("train", n)).split()) <= known for n in range(300))


def test_a_few_steps_of_every_stage_learn(tmp_path: Path) -> None:
    """Plumbing: all stages run, the losses fall, the checkpoints load; no claim about quality."""
    from tasks.miniscenes import train
    from tasks.miniscenes.recipe import Recipe, Stage

    recipe = Recipe(pool=64, vision=Stage(12, 32, 3e-3), detailed=Stage(12, 16, 3e-3), base=Stage(3, 16, 1e-3))
    said: list[str] = []
    train.train(recipe, tmp_path, said.append)
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in said if "loss" in line]
    assert losses[1] < losses[0] and losses[3] < losses[2]
    assert (tmp_path / "mini-base" / "model.safetensors").is_file()


def test_mini_models_see_through_the_engine(cim: Cim) -> None:
    """Through `cim eval`: the detailed one names what is there, the base one leaves out."""
    metrics = "objects,attributes,fine_names,relation_qa,statements,length"
    arguments = ("--metrics", metrics, "--limit", "60", "--draws", "0", "--json")
    detailed, base = cim("eval", "--model", "mini-detailed,mini-base", *arguments).json
    values = {report["model"]: {s["metric"]: s["values"] for s in report["scores"]} for report in (detailed, base)}
    assert values["mini-detailed"]["objects"]["f1"] >= 75
    assert values["mini-detailed"]["objects"]["f1"] > values["mini-base"]["objects"]["f1"]
    assert values["mini-detailed"]["fine_names"]["f1"] > values["mini-base"]["fine_names"]["f1"] + 20
    assert values["mini-detailed"]["statements"]["share_true"] > values["mini-base"]["statements"]["share_true"] + 5
    assert values["mini-detailed"]["length"]["words"] > 2 * values["mini-base"]["length"]["words"]


def test_captions_of_other_images_lose_their_points(cim: Cim, tmp_path: Path) -> None:
    """mini-detailed's own captions, each given to the next image: it does look at the picture."""
    arguments = ("--metrics", "objects,attributes", "--draws", "0", "--json")
    right = cim("eval", "--model", "mini-detailed", "--limit", "120", *arguments).json["scores"]
    rows = (cim.results / "miniscenes" / "mini-detailed" / "captions.jsonl").read_text().splitlines()
    written = {row["sample_id"]: row["caption"] for row in map(json.loads, rows)}
    names = sorted(written)
    shifted = {name: written[other] for name, other in zip(names, [*names[1:], names[0]], strict=True)}
    path = captions_file(tmp_path / "shifted.jsonl", shifted)
    other = cim("eval", "--model", path, "--partial", *arguments).json["scores"]
    for right_score, two in zip(right, other, strict=True):
        assert two["values"]["f1"] < right_score["values"]["f1"] - 15
