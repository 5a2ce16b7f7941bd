"""What a resume needs besides a checkpoint's weights, by who wrote it: one process or DDP, FSDP, DeepSpeed.

accelerate 1.15 writes the optimiser of an FSDP run as one file (state dictionary ``FULL_STATE_DICT``) or as folders of
shards (``utils/fsdp_utils.py``), DeepSpeed 0.19 a folder a step. transformers' trainer reads each in its own way
(``Trainer._load_from_checkpoint`` and ``_load_optimizer_and_scheduler``): torch's files with ``weights_only=True``,
DeepSpeed's through its own loader, which unpickles. A run resumes only from checkpoints of its own folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness import store
from harness.errors import CimError

NOT_SHARDING = ("NO", "MULTI_CPU")  # accelerate's distributed types for which it ignores FSDP
COMMON = ("scheduler.pt", "rng_state*.pth", "scaler.pt")


@dataclass(frozen=True, slots=True)
class Layout:
    """Files and folders, as patterns: ``needs`` must all be there for an exact resume, ``state`` serves that alone."""

    name: str
    needs: tuple[str, ...]
    state: tuple[str, ...]


PLAIN = Layout("no sharding", ("optimizer.pt", "scheduler.pt", "rng_state*.pth"), ("optimizer.pt", *COMMON))
FSDP = Layout(
    "FSDP with FULL_STATE_DICT",
    ("optimizer.bin", "pytorch_model_fsdp.bin", "scheduler.pt", "rng_state*.pth"),
    ("optimizer.bin", "pytorch_model_fsdp.bin", *COMMON),
)
FSDP_SHARDS = Layout(
    "FSDP with SHARDED_STATE_DICT",
    ("optimizer_0", "pytorch_model_fsdp_0"),
    ("optimizer_[0-9]*", "pytorch_model_fsdp_[0-9]*", *COMMON),
)
DEEPSPEED = Layout(
    "DeepSpeed", ("latest", "global_step*", "rng_state*.pth"), ("latest", "global_step*", "zero_to_fp32.py", *COMMON)
)
LAYOUTS = (PLAIN, FSDP, FSDP_SHARDS, DEEPSPEED)


def layout_of(checkpoint: Path) -> Layout | None:
    """Which state for a resume a checkpoint holds; None if none is whole."""
    return next((layout for layout in LAYOUTS if all(any(checkpoint.glob(name)) for name in layout.needs)), None)


def remove_state(checkpoint: Path) -> None:
    """Remove what only a resume reads, of any layout; the model stays."""
    for pattern in sorted({pattern for layout in LAYOUTS for pattern in layout.state}):
        for path in checkpoint.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def of_launch(kind: str, environment: Mapping[str, str] = os.environ) -> Layout:
    """The layout that checkpoints of this launch get.

    Args:
        kind: accelerate's distributed type, such as ``MULTI_GPU``.
        environment: where ``accelerate launch`` puts its settings.

    Raises:
        CimError: they would hold no model, so that nothing could evaluate them or resume.
    """
    if environment.get("ACCELERATE_USE_FSDP", "").lower() == "true" and kind not in NOT_SHARDING:
        first = environment.get("FSDP_VERSION", "1") == "1"
        saves = environment.get("FSDP_STATE_DICT_TYPE") or ("FULL_STATE_DICT" if first else "SHARDED_STATE_DICT")
        if saves != "FULL_STATE_DICT":
            hint = "accelerate launch --fsdp_state_dict_type FULL_STATE_DICT"
            raise CimError(f"FSDP saves {saves}, which is no model", where="accelerate", hint=hint)
        return FSDP
    if environment.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        if _saves_shards(environment):
            hint = "accelerate launch --zero3_save_16bit_model true, or a ZeRO stage below 3"
            raise CimError("DeepSpeed ZeRO-3 saves shards, which are no model", where="accelerate", hint=hint)
        return DEEPSPEED
    return PLAIN


def _saves_shards(environment: Mapping[str, str]) -> bool:
    """Whether DeepSpeed runs at stage 3 without gathering the weights when it saves."""
    file = environment.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none")
    if file == "none":
        gathers = environment.get("ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL", "false") == "true"
        return environment.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2") == "3" and not gathers
    zero = (store.read_document(Path(file)) or {}).get("zero_optimization", {})
    return zero.get("stage") == 3 and not zero.get("stage3_gather_16bit_weights_on_model_save", False)
