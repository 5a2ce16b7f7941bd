"""Several processes for one run: ``accelerate launch`` with the options that a preset needs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from harness.train.options import EMBEDDED, launched
from harness.train.plan import Draft

# Weights, gradients and optimiser states are divided among the GPUs; a checkpoint is nevertheless one whole model.
FSDP2 = (
    *("--use_fsdp", "--fsdp_version", "2", "--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP"),
    *("--fsdp_state_dict_type", "FULL_STATE_DICT"),
)


def needed(draft: Draft) -> bool:
    """Whether this process is to start others; one that was launched is not (``options.launched``)."""
    return draft.processes > 1 and not launched()


def command(draft: Draft, words: Sequence[str], *, gpu: bool) -> list[str]:
    """The command that runs ``cim`` with these words in as many processes as a run has, on this machine's GPUs or CPU.

    A full fine-tune of a large model is sharded (FSDP2); an adapter is trained on a whole base model in each process.
    ``accelerate launch --cpu`` starts one process whatever it is told, so that a CPU has torch's own launcher.
    """
    count = str(draft.processes)
    if not gpu:
        launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node", count]
        return [sys.executable, "-m", *launcher, "-m", "harness", *words]
    precision = "bf16" if draft.arguments.get("bf16") else "no"
    sharded = not draft.options.lora and draft.preset.name != EMBEDDED
    shared = ["--num_machines", "1", "--num_processes", count, "--mixed_precision", precision, "--dynamo_backend", "no"]
    kind = FSDP2 if sharded else ("--multi_gpu",)
    return [sys.executable, "-m", "accelerate.commands.launch", *shared, *kind, "-m", "harness", *words]


def run(command: Sequence[str]) -> int:
    """Run the command to its end; returns its exit code."""
    return subprocess.call(command)
