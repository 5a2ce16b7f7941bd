"""Checkpoints of a training run: folders that ``cim eval --model FOLDER`` accepts as models.

The trainer writes ``checkpoint-N``; once ``model.toml`` is in it, it is renamed to ``<run>-stepN``. A folder with
the trainer's name is therefore incomplete (a full disk, a kill) and is ignored. The best checkpoint is chosen by
``validation.jsonl``: by held-out images of the training set, never by a benchmark.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import store
from harness.errors import CimError
from harness.weights import Weights

TOML = "model.toml"
MERGED = "merged"  # LoRA adapter merged into its base model, for engines without adapter support
STATE = ("optimizer.pt", "scheduler.pt", "rng_state*.pth", "scaler.pt")
CRITERION = "reward"
TRAINER = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True, slots=True)
class Origin:
    """Provenance of a checkpoint: the run, its start model, and how it is chosen."""

    run: str
    base: str
    task: str
    preset: str
    seed: int
    rewards: tuple[str, ...]
    chosen_on: str


def text(origin: Origin, step: int, weights: Weights, dtype: str, tasks: Sequence[str], inside: str) -> str:
    """The ``model.toml`` of a checkpoint: evaluated with the sampling and image limits of its start model.

    Args:
        inside: folder of the weights, relative to the file.
    """
    lines = [
        f"about = {_toml(f'{origin.task} from {origin.base}, preset {origin.preset}, step {step}.')}",
        f"engine = {_toml('transformers')}",
        f"checkpoint = {_toml(inside)}",
        f"dtype = {_toml(dtype)}",
    ]
    lines += [f"tasks = {_toml(list(tasks))}"] if tasks else []
    lines += [f"system = {_toml(weights.system)}"] if weights.system is not None else []
    tables: dict[str, Mapping[str, Any]] = {
        "sampling": asdict(weights.sampling),
        "image": weights.image_settings(),
        "vllm": weights.vllm,
        "training": {**asdict(origin), "rewards": list(origin.rewards), "step": step},
    }
    for name, table in tables.items():
        if table:
            lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """A string, number, bool or list of strings as TOML, whose basic strings are JSON's except for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def finish(folder: Path, origin: Origin, step: int, content: str) -> Path:
    """Write ``model.toml`` into a saved checkpoint, then rename it to its final name."""
    (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle that nothing here reads
    store.write_bytes(folder / TOML, content.encode())
    lasting = folder.with_name(f"{origin.run}-step{step}")
    if lasting.exists():
        shutil.rmtree(lasting)
    return folder.rename(lasting)


def whole(folder: Path) -> list[tuple[int, Path]]:
    """Finished checkpoints of a run with their steps, oldest first."""
    finished = []
    for path in folder.glob(f"*-step*/{TOML}"):
        number = path.parent.name.rpartition("-step")[2]
        if number.isdigit():
            finished.append((int(number), path.parent))
    return sorted(finished)


def drop_unfinished(folder: Path) -> list[int]:
    """Remove incomplete checkpoints; returns their update numbers."""
    left = [(int(named[1]), path) for path in folder.glob("checkpoint-*") if (named := TRAINER.fullmatch(path.name))]
    for _, path in left:
        shutil.rmtree(path, ignore_errors=True)
    return sorted(number for number, _ in left)


def forget_state(folder: Path, keep: int = 2) -> None:
    """Remove optimiser and RNG states, which only a resume needs, from all but the last ``keep`` checkpoints."""
    for _, path in whole(folder)[:-keep]:
        for pattern in STATE:
            for file in path.glob(pattern):
                file.unlink()


def resumable(folder: Path) -> tuple[int, Path] | None:
    """The last finished checkpoint with the state that an exact resume needs."""
    ready = [(number, path) for number, path in whole(folder) if (path / "optimizer.pt").is_file()]
    return ready[-1] if ready else None


def choose(folder: Path, validations: Sequence[Mapping[str, Any]], loss: float) -> dict[str, Any]:
    """The best finished checkpoint by validation: highest reward among those that lost at most ``loss`` of precision.

    If none kept its precision, the highest reward of all, with ``precision_kept`` false; ties go to the earlier one.
    If none was validated, the last, which ``split`` then says.

    Raises:
        CimError: there is no finished checkpoint.
    """
    paths = dict(whole(folder))
    if not paths:
        raise CimError("no checkpoint was saved", where=str(folder))
    last = max(paths)
    rows = [row for row in validations if row["step"] in paths and row.get(CRITERION) is not None]
    if not rows:
        return {"checkpoint": paths[last].name, "step": last, "criterion": "last", "split": "none"}
    start = next((row.get("precision") for row in validations if row["step"] == 0), None)
    kept = [row for row in rows if start is None or row.get("precision") is None or start - row["precision"] <= loss]
    best = max(kept or rows, key=lambda row: (row[CRITERION], -row["step"]))
    return {
        "checkpoint": paths[best["step"]].name,
        "step": best["step"],
        "criterion": CRITERION,
        "value": best[CRITERION],
        "split": "validation",
        "candidates": len(rows),
        "precision_kept": bool(kept),
        "last": paths[last].name,
    }
