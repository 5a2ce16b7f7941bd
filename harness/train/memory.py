"""GPU memory and disk of a training run by arithmetic, in GB (1e9 bytes): estimates, never measured on a GPU.

Counted per process, one process per GPU. A full fine-tune is sharded over processes (FSDP2), an adapter's base is not.
Activations assume gradient checkpointing; the vision tower's are not counted, nor is fragmentation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.resources import checkpoint, machine
from harness.stages.weights import Load
from harness.train import presets
from harness.train.checkpoints import RANK
from harness.train.options import Options
from harness.train.presets import Preset

GB = 1e9
FLOAT, HALF = 4, 2  # bytes of float32 and of bfloat16
LOGITS = 4  # bf16 copies of a micro-batch's logits: of the model, over the temperature, log-softmax, their gradient
OTHER = 3.0  # assumed, in GB: CUDA's context, text encoder, batches
PROFILE = 4.0  # assumed, in GB: what vLLM needs beside weights and KV cache
AT_ONCE = 64  # captions that vLLM is given KV cache for at full length; more wait
SHARE = "vllm_gpu_memory_utilization"
TRL_SHARE = 0.3  # where nothing is set
MOST = 0.95  # of a card, the rest is lost to fragmentation


@dataclass(frozen=True, slots=True)
class Decoder:
    """Sizes of a language model, as its config.json names them; ``cached`` heads of ``width`` keep keys and values."""

    layers: int
    hidden: int
    inner: int
    cached: int
    width: int
    vocabulary: int

    @property
    def cache(self) -> int:
        """Bytes of the KV cache per token, in bf16."""
        return 2 * HALF * self.layers * self.cached * self.width

    @property
    def adapter(self) -> int:
        """Parameters of LoRA of rank ``RANK`` on all linear layers."""
        attention = 2 * (2 * self.hidden) + 2 * (self.hidden + self.cached * self.width)
        return RANK * self.layers * (attention + 3 * (self.hidden + self.inner))


# Of the base models of the paper, for a machine that does not have them yet.
_QWEN2_7B = Decoder(28, 3584, 18944, 4, 128, 152064)
KNOWN = {
    "Qwen/Qwen2-VL-7B-Instruct": _QWEN2_7B,
    "Qwen/Qwen2.5-VL-7B-Instruct": _QWEN2_7B,
    "llava-hf/llava-1.5-7b-hf": Decoder(32, 4096, 11008, 32, 128, 32064),
}


def decoder(name: str, folder: Path | None) -> Decoder | None:
    """The language model of a checkpoint by its config.json, else as known by its hub id; None where neither helps."""
    if folder is None or not (folder / "config.json").is_file():
        return KNOWN.get(name)
    config = checkpoint.read_json(folder / "config.json")
    config = config.get("text_config") or config
    heads = config.get("num_attention_heads")
    names = ("num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size")
    sizes = [config.get(name) for name in names]
    if not isinstance(heads, int) or not all(isinstance(size, int) for size in sizes):
        return KNOWN.get(name)
    layers, hidden, inner, vocabulary = (int(size or 0) for size in sizes)
    width = config.get("head_dim") or hidden // heads
    return Decoder(layers, hidden, inner, config.get("num_key_value_heads") or heads, width, vocabulary)


@dataclass(frozen=True, slots=True)
class Job:
    """What memory depends on: a model of so many ``parameters``, a preset, TRL's ``arguments``, processes, rollouts.

    ``rollouts`` is ``transformers``, ``vllm`` (on the same GPUs) or ``server``.
    """

    parameters: float
    decoder: Decoder
    preset: Preset
    arguments: Mapping[str, Any]
    processes: int
    lora: bool
    rollouts: str

    @property
    def length(self) -> int:
        """Tokens of the longest prompt and completion."""
        return self.preset.prompt_tokens + int(self.arguments["max_completion_length"])

    @property
    def captions(self) -> int:
        """Captions of a step that one process writes."""
        return self.preset.prompts * self.preset.group // self.processes

    def cache(self, captions: int) -> float:
        """KV cache of captions at full length."""
        return captions * self.length * self.decoder.cache / GB


def job(options: Options, preset: Preset, arguments: Mapping[str, Any]) -> Job | None:
    """The job of a run; None where the sizes of its model are not known before it is here."""
    load = Load("captioner", options.model)
    weights, parameters = options.model.weights, load.parameters
    model = decoder(weights.checkpoint, load.folder) if weights else None
    if model is None or parameters is None:
        return None
    rollouts = "server" if options.vllm_server else options.rollouts
    return Job(parameters, model, preset, arguments, options.processes or 1, options.lora, rollouts)


def for_vllm(options: Options, preset: Preset, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of ``GRPOConfig`` of a colocated vLLM: no longer a context than a run needs, and its share of the card."""
    length = preset.prompt_tokens + int(arguments["max_completion_length"])
    fields, run, cards = {"vllm_max_model_length": length}, job(options, preset, arguments), machine.gpus()
    if run is None or not cards:
        return fields
    return {**fields, SHARE: share(run, min(card.gigabytes for card in cards))}


def per_process(job: Job, card: float) -> dict[str, float]:
    """What takes memory on one GPU of ``card`` GB."""
    weight = FLOAT if job.preset.dtype == "float32" else HALF
    trained, shards = (job.decoder.adapter, 1) if job.lora else (job.parameters, job.processes)
    held = weight * job.parameters + (FLOAT * trained if job.lora else 0.0)
    copied = not job.lora and job.arguments["beta"] != 0
    parts = {
        "weights": held / shards,
        "gradients": FLOAT * trained / shards,
        "Adam": 2 * FLOAT * trained / shards,
        "reference": weight * job.parameters / shards if copied else 0.0,
    }
    parts = {name: size / GB for name, size in parts.items()} | {"activations": _activations(job, weight)}
    if job.rollouts == "transformers":
        parts["KV cache"] = job.cache(job.captions)
    elif job.rollouts == "vllm":
        parts["vLLM"] = float(job.arguments.get(SHARE, TRL_SHARE)) * card
    return {name: size for name, size in parts.items() if size} | {"other": OTHER}


def _activations(job: Job, weight: int) -> float:
    """Of one micro-batch: the residual stream at every layer, one layer computed again, and the logits."""
    rows, model = int(job.arguments["per_device_train_batch_size"]), job.decoder
    tokens = rows * job.length
    stream = tokens * model.hidden * model.layers * weight
    layer = tokens * (8 * model.hidden + 3 * model.inner) * HALF
    logits = rows * int(job.arguments["max_completion_length"]) * model.vocabulary * HALF * LOGITS
    return (stream + layer + logits) / GB


def engine(job: Job) -> float:
    """What a colocated vLLM needs: its copy of the weights in bf16, profiling, KV cache of captions at full length."""
    return HALF * job.parameters / GB + PROFILE + job.cache(min(AT_ONCE, job.captions))


def share(job: Job, card: float) -> float:
    """``SHARE``, vLLM's part, on a card of so many GB, in steps of 0.05."""
    return min(0.9, math.ceil(20 * engine(job) / card) / 20)


def fits(job: Job, card: float) -> bool:
    """Whether a process fits on a card of so many GB, by this arithmetic."""
    return sum(per_process(job, card).values()) <= MOST * card


def changed(job: Job, processes: int, lora: bool, rollouts: str, card: float) -> Job:
    """The same run on so many cards of so many GB, with or without an adapter, its captions written by ``rollouts``."""
    preset = presets.of_run(job.preset.name, lora=lora)
    arguments = {**job.arguments, **presets.batches(preset, processes)}
    other = replace(job, preset=preset, arguments=arguments, processes=processes, lora=lora, rollouts=rollouts)
    return replace(other, arguments={**arguments, SHARE: share(other, card)})


def disk(job: Job, saves: int) -> float:
    """Checkpoints of a run: weights in all of them, gradients' moments in the last two."""
    trained = job.decoder.adapter if job.lora else job.parameters
    weights = FLOAT * trained + (HALF * job.parameters if job.lora else 0.0)  # an adapter's base is merged in bf16
    state = 2 * FLOAT * trained
    if job.processes > 1 and not job.lora:
        state += weights  # FSDP writes the weights a second time beside them
    return (saves * weights + min(2, saves) * state) / GB
