"""Presets: every TRL setting that affects a run, by name; ``paper`` maps the official recipe field by field.

One *step* is one generation batch: ``prompts`` images with ``group`` captions each, scored once and then used for
``updates`` optimiser updates. ``paper`` follows `Jia-hn/CIM@870f58f5:rl_qwen2_vl/scripts` on verl: 256 x 5 captions
per step, 4 updates, 1 epoch over them. Shown by ``cim train --dry-run``.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.errors import CimError

# Tested versions; a release of one package often changes defaults or names that another relies on.
TESTED = {"trl": "1.16.0", "vllm": "0.31.0", "transformers": "5.17.0"}
NAMES = ("mini", "paper", "safe")
# `--set` may change hyperparameters, but not fields that the harness itself relies on.
OURS = frozenset(
    {"output_dir", "max_steps", "logging_steps", "logging_nan_inf_filter", "log_completions", "report_to", "seed"}
    | {"save_strategy", "save_steps", "save_total_limit", "save_only_model", "reward_weights", "model_init_kwargs"}
    | {"use_vllm", "vllm_mode", "vllm_server_base_url", "remove_unused_columns", "generation_kwargs", "num_generations"}
    | {"steps_per_generation", "generation_batch_size", "per_device_train_batch_size", "gradient_accumulation_steps"}
    | {"trust_remote_code", "push_to_hub", "log_completions_hub_repo", "ignore_data_skip", "vllm_enable_sleep_mode"}
    | {"fsdp", "fsdp_config", "deepspeed"}  # accelerate launch says how a model is sharded
)


@dataclass(frozen=True, slots=True)
class Preset:
    """A recipe.

    ``steps`` counts generation batches, or None for ``epochs`` over the data. ``self_policy`` says whether the
    source's own gallery row may be retrieved. If ``stops`` is false, alarms are only logged.
    ``settings`` are fields of ``GRPOConfig``.
    """

    name: str
    about: str
    prompts: int
    group: int
    updates: int
    micro_batch: int
    steps: int | None
    epochs: float
    save_every: int
    prompt_tokens: int
    self_policy: str
    stops: bool
    dtype: str
    settings: Mapping[str, Any]


# Shared by all presets. Most are TRL's defaults today; they are explicit because defaults change between releases.
_SHARED: dict[str, Any] = {
    "num_iterations": 1,
    "epsilon": 0.2,
    "epsilon_high": None,
    "delta": 3.0,  # dual clip: affects negative advantages only
    "importance_sampling_level": "token",
    "scale_rewards": "group",  # unbiased standard deviation; TRL adds 1e-4 to it, verl 1e-6
    "multi_objective_aggregation": "sum_then_normalize",
    "use_bias_correction_kl": False,  # TRL's default multiplies the KL by the ratio, which changes its gradient
    "entropy_coef": 0.0,
    "use_adaptive_entropy": False,
    "top_entropy_quantile": 1.0,
    "off_policy_mask_threshold": None,
    "sync_ref_model": False,
    "disable_dropout": False,
    # Truncated sampling (top-p, top-k) biases the importance ratio by the probability mass it removes (trl #6789).
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": None,
    "repetition_penalty": 1.0,
    "max_grad_norm": 1.0,
    "optim": "adamw_torch",
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_epsilon": 1e-8,
    "weight_decay": 0.01,
    "lr_scheduler_type": "constant",
    "warmup_steps": 0,
    "shuffle_dataset": True,
    "dataloader_num_workers": 0,
    # Per token: TRL's default multiplies the ratios of a caption, and so masks the long ones (trl #4772).
    "vllm_importance_sampling_correction": True,
    "vllm_importance_sampling_mode": "token_truncate",
    "vllm_enable_sleep_mode": False,
    "logging_steps": 1,
    "logging_nan_inf_filter": False,  # the default replaces a NaN loss by the mean of the others
    "log_completions": False,  # parquet; completions.jsonl holds them
    "report_to": [],
    "remove_unused_columns": False,
    "save_strategy": "steps",
    "save_only_model": False,
    "save_total_limit": None,
    "ignore_data_skip": False,
}
# Both bounds at one: the ratio is exactly 1 and the difference of log-probabilities is still logged. TRL refuses equal
# bounds, so the lower one is the number below 1 that rounds to it in float32.
_NO_CORRECTION = {"vllm_importance_sampling_clip_min": 1.0 - 2.0**-30, "vllm_importance_sampling_clip_max": 1.0}
_TRUNCATED = {"vllm_importance_sampling_clip_min": None, "vllm_importance_sampling_clip_max": 2.0}
_OFFICIAL: dict[str, Any] = {
    "learning_rate": 1e-6,
    "beta": 0.001,
    "max_completion_length": 1024,
    "bf16": True,
    "gradient_checkpointing": True,
}

_PAPER = Preset(
    name="paper",
    about="the official recipe: 256 x 5 captions per step, KL 0.001, own gallery row included, no guards",
    prompts=256,
    group=5,
    updates=4,
    micro_batch=8,
    steps=None,
    epochs=2.0,
    save_every=6,
    prompt_tokens=1024,
    self_policy="include",
    stops=False,
    dtype="float32",  # of the weights; computed in bf16
    settings={
        **_SHARED,
        **_OFFICIAL,
        **_NO_CORRECTION,
        # Token mean of a micro-batch, as the forks of verl that the authors used.
        "loss_type": "bnpo",
        "mask_truncated_completions": False,
    },
)
_SAFE = replace(
    _PAPER,
    name="safe",
    about="the official sizes, guarded: own row excluded, alarms stop, mismatch corrected, truncated captions masked",
    self_policy="exclude",
    stops=True,
    settings={**_SHARED, **_OFFICIAL, **_TRUNCATED, "loss_type": "dapo", "mask_truncated_completions": True},
)
_MINI = Preset(
    name="mini",
    about="the embedded environment on one CPU core: 16 x 8 captions per step, KL 0.04, own row excluded, alarms stop",
    prompts=16,
    group=8,
    updates=1,
    micro_batch=128,
    steps=70,
    epochs=1.0,
    save_every=10,
    prompt_tokens=256,
    self_policy="exclude",
    stops=True,
    dtype="float32",
    settings={
        **_SHARED,
        **_TRUNCATED,
        "learning_rate": 2e-4,
        "warmup_steps": 5,
        "lr_scheduler_type": "constant_with_warmup",
        "weight_decay": 0.0,
        "adam_beta2": 0.95,
        "beta": 0.04,
        "max_completion_length": 64,
        "bf16": False,
        "gradient_checkpointing": False,
        "loss_type": "bnpo",
        "mask_truncated_completions": False,
    },
)
_ALL = {preset.name: preset for preset in (_MINI, _PAPER, _SAFE)}


def preset(name: str) -> Preset:
    """The preset of this name; CimError for another."""
    if name not in _ALL:
        raise CimError(f"unknown preset {name!r}", hint=f"presets: {', '.join(NAMES)}")
    return _ALL[name]


def batches(chosen: Preset, processes: int) -> dict[str, int]:
    """How a step is split: captions per device and micro-batch, micro-batches per update and per step.

    Raises:
        CimError: a step cannot be split evenly over this many processes with whole groups on each.
    """
    captions = chosen.prompts * chosen.group
    per_step, rest = divmod(captions, chosen.micro_batch * processes)
    if rest or per_step % chosen.updates or (captions // processes) % chosen.group:
        hint = "take a number of processes that divides it"
        sizes = f"{captions} captions in {chosen.updates} updates of {chosen.micro_batch} per device"
        raise CimError(f"preset {chosen.name} cannot be split over {processes} processes ({sizes})", hint=hint)
    return {
        "num_generations": chosen.group,
        "per_device_train_batch_size": chosen.micro_batch,
        "gradient_accumulation_steps": per_step // chosen.updates,
        "steps_per_generation": per_step,
    }


def arguments(chosen: Preset, processes: int, steps: int | None, deviations: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of ``GRPOConfig`` of a run; saves only after whole generation batches, so that resume can be exact.

    Args:
        steps: generation batches in all, in place of the preset's own.
        deviations: fields overridden for one run.
    """
    if refused := sorted(OURS & set(deviations)):
        raise CimError(f"{refused[0]} cannot be set", hint="it is what the preset or an option of its own decides")
    fields = {**chosen.settings, **batches(chosen, processes), "save_steps": chosen.save_every * chosen.updates}
    length = steps if steps is not None else chosen.steps
    fields |= {"num_train_epochs": chosen.epochs} if length is None else {"max_steps": length * chosen.updates}
    fields["model_init_kwargs"] = {"dtype": chosen.dtype}
    return {**fields, **deviations}


# Fine-tuning: of the embedded models, and SC-Captioner's recipe ([SC] config/qwen2vl_train_lora_sft.yaml), as the
# paper's own is not released.
_SFT_MINI: dict[str, Any] = {
    "learning_rate": 1e-3,
    "warmup_steps": 10,
    "per_device_train_batch_size": 64,
    "gradient_accumulation_steps": 1,
    "max_steps": 100,
    "bf16": False,
    "gradient_checkpointing": False,
}
_SFT_LARGE: dict[str, Any] = {
    "learning_rate": 1e-4,
    "warmup_steps": 0.1,
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 2,
    "num_train_epochs": 3,
    "bf16": True,
    "gradient_checkpointing": True,
}
_SFT_OURS = OURS - {"save_steps", "per_device_train_batch_size", "gradient_accumulation_steps"}


def sft_arguments(chosen: Preset, steps: int | None, deviations: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of ``SFTConfig`` of a run; ``steps`` are optimiser updates."""
    if refused := sorted(_SFT_OURS & set(deviations)):
        raise CimError(f"{refused[0]} cannot be set", hint="it is what the preset or an option of its own decides")
    shared = {"lr_scheduler_type": "cosine", "weight_decay": 0.0, "save_steps": 50 if chosen.name == "mini" else 500}
    fields = {**shared, **(_SFT_MINI if chosen.name == "mini" else _SFT_LARGE)}
    if steps is not None:
        fields |= {"max_steps": steps, "save_steps": min(fields["save_steps"], steps)}
    return {**fields, **deviations}


def installed() -> dict[str, str | None]:
    """Installed versions of the tested packages; None for one that is not installed."""
    return {name: _version(name) for name in TESTED}


def _version(name: str) -> str | None:
    for package in (name, f"{name}-cpu"):  # the CPU build of vLLM is another distribution
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def refuse_untested(versions: Mapping[str, str | None], rollouts: str, allowed: bool) -> None:
    """Refuse untested versions; vLLM is required only as the rollout engine.

    Raises:
        CimError: names what is installed and what was tested.
    """
    needed = {name: version for name, version in TESTED.items() if name != "vllm" or rollouts != "transformers"}
    if absent := [name for name in needed if versions.get(name) is None]:
        hint = "run `make setup-train`" if absent != ["vllm"] else "run `make setup-gpu`, or --rollouts transformers"
        raise CimError(f"{', '.join(absent)} not installed", hint=hint)
    other = [
        f"{name} {versions[name]} ({version} tested)" for name, version in needed.items() if versions[name] != version
    ]
    if other and not allowed:
        raise CimError(f"untested versions: {', '.join(other)}", hint="--untested accepts them")
