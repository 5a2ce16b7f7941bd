"""The train verb: a plan becomes a run under ``results/train/<name>/``.

``manifest.json`` (settings that must agree on resume), ``steps.jsonl``, ``completions.jsonl``,
``validation.jsonl``, ``checkpoints/``, and at the end ``chosen.json`` and ``model.toml`` of the checkpoint that
validation chose, so that ``cim eval --model results/train/<name>`` evaluates it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import store
from harness.errors import AlarmError, CimError
from harness.runs import manifest
from harness.runs.form import training_rows
from harness.train import checkpoints, inheritance, reward
from harness.train.log import FILES, VALIDATION
from harness.train.plan import Plan, settings

CHOSEN = "chosen.json"


def run(plan: Plan, say: Callable[[str], None], advance: Callable[[int, int], None], *, fresh: bool) -> dict[str, Any]:
    """Train or resume; returns the chosen checkpoint and the number of steps.

    Raises:
        SettingsError: a stored run of this name has other settings.
        AlarmError: a guard stopped the run; what it had saved is kept.
    """
    if os.environ.get("RANK", "0") != "0":
        return (None if fresh else _complete(plan)) or _train(plan, say, advance)
    with store.writing(plan.folder, "this training run"):
        if fresh:
            clear(plan.folder)
        current = settings(plan)
        manifest.check(plan.folder, current)
        if (alarm := (manifest.read(plan.folder) or {}).get("alarm")) is not None:
            hint = f"cim eval --model {plan.folder} evaluates its best checkpoint; --fresh starts over"
            raise CimError(f"this run was stopped by alarm {alarm}", where=str(plan.folder), hint=hint)
        if (stored := _complete(plan)) is not None:
            say(f"{plan.folder} is complete: nothing to train (--fresh begins anew)")
            return stored
        manifest.begin(plan.folder, current, {"about": plan.preset.about})
        try:
            result = _train(plan, say, advance)
        except AlarmError as error:
            if checkpoints.whole(plan.checkpoints):
                _conclude(plan, 0)
            manifest.advance(plan.folder, "stopped", alarm=error.name)
            raise
        manifest.advance(plan.folder, "complete")
        return result


def _complete(plan: Plan) -> dict[str, Any] | None:
    """What a run that has ended returned; None if there is none.

    Raises:
        CimError: the checkpoint that was chosen is gone.
    """
    if (manifest.read(plan.folder) or {}).get("status") != "complete":
        return None
    chosen, finished = store.read_document(plan.folder / CHOSEN), checkpoints.whole(plan.checkpoints)
    if chosen is None or chosen.get("checkpoint") not in [path.name for _, path in finished]:
        hint = "bring it back, or train anew with --fresh"
        raise CimError("this run is complete, but its chosen checkpoint is gone", where=str(plan.folder), hint=hint)
    return {"steps": finished[-1][0], "chosen": chosen, "folder": str(plan.folder)}


def _train(plan: Plan, say: Callable[[str], None], advance: Callable[[int, int], None]) -> dict[str, Any]:
    from harness.train import trl_engine  # loads torch and TRL

    if plan.gallery is None or plan.scoring is None:
        return _conclude(plan, trl_engine.train(plan, None, say, advance))
    with reward.opened(plan.gallery, plan.scoring, plan.material, plan.rewards, plan.lookup) as context:
        return _conclude(plan, trl_engine.train(plan, context, say, advance))


def _conclude(plan: Plan, steps: int) -> dict[str, Any]:
    """Choose a checkpoint, and write ``model.toml`` for it into the run's folder."""
    chosen = checkpoints.choose(plan.checkpoints, training_rows(plan.folder / VALIDATION))
    if os.environ.get("RANK", "0") == "0":
        inside = f"./checkpoints/{chosen['checkpoint']}" + (f"/{checkpoints.MERGED}" if plan.options.lora else "")
        store.write_document(plan.folder / CHOSEN, chosen)
        store.write_bytes(plan.folder / checkpoints.TOML, inheritance.model_toml(plan, chosen["step"], inside).encode())
    return {"steps": steps, "chosen": chosen, "folder": str(plan.folder)}


def clear(folder: Path) -> None:
    """Remove a stored run; the manifest last, so that no row is left without one."""
    for name in (*FILES, CHOSEN, checkpoints.TOML):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    (folder / manifest.NAME).unlink(missing_ok=True)
