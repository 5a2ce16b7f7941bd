"""Post-save steps: write ``model.toml``, merge the LoRA adapter, report a full disk.

Shared by GRPO and supervised fine-tuning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from harness.engines import _weights
from harness.errors import CimError
from harness.train import checkpoints, fixes
from harness.weights import Weights

RANK = 64


def start_folder(weights: Weights) -> str:
    """The folder of a start model; a hub checkpoint is downloaded first, so that all loaders see the same revision.

    Raises:
        CimError: the hub does not have it, or is unreachable.
    """
    if weights.local:
        return weights.checkpoint
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    kinds = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"]
    try:
        return str(snapshot_download(weights.checkpoint, revision=weights.revision, allow_patterns=kinds))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        hint = "check the name, the revision and the network; HF_TOKEN opens gated models"
        raise CimError(
            f"cannot download the checkpoint from the hub ({type(error).__name__})", where=weights.checkpoint, hint=hint
        ) from error


def finish(
    folder: Path,
    origin: checkpoints.Origin,
    update: int,
    updates: int,
    lora: bool,
    weights: Weights,
    dtype: str,
    tasks: Sequence[str],
) -> None:
    """Make the saved checkpoint a model folder, and drop the resume state of older ones."""
    place, step = folder / f"checkpoint-{update}", update // updates
    if lora:
        merge(weights, dtype, place)
    inside = f"./{checkpoints.MERGED}" if lora else "."
    checkpoints.finish(place, origin, step, checkpoints.text(origin, step, weights, dtype, tasks, inside))
    checkpoints.forget_state(folder)


def merge(weights: Weights, dtype: str, folder: Path) -> None:
    """Merge the adapter of a LoRA checkpoint into its base model, for engines and evaluation."""
    from peft import PeftModel

    start = start_folder(weights)
    base = fixes.load(start, start, dtype)
    PeftModel.from_pretrained(base, folder).merge_and_unload().save_pretrained(folder / checkpoints.MERGED)
    _weights.load_processor(weights).save_pretrained(folder / checkpoints.MERGED)


def adapter(model: Any) -> Any:
    """LoRA of rank ``RANK`` on all linear layers of the language model; a deviation from the official recipe."""
    from peft import LoraConfig

    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and "language_model" in name and not name.endswith("lm_head")
    ]
    return LoraConfig(r=RANK, lora_alpha=2 * RANK, lora_dropout=0.0, target_modules=linear, task_type="CAUSAL_LM")


def save_or_say(folder: Path, work: Callable[[], Any]) -> None:
    """Do the work; if a checkpoint cannot be written, remove the incomplete one and name the last complete one.

    Raises:
        CimError: the disk is full or not writable.
    """
    try:
        work()
    except (OSError, RuntimeError, SafetensorError) as error:
        if not (dropped := checkpoints.drop_unfinished(folder)):
            raise
        whole = checkpoints.whole(folder)
        kept = f"{whole[-1][1].name} is complete; " if whole else ""
        reason = " ".join(str(error).split())[:120]
        hint = f"{kept}free some space, then the same command resumes"
        raise CimError(f"update {dropped[-1]} could not be saved ({reason})", where=str(folder), hint=hint) from error
