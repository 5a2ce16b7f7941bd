"""A training run of two steps for a launcher: python -m tests.launched FOLDER CHECKPOINT PROCESSES [EVENT].

With ``ACCELERATE_USE_FSDP`` it is sharded on the CPU, too, which accelerate allows for GPUs alone. At EVENT ``saved``
rank 0 gets SIGKILL once the first checkpoint is whole, at ``saving`` while the second is being written. ``again`` makes
the second step anew from the first checkpoint, as if a kill had left the second one unfinished; it stays as ``once``.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import DistributedType
from transformers import Trainer

from harness.train import checkpoints
from tests import training


def main(folder: str, checkpoint: str, processes: str, event: str = "") -> None:
    """Train with the fake scorer; each process holds its share of a step."""
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        shard_on_cpu()
    if event == "saved":
        die_after(checkpoints, "finish", lambda plan, update: update == 1)
    elif event == "saving":
        die_after(Trainer, "_save_optimizer_and_scheduler", lambda trainer, place: place.endswith("checkpoint-2"))
    changes = {"micro_batch": 16 // int(processes)}
    plan = training.tiny(Path(folder), Path(checkpoint), training.material(validation=3), changes=changes)
    training.train(plan, say=print)
    if event == "again":
        if PartialState().is_main_process:
            shutil.copytree(folder, Path(folder) / "once")
            (plan.checkpoints / "tiny-step2").rename(plan.checkpoints / "checkpoint-2")
        PartialState().wait_for_everyone()
        training.train(plan, say=print)


def shard_on_cpu() -> None:
    """Let accelerate take CPU processes for GPU processes, the only ones for which it asks for FSDP."""
    begin = PartialState.__init__

    def renamed(self: Any, cpu: bool = True, **fields: Any) -> None:
        begin(self, True, **fields)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = renamed


def die_after(owner: Any, method: str, when: Callable[..., bool]) -> None:
    """Kill rank 0 at the end of the first call for which ``when`` holds."""
    inner = getattr(owner, method)

    def deadly(*args: Any) -> None:
        inner(*args)
        if when(*args) and os.environ["RANK"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, method, deadly)


if __name__ == "__main__":
    main(*sys.argv[1:])
