"""The options of a training run, and what model and machine decide where they are left out.

``cim train --model qwen2.5-vl-7b`` alone trains on RefinedCaps where ``$CIM_DATA`` would hold it, looks captions up in
gallery ``refinedcaps``, and on a machine with GPUs uses all of them, captions written by vLLM. An embedded model trains
in its synthetic environment, on one core.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness import registry
from harness.errors import CimError
from harness.resources import machine, paths
from harness.retrieval import sources
from harness.retrieval.consistency import SelfPolicy
from harness.train import presets
from harness.types import Model

# Files of published sources, and their images, below $CIM_DATA; the images of RefinedCaps are COCO's.
PUBLISHED = {
    "refinedcaps": ("refinedcaps/train_coco6k_sft.json", "coco/train2017"),
    "densefusion": ("densefusion/DenseFusion-1M.jsonl", "densefusion/images"),
}
DEFAULT = "refinedcaps"  # source and gallery
KINDS = {".json": "refinedcaps", ".jsonl": "jsonl", ".tar": "webdataset"}  # of a file that is named alone
EMBEDDED = "mini"  # the preset of embedded models
COUNTS = (16, 8, 4, 2, 1)  # processes that a run starts by itself; any number that divides a step can be named


@dataclass(frozen=True, slots=True)
class Options:
    """The options of ``cim train``.

    ``steps`` counts generation batches, or updates of supervised fine-tuning (None: the preset's own). ``rollouts``
    names the rollout engine (``auto``: see ``completed``), ``vllm_server`` the address of a vLLM server. ``settings``
    override fields of TRL's configuration; alarms that are ``tolerated`` are logged and stop nothing. ``pairs`` are
    sources of images of the user's own; ``images`` is the folder of those that name none, and ``held_out`` of
    them choose a checkpoint (None: as many as are needed). ``processes``, one per GPU, share a step. ``search``
    and ``precision`` say how captions are looked up (None: as suits the machine).
    """

    model: Model
    task: str
    stage: str = "cim"
    preset: str | None = None
    pairs: Sequence[Sequence[str]] = ()
    images: str | None = None
    gallery: str | None = None
    rewards: str = "cim"
    self_policy: SelfPolicy | None = None
    seed: int = 0
    steps: int | None = None
    lora: bool = False
    rollouts: str = "transformers"
    vllm_server: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    tolerated: tuple[str, ...] = ()
    search: str | None = None
    precision: str | None = None
    name: str | None = None
    untested: bool = False
    probe: bool = True
    processes: int | None = None
    held_out: int | None = None
    report_to: tuple[str, ...] = ()
    validate_gallery: str | None = None


def completed(options: Options) -> Options:
    """The options with images, gallery, preset, rollouts and processes filled in.

    Raises:
        CimError: a source or preset that is not known, or another number of processes than were launched.
    """
    pairs = [source(pair, options.images) for pair in options.pairs]
    if not pairs and not set(options.model.tasks) & set(registry.training(options.task).worlds):
        pairs = [source([DEFAULT], options.images)]
    preset = presets.preset(options.preset or ("safe" if pairs else EMBEDDED)).name
    rollouts = options.rollouts
    if rollouts == "auto":
        served = preset != EMBEDDED and options.stage == "cim" and machine.usable_gpu()
        rollouts = "vllm" if served and presets.installed()["vllm"] else "transformers"
    gallery = options.gallery or (DEFAULT if pairs else None)
    options = replace(options, pairs=pairs, preset=preset, rollouts=rollouts, gallery=gallery)
    return replace(options, processes=_processes(options))


def source(words: Sequence[str], images: str | None) -> tuple[str, ...]:
    """A source of pairs as kind, file and perhaps folder of images; a published kind alone lies below ``$CIM_DATA``.

    Raises:
        CimError: a kind without a file, or a file whose name does not say its kind.
    """
    first, *rest = words
    if first in sources.READERS and rest:
        located = (first, *rest)
    elif first in PUBLISHED:
        file, folder = (str(paths.data_root() / part) for part in PUBLISHED[first])
        located = (first, file, images or folder)
    elif first in sources.READERS:
        raise CimError(f"--from takes KIND FILE [IMAGES], found {first!r}", where="--from")
    else:
        located = (_kind(Path(first)), first, *rest)
    return (*located, images) if images and len(located) == 2 else located


def _kind(path: Path) -> str:
    """The kind of a source by its name alone."""
    if path.is_dir():
        return "webdataset" if any(path.glob("*.tar")) else "folder"
    if path.suffix not in KINDS:
        kinds = ", ".join(sources.READERS)
        raise CimError(
            f"unknown source {str(path)!r}", where="--from", hint=f"a folder, {', '.join(KINDS)}, or {kinds}"
        )
    return KINDS[path.suffix]


def launched() -> int:
    """How many processes a launcher started, this one among them; 0 without a launcher.

    ``accelerate launch`` sets no WORLD_SIZE for a single process, and on a CPU it starts one whatever it is told.
    """
    return int(os.environ.get("WORLD_SIZE", "ACCELERATE_DYNAMO_BACKEND" in os.environ))


def _processes(options: Options) -> int:
    """How many processes share a step: those that were launched, the number asked for, else one for each GPU."""
    count = launched()
    if count and options.processes not in (None, count):
        hint = "torchrun --nproc_per_node N on a CPU; under a launcher leave --processes out"
        raise CimError(f"launched as {count}, not {options.processes}", where="--processes", hint=hint)
    if count or options.processes:
        return count or options.processes or 1
    if options.preset == EMBEDDED or options.stage == "sft" or options.vllm_server or not machine.usable_gpu():
        return 1
    return next(size for size in COUNTS if size <= max(1, machine.visible()))
