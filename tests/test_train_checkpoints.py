"""Which checkpoint is chosen, what a model.toml says, which prompts are left out: without training anything."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import CimError
from harness.models import model_file
from harness.train import checkpoints, inheritance, layouts, reward
from harness.weights import Sampling, Weights
from tests import tiny_models
from tests.training import healthy, material, tiny


def saved(folder: Path, *steps: int) -> Path:
    """A run's folder of checkpoints that hold a model.toml alone."""
    for step in steps:
        (folder / f"run-step{step}").mkdir()
        (folder / f"run-step{step}" / checkpoints.TOML).touch()
    return folder


def rows(**validated: tuple[float, float | None]) -> list[dict[str, Any]]:
    return [{"step": int(name[1:]), "reward": reward, "truth": true} for name, (reward, true) in validated.items()]


def test_the_highest_reward_whose_captions_stayed_true(tmp_path: Path) -> None:
    folder = saved(tmp_path, 10, 20, 30)
    validated = rows(s0=(1.0, 90.0), s10=(1.5, 89.5), s20=(1.9, 88.9), s30=(1.5, 92.0))
    chosen = checkpoints.choose(folder, validated)
    assert (chosen["checkpoint"], chosen["truth_kept"], chosen["last"]) == ("run-step10", True, "run-step30")
    assert chosen["split"] == "validation" and chosen["candidates"] == 3
    less_true = checkpoints.choose(folder, rows(s0=(1.0, 90.0), s10=(1.2, 80.0), s20=(1.9, 70.0)))
    assert less_true["checkpoint"] == "run-step10" and less_true["truth_kept"] is False
    unknown = checkpoints.choose(folder, rows(s0=(1.0, None), s10=(1.2, None), s20=(1.1, None)))
    assert unknown["checkpoint"] == "run-step10" and unknown["truth_kept"] is None


def test_without_validation_the_last_is_named_as_such(tmp_path: Path) -> None:
    assert checkpoints.choose(saved(tmp_path, 5, 10), []) == {
        "checkpoint": "run-step10",
        "step": 10,
        "criterion": "last",
        "split": "none",
    }
    with pytest.raises(CimError, match="no checkpoint was saved"):
        checkpoints.choose(tmp_path / "nothing", [])


def test_what_is_not_finished_counts_for_nothing(tmp_path: Path) -> None:
    folder = saved(tmp_path, 5)
    for name in layouts.PLAIN.needs:
        (folder / "run-step5" / name.replace("*", "")).touch()
    (folder / "checkpoint-12").mkdir()
    (folder / "checkpoint-12" / "model.safetensors").touch()
    assert checkpoints.resumable(folder, layouts.PLAIN) == (5, folder / "run-step5")
    assert checkpoints.drop_unfinished(folder) == [12] and not (folder / "checkpoint-12").exists()
    assert checkpoints.drop_unfinished(folder) == []


def test_a_model_file_says_where_a_checkpoint_comes_from(tmp_path: Path) -> None:
    """Quotes, control characters and empty tables survive the strict reader of models."""
    weights = Weights("x", system='say "what" you\nsee', sampling=Sampling(temperature=0.5), max_pixels=1000)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2_5_vl", "dtype": "float32"}')
    plan = tiny(tmp_path, tmp_path, material(validation=1), seed=3)
    model = replace(plan.options.model, name="base\x7f")
    plan = replace(plan, name='a "run"', weights=weights, options=replace(plan.options, model=model))
    (tmp_path / "model.toml").write_text(inheritance.model_toml(plan, 7, "./merged"))
    read = model_file.read(tmp_path / "model.toml")
    assert read["system"] == weights.system and read["checkpoint"] == "./merged" and read["tasks"] == ["miniscenes"]
    assert read["sampling"] == asdict(weights.sampling) and read["image"] == {"max_pixels": 1000}
    origin = {"run": 'a "run"', "base": "base\x7f", "task": "cim_rl", "preset": "mini", "seed": 3}
    assert read["training"] == {**origin, "rewards": ["grc", "qir"], "chosen_on": "validation", "step": 7}
    bare = replace(plan, weights=Weights("x"), options=replace(plan.options, model=replace(model, tasks=())))
    (tmp_path / "bare.toml").write_text(inheritance.model_toml(bare, 7, "."))
    assert "tasks" not in model_file.read(tmp_path / "bare.toml")


QWEN = {"model_type": "qwen2_5_vl", "dtype": "bfloat16", "vision_config": {"model_type": "qwen2_5_vl"}}
LLAVA = {"model_type": "llava", "dtype": "float16", "vision_config": {"model_type": "clip_vision_model"}}
LARGE = {**QWEN, "dtype": "float32", "text_config": {"hidden_size": 4096, "num_hidden_layers": 32}}


@pytest.mark.parametrize(
    ("content", "engine", "dtype", "runs"),
    [
        (QWEN, "vllm", "auto", ("vllm", "bfloat16")),
        (QWEN, "transformers", "float32", ("transformers", "float32")),
        (LARGE, "vllm", "auto", ("vllm", "bfloat16")),
        (LLAVA, "vllm", "bfloat16", ("transformers", "bfloat16")),
        (LLAVA, "transformers", "auto", ("transformers", "float16")),
    ],
)
def test_a_checkpoint_runs_as_its_start_model_does(
    content: dict[str, Any], engine: str, dtype: str, runs: tuple[str, str], tmp_path: Path
) -> None:
    """Engine and dtype are inherited; a family that vLLM cannot read as transformers saves it says so."""
    (tmp_path / "config.json").write_text(json.dumps(content))
    plan = tiny(tmp_path, tmp_path)
    weights = replace(plan.weights, dtype=dtype, thinking=False, vllm={"max_model_len": 99})
    model = replace(plan.options.model, engine=engine, weights=weights)
    plan = replace(plan, weights=weights, options=replace(plan.options, model=model))
    (tmp_path / "model.toml").write_text(inheritance.model_toml(plan, 7, "."))
    read = model_file.read(tmp_path / "model.toml")
    assert (read["engine"], read["dtype"], read["thinking"], read["vllm"]) == (*runs, False, {"max_model_len": 99})
    assert ("vLLM does not load a llava" in read["about"]) == (engine != runs[0])


def test_an_adapter_is_merged_in_the_dtype_of_its_base(tmp_path: Path) -> None:
    """A bfloat16 base: half the bytes, and each weight the float32 sum rounded once."""
    torch = pytest.importorskip("torch", reason="torch is not installed: run `make setup-train`")
    peft = pytest.importorskip("peft", reason="peft is not installed: run `make setup-train`")
    from safetensors.torch import load_file

    start, folder = tiny_models.build(tmp_path / "start", "qwen2_vl"), tmp_path / "adapter"
    base = checkpoints.load(str(start), str(start), "float32")
    adapted = peft.get_peft_model(base, checkpoints.adapter(base))
    torch.nn.init.normal_(adapted.base_model.model.model.language_model.layers[0].mlp.up_proj.lora_B.default.weight)
    adapted.save_pretrained(folder)
    weights, merged = Weights(str(start), digest="made-up"), dict[str, dict[str, Any]]()
    for dtype in ("float32", "bfloat16"):
        checkpoints.merge(weights, dtype, folder)
        merged[dtype] = load_file(folder / checkpoints.MERGED / "model.safetensors")
    assert {str(tensor.dtype) for tensor in merged["bfloat16"].values()} == {"torch.bfloat16"}
    before = load_file(start / "model.safetensors")
    changed = [name for name, tensor in before.items() if not torch.equal(tensor, merged["float32"][name])]
    (name,) = changed
    assert name.endswith("layers.0.mlp.up_proj.weight")
    once = (before[name].bfloat16().float() + merged["float32"][name] - before[name]).bfloat16()
    assert (once == merged["bfloat16"][name]).float().mean() > 0.99


def test_prompts_that_are_too_long_are_left_out() -> None:
    pytest.importorskip("datasets", reason="datasets is not installed: run `make setup-train`")
    from PIL import Image

    from harness.train import examples

    sizes = {"small": (10, 10), "large": (40, 10), "small too": (10, 10)}
    counted: list[tuple[int, int]] = []

    class Pictures(examples.Pictures):
        """Fake: images of known sizes."""

        def open(self, sample_id: str) -> Any:
            return Image.new("RGB", sizes[sample_id])

    def count(size: tuple[int, int]) -> int:
        counted.append(size)
        return size[0]

    kept = examples.short_enough(list(sizes), Pictures(lambda name: b""), count, 20)
    assert kept == ["small", "small too"] and counted == [(10, 10), (40, 10)]
    with pytest.raises(CimError, match="every prompt has more than 5 tokens, 10 at least"):
        examples.short_enough(list(sizes), Pictures(lambda name: b""), count, 5)


def test_an_image_over_the_limit_is_made_smaller_before_anyone_sees_it() -> None:
    pytest.importorskip("datasets", reason="datasets is not installed: run `make setup-train`")
    from harness.train import examples
    from tests.training import picture

    assert examples.Pictures(picture).open("train_000000").size == (48, 48)
    assert examples.Pictures(picture, max_pixels=24 * 24).open("train_000000").size == (24, 24)


def test_what_several_processes_scored_is_one_batch() -> None:
    first, other = healthy(1), healthy(2)
    both = reward.joined([first, other])
    assert len(both.captions) == 64 and both.captions[32:] == other.captions and both.group == first.group
    assert np.array_equal(both.reward, np.concatenate([first.reward, other.reward]))
    assert both.batch.rows.shape == (64, 3) and reward.joined([first]) is first


def test_rewards_and_weights_are_read() -> None:
    assert reward.weights_of("cim") == {"grc": 1.0, "qir": 1.0} == reward.weights_of("grc, qir")
    assert reward.weights_of("cim=0.5,length=-0.1") == {"grc": 0.5, "qir": 0.5, "length": -0.1}
    for wrong in ("", "grc=nan", "grc=", "cim,grc"):
        with pytest.raises(CimError):
            reward.weights_of(wrong)
