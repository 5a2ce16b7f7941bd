"""Weights in and out of a training run; a checkpoint is a folder that ``cim eval --model FOLDER`` accepts as a model.

The trainer writes ``checkpoint-N``; once ``model.toml`` is in it, it is renamed to ``<run>-stepN``. A folder with
the trainer's name is therefore incomplete (a full disk, a kill) and is ignored. The best checkpoint is chosen by
``validation.jsonl``: by held-out images of the training set, never by a benchmark.

Two defects that would change results silently are fixed here. ``resume_from_checkpoint`` restores nothing of
Qwen2.5-VL (transformers #43701): the model is loaded from the checkpoint by ``from_pretrained``, and every tensor is
compared after the trainer's own loading. TRL loads the reference policy from wherever the policy was loaded, which
after a resume is the checkpoint, so the KL term would be measured from there: the start model is passed instead.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import store
from harness.engines import _weights
from harness.errors import CimError
from harness.train import inheritance, layouts
from harness.weights import Weights

if TYPE_CHECKING:
    from harness.train.plan import Plan

TOML = "model.toml"
MERGED = "merged"  # LoRA adapter merged into its base model, for engines without adapter support
CRITERION = "reward"
LOSS = 1.0  # points of the share of true statements that a chosen checkpoint may have lost on validation
TRAINER = re.compile(r"checkpoint-(\d+)")
RANK = 64  # of a LoRA adapter
FAULTS = ("missing_keys", "unexpected_keys", "mismatched_keys")  # of transformers' loading report
Fingerprint = dict[str, tuple[float, float]]


def start_folder(weights: Weights) -> str:
    """The folder of a start model; a hub checkpoint is downloaded first, so that all loaders see the same revision.

    Raises:
        CimError: the hub does not have it, or is unreachable.
    """
    if weights.local:
        return weights.checkpoint
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    kinds = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"]
    try:
        return str(snapshot_download(weights.checkpoint, revision=weights.revision, allow_patterns=kinds))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        what = f"cannot download the checkpoint from the hub ({type(error).__name__})"
        hint = "check the name, the revision and the network; HF_TOKEN opens gated models"
        raise CimError(what, where=weights.checkpoint, hint=hint) from error


def load(checkpoint: str, start: str, dtype: str) -> Any:
    """The policy from a checkpoint by ``from_pretrained``; TRL then takes the reference policy from ``start``.

    Raises:
        CimError: the checkpoint lacks a weight, or holds one that the model does not have.
    """
    import torch
    import transformers

    try:
        model, report = transformers.AutoModelForImageTextToText.from_pretrained(
            checkpoint,
            dtype=getattr(torch, dtype),
            local_files_only=Path(checkpoint).is_dir(),
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CimError(f"checkpoint cannot be loaded ({reason})", where=checkpoint) from error
    wrong = [f"{kind.removesuffix('_keys')} {name}" for kind in FAULTS for name in sorted(map(str, report[kind]))]
    if wrong:
        what = f"checkpoint does not fit its model ({len(wrong)} weights; {wrong[0]})"
        raise CimError(what, where=checkpoint, hint="copy the whole checkpoint")
    model.config._name_or_path = model.name_or_path = start
    return model


def fingerprint(model: Any) -> Fingerprint:
    """Sum and sum of absolute values of every parameter and buffer, in float64."""
    import torch

    sums = {}
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            values = tensor.detach().double()
            sums[name] = (float(values.sum()), float(values.abs().sum()))
    return sums


def require_same(before: Fingerprint, after: Fingerprint, where: str) -> None:
    """CimError if a resume changed the checkpoint's weights; names how many and the first."""
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if changed:
        what = f"resume changed {len(changed)} of {len(before)} weights, {changed[0]} first"
        raise CimError(what, where=where, hint="the trainer has loaded something else than this checkpoint")


def adapter(model: Any) -> Any:
    """LoRA of rank ``RANK`` on all linear layers of the language model; a deviation from the official recipe."""
    import torch
    from peft import LoraConfig

    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and "language_model" in name and not name.endswith("lm_head")
    ]
    return LoraConfig(r=RANK, lora_alpha=2 * RANK, lora_dropout=0.0, target_modules=linear, task_type="CAUSAL_LM")


def merge(weights: Weights, dtype: str, folder: Path) -> None:
    """Merge the adapter of a LoRA checkpoint into its base model, stored in this dtype, for engines and evaluation."""
    from peft import PeftModel

    start = start_folder(weights)
    base = load(start, start, dtype)
    PeftModel.from_pretrained(base, folder).merge_and_unload().save_pretrained(folder / MERGED)
    _weights.load_processor(weights).save_pretrained(folder / MERGED)


def finish(plan: Plan, update: int) -> None:
    """Make a saved checkpoint a model folder under its final name, and drop the resume state of older ones."""
    folder, step = plan.checkpoints / f"checkpoint-{update}", update // plan.updates
    if plan.options.lora:
        merge(plan.weights, inheritance.of(plan.options.model).dtype, folder)
    (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle that nothing here reads
    content = inheritance.model_toml(plan, step, f"./{MERGED}" if plan.options.lora else ".")
    store.write_bytes(folder / TOML, content.encode())
    lasting = folder.with_name(f"{plan.name}-step{step}")
    if lasting.exists():
        shutil.rmtree(lasting)
    folder.rename(lasting)
    forget_state(plan.checkpoints)


def save_or_say(folder: Path, work: Callable[[], Any]) -> None:
    """Do the work; if a checkpoint cannot be written, remove the incomplete one and name the last complete one.

    Raises:
        CimError: the disk is full or not writable.
    """
    from safetensors import SafetensorError

    try:
        work()
    except (OSError, RuntimeError, SafetensorError) as error:
        if not (dropped := drop_unfinished(folder)):
            raise
        finished = whole(folder)
        kept = f"{finished[-1][1].name} is complete; " if finished else ""
        reason = " ".join(str(error).split())[:120]
        hint = f"{kept}free some space, then the same command resumes"
        raise CimError(f"update {dropped[-1]} could not be saved ({reason})", where=str(folder), hint=hint) from error


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
        layouts.remove_state(path)


def resumable(folder: Path, launch: layouts.Layout) -> tuple[int, Path] | None:
    """The last finished checkpoint with its step, to be resumed from by a launch of this layout; None if there is none.

    Raises:
        CimError: it cannot be resumed from, so that going on would lose it and the rows up to it.
    """
    finished = whole(folder)
    if not finished:
        return None
    step, place = finished[-1]
    saved = layouts.layout_of(place)
    if saved is None:
        what = f"{place.name} has no optimiser state left, so the run cannot go on from it"
        raise CimError(what, where=str(folder), hint="move it away to go on from the one before, or --fresh")
    if saved is not launch:
        what = f"{place.name} was saved under {saved.name}, this launch has {launch.name}"
        raise CimError(what, where=str(folder), hint="launch as before, or --fresh to begin anew")
    return step, place


def choose(folder: Path, validations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The best finished checkpoint by validation: the highest reward among those whose captions stayed true.

    Captions stayed true where the share of true statements fell by at most ``LOSS`` points below the start model's. If
    it fell by more at every checkpoint, the one that lost least, with ``truth_kept`` false; where no truth is known the
    reward alone decides and ``truth_kept`` is null. Of a user's own images captions are as good as the start model's
    unless the interval of the paired difference in the first metric of references lies below 0 (``references_kept``).
    Ties go to the earlier one. If none was validated, the last, which ``split`` then says.

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
    start = next((row.get("truth") for row in validations if row["step"] == 0), None)
    known = [row for row in rows if row.get("truth") is not None] if start is not None else []
    kept = [row for row in known if start - row["truth"] <= LOSS]
    compared = [row for row in rows if row.get("references")]
    level = [row for row in compared if _first(row).get("ci95", [0, 0])[1] >= 0]
    if known and not kept:
        best = max(known, key=lambda row: (row["truth"], -row["step"]))
    elif compared and not level:
        best = max(compared, key=lambda row: (_first(row)["difference"], -row["step"]))
    else:
        best = max(kept or level or rows, key=lambda row: (row[CRITERION], -row["step"]))
    return {
        "checkpoint": paths[best["step"]].name,
        "step": best["step"],
        "criterion": CRITERION,
        "value": best[CRITERION],
        "split": "validation",
        "candidates": len(rows),
        "truth_kept": bool(kept) if known else None,
        "references_kept": bool(level) if compared else None,
        "last": paths[last].name,
    }


def _first(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a validation row holds of the metric of references that decides."""
    values: Mapping[str, Any] = next(iter(row["references"].values()))
    return values
