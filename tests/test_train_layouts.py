"""Checkpoints of FSDP and DeepSpeed: recognised, cleaned, refused by name; folders made by hand, nothing is trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import CimError
from harness.train import checkpoints, layouts

COMMON = ("model.safetensors", "model.toml", "scheduler.pt", "rng_state_0.pth", "rng_state_1.pth", "trainer_state.json")
# What each of them writes beside the model: accelerate 1.15 (utils/fsdp_utils.py), DeepSpeed 0.19 (runtime/engine.py).
FILES = {
    layouts.PLAIN: ("optimizer.pt",),
    layouts.FSDP: ("optimizer.bin", "pytorch_model_fsdp.bin"),
    layouts.FSDP_SHARDS: ("optimizer_0/.metadata", "optimizer_0/__0_0.distcp", "pytorch_model_fsdp_0/.metadata"),
    layouts.DEEPSPEED: ("latest", "zero_to_fp32.py", "global_step4/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"),
}
EACH = pytest.mark.parametrize("layout", FILES, ids=lambda layout: layout.name)


def saved(folder: Path, layout: layouts.Layout, *steps: int) -> Path:
    for step in steps:
        for name in (*COMMON, *FILES[layout]):
            path = folder / f"run-step{step}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return folder


@EACH
def test_a_layout_is_resumed_by_its_own_launch_alone(layout: layouts.Layout, tmp_path: Path) -> None:
    folder = saved(tmp_path, layout, 1, 2)
    assert checkpoints.resumable(folder, layout) == (2, folder / "run-step2")
    for other in layouts.LAYOUTS:
        if other is not layout:
            with pytest.raises(
                CimError, match=f"run-step2 was saved under {layout.name}, this launch has {other.name}"
            ):
                checkpoints.resumable(folder, other)


@EACH
def test_the_states_of_older_checkpoints_are_removed(layout: layouts.Layout, tmp_path: Path) -> None:
    folder = saved(tmp_path, layout, 1, 2, 3)
    checkpoints.forget_state(folder)
    left = sorted(path.name for path in (folder / "run-step1").iterdir())
    assert left == ["model.safetensors", "model.toml", "trainer_state.json"]
    assert all(layouts.layout_of(folder / f"run-step{step}") is layout for step in (2, 3))


@EACH
def test_a_checkpoint_that_lost_its_state_is_never_passed_over(layout: layouts.Layout, tmp_path: Path) -> None:
    """Going on from the one before would drop its rows and write over it."""
    folder = saved(tmp_path, layout, 1, 2)
    layouts.remove_state(folder / "run-step2")
    with pytest.raises(CimError, match="run-step2 has no optimiser state left"):
        checkpoints.resumable(folder, layout)
    (folder / "run-step2").rename(folder / "aside")
    assert checkpoints.resumable(folder, layout) == (1, folder / "run-step1")
    assert checkpoints.resumable(folder / "nothing", layout) is None


def test_a_launch_says_its_layout(tmp_path: Path) -> None:
    fsdp = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    whole = fsdp | {"FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT"}
    zero = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}
    assert layouts.of_launch("MULTI_GPU", {}) is layouts.PLAIN
    assert layouts.of_launch("MULTI_GPU", whole) is layouts.FSDP
    assert layouts.of_launch("MULTI_GPU", fsdp | {"FSDP_VERSION": "1"}) is layouts.FSDP
    assert layouts.of_launch("NO", fsdp) is layouts.PLAIN, "accelerate shards nothing over one process"
    assert layouts.of_launch("MULTI_GPU", zero | {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}) is layouts.DEEPSPEED
    gathered = zero | {"ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL": "true"}
    assert layouts.of_launch("MULTI_GPU", gathered) is layouts.DEEPSPEED
    (tmp_path / "zero.json").write_text(json.dumps({"zero_optimization": {"stage": 3}}))
    from_file = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(tmp_path / "zero.json")}
    for environment in (fsdp, fsdp | {"FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT"}, zero, from_file):
        with pytest.raises(CimError, match=r"saves \w+, which (is|are) no model"):
            layouts.of_launch("MULTI_GPU", environment)
