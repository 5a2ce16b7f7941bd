"""Presets: the official recipe field by field, whole groups, refused versions; a moved default of TRL fails loudly."""

from __future__ import annotations

import dataclasses
import enum
import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import CimError
from harness.train import presets

SNAPSHOT = Path(__file__).parent / "snapshots" / "grpo_config.json"
# What depends on the machine or the run.
LEFT_OUT = {
    "output_dir",
    "run_name",
    "disable_tqdm",
    "use_cpu",
    "device",
    "n_gpu",
    "accelerator_config",
    "log_level",
    "logging_dir",
}


def fields(name: str, processes: int) -> dict[str, Any]:
    """All fields of the configuration that TRL makes of a preset, as JSON."""
    from trl import GRPOConfig

    config = GRPOConfig(
        output_dir="unused", use_cpu=True, **presets.arguments(presets.preset(name), processes, None, {})
    )
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    plain = {key: value.value if isinstance(value, enum.Enum) else value for key, value in values.items()}
    content: dict[str, Any] = json.loads(json.dumps({k: v for k, v in plain.items() if k not in LEFT_OUT}, default=str))
    return content


@pytest.mark.parametrize(("name", "processes"), [("paper", 8), ("safe", 8), ("mini", 1)])
def test_every_field_of_the_configuration_is_the_known_one(name: str, processes: int) -> None:
    """Also those that no preset sets. To accept a change: python -m tests.test_train_presets, and read the diff."""
    pytest.importorskip("trl")
    assert fields(name, processes) == json.loads(SNAPSHOT.read_text())[name]


def test_paper_is_the_official_recipe() -> None:
    """`Jia-hn/CIM@870f58f5:rl_qwen2_vl/scripts`: 256 x 5 captions, 4 updates of 320, 40 a GPU = 5 batches of 8."""
    options = presets.arguments(presets.preset("paper"), 8, None, {})
    captions = options["per_device_train_batch_size"] * 8 * options["steps_per_generation"]
    assert captions == 1280 and options["num_generations"] == 5
    assert options["steps_per_generation"] // options["gradient_accumulation_steps"] == 4
    assert options["gradient_accumulation_steps"] == 5
    official = {"learning_rate": 1e-6, "lr_scheduler_type": "constant", "warmup_steps": 0, "weight_decay": 0.01}
    official |= {"max_grad_norm": 1.0, "num_iterations": 1, "num_train_epochs": 2.0, "epsilon": 0.2, "delta": 3.0}
    official |= {"beta": 0.001, "use_bias_correction_kl": False, "temperature": 1.0, "top_p": 1.0, "top_k": 0}
    official |= {"max_completion_length": 1024, "scale_rewards": "group", "bf16": True, "gradient_checkpointing": True}
    assert {name: options[name] for name in official} == official
    assert presets.preset("paper").self_policy == "include" and presets.preset("safe").self_policy == "exclude"
    assert presets.preset("safe").stops and not presets.preset("paper").stops


@pytest.mark.parametrize(("processes", "micro_batch"), [(1, 8), (2, 8), (4, 8), (8, 8), (16, 5)])
def test_a_step_is_the_same_on_any_number_of_processes(processes: int, micro_batch: int) -> None:
    sizes = presets.batches(presets.preset("paper"), processes)
    assert sizes["per_device_train_batch_size"] == micro_batch
    per_process = sizes["per_device_train_batch_size"] * sizes["steps_per_generation"]
    assert per_process * processes == 1280 and per_process % sizes["num_generations"] == 0
    assert sizes["steps_per_generation"] == 4 * sizes["gradient_accumulation_steps"]


def test_processes_that_do_not_divide_a_step_are_refused() -> None:
    with pytest.raises(CimError, match="cannot be split over 3 processes"):
        presets.batches(presets.preset("paper"), 3)
    with pytest.raises(CimError, match="cannot be split over 32 processes"):
        presets.batches(presets.preset("mini"), 32)


def test_only_a_large_base_under_an_adapter_is_in_bf16() -> None:
    dtypes = {(name, lora): presets.of_run(name, lora=lora).dtype for name in presets.NAMES for lora in (False, True)}
    assert {run for run, dtype in dtypes.items() if dtype == "bfloat16"} == {("paper", True), ("safe", True)}
    assert set(dtypes.values()) == {"bfloat16", "float32"}


def test_no_correction_means_a_ratio_of_exactly_one() -> None:
    """The bounds of ``paper`` differ for TRL, which refuses equal ones, and are both 1 in float32 and bfloat16."""
    torch = pytest.importorskip("torch")
    paper = presets.preset("paper").settings
    low, high = (paper[f"vllm_importance_sampling_clip_{end}"] for end in ("min", "max"))
    assert low < high
    for dtype in (torch.float32, torch.bfloat16):
        ratio = torch.tensor([0.01, 0.999, 1.0, 1.001, 50.0], dtype=dtype)
        assert torch.equal(ratio.clamp(min=low, max=high), torch.ones(5, dtype=dtype))


def test_saves_come_where_a_generation_batch_ends() -> None:
    options = presets.arguments(presets.preset("paper"), 8, 12, {})
    assert options["save_steps"] % 4 == 0 and options["max_steps"] == 48


def test_what_the_harness_relies_on_cannot_be_set() -> None:
    preset = presets.preset("mini")
    assert presets.arguments(preset, 1, None, {"learning_rate": 1e-4})["learning_rate"] == 1e-4
    with pytest.raises(CimError, match="save_steps cannot be set"):
        presets.arguments(preset, 1, None, {"save_steps": 7})
    with pytest.raises(CimError, match="unknown preset 'papre'; presets: mini, paper, safe"):
        presets.preset("papre")


def test_other_versions_are_refused_unless_allowed() -> None:
    other = {**presets.TESTED, "trl": "1.17.0"}
    with pytest.raises(CimError, match=r"untested versions: trl 1\.17\.0 \(1\.16\.0 tested\)"):
        presets.refuse_untested(other, "vllm", False)
    presets.refuse_untested(other, "vllm", True)
    no_vllm: dict[str, str | None] = {**presets.TESTED, "vllm": None}
    presets.refuse_untested(no_vllm, "transformers", False)
    with pytest.raises(CimError, match="vllm not installed"):
        presets.refuse_untested(no_vllm, "vllm", False)
    with pytest.raises(CimError, match="trl not installed; run `make setup-train`"):
        presets.refuse_untested({**presets.TESTED, "trl": None}, "transformers", True)


def test_the_environment_is_the_tested_one() -> None:
    pytest.importorskip("trl")
    versions = presets.installed()
    assert {name: version for name, version in versions.items() if version} == {
        name: version for name, version in presets.TESTED.items() if versions[name]
    }


if __name__ == "__main__":
    by_preset = {"paper": fields("paper", 8), "safe": fields("safe", 8), "mini": fields("mini", 1)}
    SNAPSHOT.write_text(json.dumps(by_preset, indent=1, sort_keys=True) + "\n", encoding="utf-8")
