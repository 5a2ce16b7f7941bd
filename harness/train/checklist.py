"""Everything that a training run needs, and which of it is missing: the rows of ``cim train --dry-run``.

A run is refused by the same rows before anything is loaded or written. Numbers of memory and disk are arithmetic
(``memory.py``); nothing here was run on a GPU.
"""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from harness import registry
from harness.errors import CimError, one_line
from harness.resources import hub, machine
from harness.resources.machine import Gpu
from harness.retrieval import sources
from harness.retrieval.gallery import Gallery
from harness.stages.weights import Load
from harness.train import alarms, memory, presets, validation
from harness.train.plan import Draft, shown_arguments

NEEDED = ("trl", "torch", "transformers", "datasets", "accelerate", "peft")
ON_CPU = 1e9  # parameters that are trained without a GPU at most
ENCODERS = ("mpnet", "vit_h_14")  # of `cim gallery build`, where there is no gallery yet
ENCODER_GB = {"mpnet": 0.44, "vit_h_14": 3.94}  # of their weights in float32
# Cards that a plan is shown for where none answers: how many, and how large as nvidia-smi gives it.
CARDS = ((1, "H100 80 GB", 85.5), (1, "H200 141 GB", 150.8), (8, "H100 80 GB", 85.5))
BRING = {
    "refinedcaps": "hf download zl2048/SC-Captioner-data --repo-type dataset --local-dir {folder}; images: "
    "http://images.cocodataset.org/zips/train2017.zip (19 GB) into {images}",
    "densefusion": "hf download BAAI/DenseFusion-1M --repo-type dataset --local-dir {folder}; its image archives "
    "(hundreds of GB) into {images}",
}
State = Literal["ok", "missing", "estimate"]


@dataclass(frozen=True, slots=True)
class Row:
    """What a run needs: whether it is there, how much of it, and the command that brings it."""

    part: str
    state: State
    detail: str
    command: str = ""


def rows(draft: Draft, cards: Sequence[Gpu], free: float) -> list[Row]:
    """The checklist of a run on these GPUs, with so many GB of disk free where its results lie."""
    load = Load("captioner", draft.options.model)
    job = None if draft.options.stage == "sft" else memory.job(draft.options, draft.preset, draft.arguments)
    large = (load.parameters or math.inf) > ON_CPU
    listed = [_packages(draft), *_gpu(draft, cards, large), _model(load), _images(draft)]
    if draft.options.stage == "cim":
        saves = _saves(draft)
        listed += [_steps(draft, saves), _gallery(draft), *_encoders(draft)]
        listed += [_fault(draft, "validation")] if "validation" in draft.faults else []
        listed += _memory(draft, job, cards) if large or cards else []
        listed += [_disk(job, saves, free)] if job and saves else []
        listed += [Row("hours", "estimate", "not measured on a GPU")] if large else []
    return listed


def refuse(draft: Draft, rows: Sequence[Row]) -> None:
    """CimError with all that is missing; alone, a fault keeps its own words."""
    missing = [row for row in rows if row.state == "missing"]
    if not missing:
        return
    if len(missing) == 1:
        row = missing[0]
        raise draft.faults.get(row.part) or CimError(row.detail, where=row.part, hint=row.command)
    listed = "; ".join(f"{row.part}: {row.detail}" for row in missing)
    raise CimError(f"{len(missing)} things are missing: {listed}", hint="--dry-run shows them with what brings each")


def free(folder: Path) -> float:
    """GB free where a folder is, or will be."""
    return shutil.disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.exists())).free / 1e9


def _fault(draft: Draft, part: str, command: str = "") -> Row:
    fault = draft.faults[part]
    detail = f"{fault.where}: {fault.what}" if fault.where else fault.what
    return Row(part, "missing", one_line(detail), one_line(command or fault.hint))


def _packages(draft: Draft) -> Row:
    if "packages" in draft.faults:
        return _fault(draft, "packages")
    if absent := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        return Row("packages", "missing", f"{', '.join(absent)} not installed", "make setup-train")
    versions = ", ".join(f"{name} {version}" for name, version in presets.installed().items() if version)
    return Row("packages", "ok", versions)


def _gpu(draft: Draft, cards: Sequence[Gpu], large: bool) -> Iterator[Row]:
    if not cards:
        if large:
            detail = f"none answers, and {draft.options.model.name} is not trained on a CPU"
            yield Row("GPU", "missing", detail, "a machine with NVIDIA GPUs, there `make setup-gpu`")
        return
    here = draft.processes if "LOCAL_WORLD_SIZE" not in os.environ else int(os.environ["LOCAL_WORLD_SIZE"])
    detail = f"{len(cards)} x {cards[0]}"
    if fault := machine.gpu_fault():
        yield Row("GPU", "missing", f"{detail}: {fault.partition('; ')[0]}", fault.partition("; ")[2])
    elif here > len(cards):
        yield Row("GPU", "missing", f"{detail}, for {here} processes", f"--processes {len(cards)}, or more machines")
    else:
        yield Row("GPU", "ok", detail)


def _model(load: Load) -> Row:
    size = "size not known" if load.gigabytes is None else f"{load.gigabytes:.1f} GB"
    if load.folder is not None:
        return Row("start model", "ok", f"{load.model.name}, {size}")
    room = f"{hub.free() / hub.GIGABYTE:.0f} GB free in {hub.cache()}"
    detail = f"{load.model.name}, {size}, is not here ({room})"
    return Row("start model", "missing", detail, f"cim model fetch {load.model.name}")


def _images(draft: Draft) -> Row:
    if draft.material is not None:
        train, held_out = len(draft.material.train), len(draft.material.validation)
        return Row("images", "ok", f"{train} of {draft.material.name}, {held_out} for validation")
    kind, file, *images = draft.options.pairs[0] if draft.options.pairs else ("", "")
    command = ""
    if kind in BRING:
        where = {"folder": Path(file).parent, "images": images[0] if images else "IMAGES"}
        command = BRING[kind].format(**where)
    row = _fault(draft, "images", command)
    return replace(row, detail=f"{row.detail}{_there(draft)}")


def _there(draft: Draft) -> str:
    """How many images of the pairs are there, where the pairs can be read."""
    try:
        pairs = [pair for kind, *places in draft.options.pairs for pair in sources.read(kind, *map(Path, places))]
    except CimError:
        return ""
    return f" ({sum(pair.there() for pair in pairs)} of {len(pairs)} are)"


def step_count(draft: Draft) -> int | None:
    """Generation batches of the run, as TRL counts them: an epoch's last, incomplete one is dropped."""
    if (updates := draft.arguments.get("max_steps")) is not None:
        return int(updates) // (1 if draft.options.stage == "sft" else draft.preset.updates)
    if draft.material is None:
        return None
    return math.ceil(float(draft.arguments["num_train_epochs"]) * (len(draft.material.train) // draft.preset.prompts))


def _saves(draft: Draft) -> int | None:
    count = step_count(draft)
    return None if count is None else math.ceil(count / draft.preset.save_every)


def _steps(draft: Draft, saves: int | None) -> Row:
    if "steps" in draft.faults:
        return _fault(draft, "steps")
    preset, count, micro = draft.preset, step_count(draft), draft.arguments["per_device_train_batch_size"]
    size = f"{preset.prompts} x {preset.group} captions in {preset.updates} updates"
    split = f"{draft.processes} process{'es' * (draft.processes > 1)} with {micro} at a time"
    rollouts = draft.options.vllm_server or draft.options.rollouts
    number = "number not known without images" if count is None else f"{count}, {saves} checkpoints"
    return Row("steps", "ok", f"{number}; each {size}, {split}, written by {rollouts}")


def _gallery(draft: Draft) -> Row:
    if draft.gallery is not None:
        return Row("gallery", "ok", f"{draft.gallery.name}, {len(draft.gallery)} rows")
    command = ""
    if draft.options.pairs:
        pairs = " ".join(f"--from {' '.join(source)}" for source in draft.options.pairs)
        command = f"cim gallery build {draft.options.gallery} {pairs} --fine"
    return _fault(draft, "gallery", command)


def _encoders(draft: Draft) -> Iterator[Row]:
    opened: Gallery | None = draft.gallery
    manifest = opened.manifest if opened is not None else {}
    for kind, default in zip(("text", "image"), ENCODERS, strict=True):
        name = (manifest.get(f"{kind}_encoder") or {}).get("name", default)
        if opened is None and not draft.options.pairs:
            return  # an embedded gallery's are built with it
        size = f", {ENCODER_GB[name]:.1f} GB" if name in ENCODER_GB else ""
        reason, _, command = (registry.encoder(name).missing() or "").partition("; ")
        if reason:
            yield Row(f"{kind} encoder", "missing", f"{name}{size}: {reason}", command)
        else:
            yield Row(f"{kind} encoder", "ok", f"{name}{size}")


def _memory(draft: Draft, job: memory.Job | None, cards: Sequence[Gpu]) -> Iterator[Row]:
    if job is None:
        yield Row("GPU memory", "estimate", "not known before the start model is here")
    elif cards:
        size = min(card.gigabytes for card in cards)
        unfit: State = "estimate" if draft.options.untested else "missing"
        yield _fitting(job, size, "GPU memory", "ok" if memory.fits(job, size) else unfit)
    else:
        for count, name, size in CARDS:
            other = memory.changed(job, count, job.lora, _served(job), size)
            yield _fitting(other, size, f"GPU memory of {count} x {name}", "estimate")


def _served(job: memory.Job) -> str:
    return "server" if job.rollouts == "server" else "vllm"


def _fitting(job: memory.Job, card: float, part: str, state: State) -> Row:
    parts, fits = memory.per_process(job, card), memory.fits(job, card)
    listed = ", ".join(f"{name} {size:.1f}" for name, size in parts.items())
    verdict = "fits" if fits else "does not fit"
    detail = f"{sum(parts.values()):.0f} of {card:.0f} GB a process, {verdict} (arithmetic: {listed})"
    return Row(part, state, detail, "" if fits else _smaller(job, card))


def _smaller(job: memory.Job, card: float) -> str:
    """What would fit on such cards: rollouts by vLLM, an adapter, or more processes."""
    ways = ((job.lora, (job.processes,)), (True, (job.processes,)), (False, (4, 8, 16)))
    for lora, count in ((lora, count) for lora, counts in ways for count in counts):
        if memory.fits(memory.changed(job, count, lora, _served(job), card), card):
            words = ["--rollouts vllm"] if job.rollouts == "transformers" else []
            words += ["--lora"] if lora and not job.lora else []
            words += [f"--processes {count}"] if count != job.processes else []
            return f"{' '.join(words)} would fit"
    return "a smaller model, or larger GPUs"


def _disk(job: memory.Job, saves: int, free: float) -> Row:
    size = memory.disk(job, saves)
    detail = f"{hub.amount(size * hub.GIGABYTE)} for {saves} checkpoints, {free:.0f} GB free"
    if size <= free:
        return Row("disk", "ok", detail)
    return Row("disk", "missing", detail, "--results DIR, or CIM_RESULTS, on a larger disk")


def shown(draft: Draft) -> dict[str, Any]:
    """What ``--dry-run`` prints of a run, before the checklist."""
    options, preset = draft.options, draft.preset
    summary: dict[str, Any] = {"model": options.model.name}
    if (material := draft.material) is not None:
        summary["images"] = f"{len(material.train)} of {material.name}, {len(material.validation)} for validation"
        summary |= {"pairs": material.counted} if material.counted else {}
    summary |= {"folder": str(draft.folder), "settings": shown_arguments(draft)}
    if options.stage == "sft":
        return summary
    stops = alarms.that_stop(preset.stops, options.tolerated)
    return {
        **summary,
        "preset": f"{preset.name}: {preset.about}",
        "gallery": options.gallery or (material.gallery if material else None),
        "rewards": ", ".join(f"{name} x {weight:g}" for name, weight in draft.rewards.items()),
        "step": f"{preset.prompts} x {preset.group} captions, {preset.updates} updates",
        "weights": f"{preset.dtype}{', a LoRA adapter is trained' if options.lora else ''}",
        "rollouts": options.vllm_server or options.rollouts,
        "processes": draft.processes,
        **(
            validation.guards(material, stops, images=preset.prompts, vllm=options.rollouts == "vllm")
            if material
            else {}
        ),
    }
