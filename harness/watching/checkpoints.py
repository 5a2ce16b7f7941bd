"""Finished checkpoints that a trainer leaves in a folder, by step: full models or LoRA adapters.

Layouts, by where the number of the step stands: ``checkpoint-N`` (transformers, TRL, LLaMA-Factory; ms-swift below a
folder per run), ``global_step_N/actor/huggingface`` and ``global_step_N/actor/lora_adapter`` (verl), ``NAME-stepN``
(``cim train``). The names are those that the trainers' code writes as we know it; no checkpoint of verl, ms-swift or
LLaMA-Factory itself was at hand. A checkpoint is finished when its safetensors hold all that their headers announce;
files of other formats, pickles among them, are never opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import CimError
from harness.resources import checkpoint

STEP = re.compile(r"(?:checkpoint-|global_step_|.+-step)(\d+)")
INSIDE = (".", "actor/huggingface", "actor/lora_adapter")  # of a step's folder
DEPTH = 3  # folders between the one that is named and a step's


@dataclass(frozen=True, slots=True)
class Saved:
    """A finished checkpoint: step, folder of its weights, and whether these are a LoRA adapter."""

    step: int
    folder: Path
    adapter: bool


def finished(folder: Path) -> list[Saved]:
    """Finished checkpoints below a folder, by step.

    Raises:
        CimError: no such folder, or two checkpoints of one step (two runs in one folder).
    """
    if not folder.is_dir():
        raise CimError("is not there", where=str(folder), hint="the output folder of a trainer")
    by_step = dict[int, Saved]()
    for step, place in _steps(folder, DEPTH):
        for saved in (_saved(step, place / inside) for inside in INSIDE):
            if saved is None:
                continue
            if step in by_step and by_step[step].folder.parent != saved.folder.parent:
                what = f"two checkpoints of step {step}: {by_step[step].folder} and {saved.folder}"
                raise CimError(what, hint="name the folder of one run")
            by_step.setdefault(step, saved)
    return [by_step[step] for step in sorted(by_step)]


def _steps(folder: Path, depth: int) -> Iterator[tuple[int, Path]]:
    """Folders of steps, which are not looked into further."""
    for path in sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()):
        if named := STEP.fullmatch(path.name):
            yield int(named[1]), path
        elif depth and not path.name.startswith("."):
            yield from _steps(path, depth - 1)


def _saved(step: int, folder: Path) -> Saved | None:
    """The checkpoint of a folder; None where there is none, or it is still being written."""
    adapter = (folder / checkpoint.ADAPTER).is_file()
    try:
        if adapter:
            checkpoint.adapter_digest(folder)
        else:
            checkpoint.check(folder)
    except CimError:
        return None
    return Saved(step, folder.resolve(), adapter)
