"""Supervised fine-tuning by TRL's ``SFTTrainer``: the baseline that CIM is compared with, and a start model for it.

Loss on the caption only (prompt-completion data, TRL's own collator for images).
Run with ``cim train --stage sft --model M``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from harness import store
from harness.engines import _weights
from harness.errors import CimError
from harness.train import checkpoints, examples, fixes, forward, presets, saving, trl_engine
from harness.train.book import STEPS, drop_rows, plain
from harness.train.material import Material
from harness.weights import Weights

if TYPE_CHECKING:
    from harness.train.options import Asked


def train(
    folder: Path,
    origin: checkpoints.Origin,
    weights: Weights,
    request: Asked,
    preset: presets.Preset,
    material: Material,
    say: Callable[[str], None],
    advance: Callable[[int, int], None],
) -> int:
    """Fine-tune on the material's target captions, from the last whole checkpoint where there is one.

    Returns the steps made; a step is one optimiser update.
    """
    trl_engine.quiet()
    inner = folder / "checkpoints"
    if dropped := checkpoints.drop_unfinished(inner):
        say(f"step {dropped[-1]} was not saved in full and is left out")
    done, place = checkpoints.resumable(inner) or (0, None)
    drop_rows(folder / STEPS, done)
    settings, start = configuration(inner, request, preset), saving.start_folder(weights)
    model = fixes.load(start if place is None or request.options.lora else str(place), start, preset.dtype)
    if not torch.cuda.is_available() and model.num_parameters() < trl_engine.SMALL:
        torch.set_num_threads(1)
    targets = [examples.Example(image, material.keys[image], material.target(image)) for image in material.train]
    pictures = examples.Pictures(material.place, weights.max_pixels, material.shown)
    trainer = SFTTrainer(
        model=model,
        args=settings,
        train_dataset=examples.for_sft(targets, pictures, material.prompt, weights.system),
        processing_class=_weights.load_processor(weights),
        peft_config=saving.adapter(model) if request.options.lora else None,
    )
    trainer.create_model_card = lambda **_: None
    loaded = fixes.fingerprint(trainer.model) if place is not None and not request.options.lora else None

    def finish(step: int) -> None:
        model_settings = (request.options.lora, weights, preset.dtype, request.model.tasks)
        saving.finish(inner, origin, step, 1, *model_settings)

    trainer.add_callback(_callback(trainer, folder, loaded, finish, advance))
    trainer.remove_callback(PrinterCallback)
    if not 0 < trainer.args.max_steps <= done:
        saving.save_or_say(inner, lambda: trainer.train(resume_from_checkpoint=place and str(place)))
    return max(done, int(trainer.state.global_step))


def configuration(output: Path, request: Asked, preset: presets.Preset) -> SFTConfig:
    """The settings of a run; the option ``steps`` counts optimiser updates here."""
    fields = presets.sft_arguments(preset, request.options.steps, request.options.settings)
    trl_engine.check_fields(SFTConfig, fields)
    fields |= {
        "output_dir": str(output),
        "seed": request.options.seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": [],
        "disable_tqdm": True,
        "max_length": None,  # truncating a prompt would remove image tokens
        "completion_only_loss": True,
        "remove_unused_columns": False,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "use_cpu": not torch.cuda.is_available(),
    }
    try:
        return SFTConfig(**fields)
    except (TypeError, ValueError) as error:
        raise CimError(f"TRL refuses a setting ({' '.join(str(error).split())[:200]})", where="--set") from error


def _callback(
    trainer: Any,
    folder: Path,
    loaded: fixes.Fingerprint | None,
    finish: Callable[[int], None],
    advance: Callable[[int, int], None],
) -> Any:
    """A TrainerCallback that logs rows and turns checkpoints into model folders; only rank 0 writes."""

    class Callback(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if loaded is not None:
                fixes.require_same(loaded, fixes.fingerprint(trainer.model), str(folder))

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if state.is_world_process_zero and "loss" in logs:
                with store.Appender(folder / STEPS) as appender:
                    appender.append(plain({"step": state.global_step, "update": state.global_step, **logs}))
                advance(state.global_step, state.max_steps)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.is_world_process_zero:
                with forward.same_randomness():
                    finish(state.global_step)
            trainer.accelerator.wait_for_everyone()

    return Callback()
