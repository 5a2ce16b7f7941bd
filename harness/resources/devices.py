"""Where a process computes what it encodes and searches: on a GPU of its own, if one answers, and in which precision.

Under ``accelerate launch`` every process has ``LOCAL_RANK``; without it all of them would land on the first card.
Never run on a GPU.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

from harness.resources import machine

PRECISIONS = ("float32", "bfloat16")


def torch_device() -> str:
    """``cpu``; or ``cuda``, as ``cuda:N`` for the N-th process of a launch."""
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    rank = os.environ.get("LOCAL_RANK", "")
    # A launcher may show each process one card only, which is then number 0.
    return f"cuda:{int(rank) % torch.cuda.device_count()}" if rank.isdecimal() else "cuda"


def gpu_answers() -> bool:
    """Does torch compute on a GPU here? Torch is loaded only where the driver lists one."""
    return bool(machine.gpus()) and torch_device() != "cpu"


def computing_in(precision: str) -> AbstractContextManager[object]:
    """While it is held, torch multiplies matrices in this precision; float32 changes nothing."""
    if precision == "float32":
        return nullcontext()
    import torch

    held: AbstractContextManager[object] = torch.autocast(torch_device().partition(":")[0], dtype=torch.bfloat16)
    return held
