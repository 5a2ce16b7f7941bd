"""TRL's trainers used as a library: GRPO on rewards, and supervised fine-tuning on target captions.

GRPO comes with fixes, start-up check, validation and training log; rollouts are from transformers (the default) or
vLLM, colocated or on a server. Fine-tuning (``SFTTrainer``, loss on the caption only, TRL's own collator for images) is
the baseline that CIM is compared with, and a start model for it. ``plan.py`` checks a run beforehand. Run by
``cim train``, alone or under ``accelerate launch -m harness train ...``.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from harness.engines import _weights
from harness.errors import CimError
from harness.parts import RewardContext
from harness.train import alarms, checkpoints, examples, fixes, forward, layouts, trackers, validation
from harness.train.log import Clock, TrainingLog, device_memory_mb, memory_mb
from harness.train.reward import Scored, SharedScore, joined

if TYPE_CHECKING:
    from harness.train.plan import Plan

SMALL = 100_000_000  # parameters; below, a second CPU thread makes training slower
PROBED = 8  # captions of the start-up check
BATCH = 64  # greedy captions written at once


class Trained(Exception):
    """Ends a run that was killed after its last checkpoint; the trainer, once begun, would make one more step."""


def train(
    plan: Plan, context: RewardContext | None, say: Callable[[str], None], advance: Callable[[int, int], None]
) -> int:
    """Train, resuming from the last complete checkpoint if there is one; returns the total number of steps.

    Args:
        context: what rewards read; None for supervised fine-tuning, whose steps are optimiser updates.

    Raises:
        AlarmError: a guard stopped the run.
        CimError: something is missing or broken, or the disk is full; the last complete checkpoint is intact.
    """
    quiet()
    state = PartialState(cpu=not torch.cuda.is_available())  # torchrun's processes on a CPU are found only when told so
    if (processes := int(state.num_processes)) != plan.processes:
        raise CimError(f"planned for {plan.processes} processes, {processes} run", hint="use accelerate launch")
    launch = layouts.of_launch(PartialState().distributed_type.value)
    done, place = checkpoints.resumable(plan.checkpoints, launch) or (-1, None)  # -1: keep no row, not even of step 0
    if PartialState().is_main_process and (dropped := checkpoints.drop_unfinished(plan.checkpoints)):
        say(f"update {dropped[-1]} was not saved in full and is left out")
    if place is not None and plan.options.rollouts == "vllm":
        say("resumes; vLLM samples anew, so captions differ from those of an uninterrupted run")
    log = _log(plan, say, done) if PartialState().is_main_process else None
    try:
        seen = partial(_gather, log)
        trainer = fine_tuner(plan, place) if context is None else build(plan, context, place, seen, say)
        trainer.create_model_card = lambda **_: None  # else a model card for the hub is written at every save
        trainer.add_callback(_callback(plan, context, trainer, log, place, advance))
        trainer.remove_callback(PrinterCallback)
        resumed = None if place is None else str(place)
        checkpoints.save_or_say(plan.checkpoints, lambda: trainer.train(resume_from_checkpoint=resumed))
    except Trained:
        pass
    finally:
        if log is not None:
            log.close()
    return max(done, int(trainer.state.global_step) // plan.updates)


def _log(plan: Plan, say: Callable[[str], None], done: int) -> TrainingLog:
    provenance = {}
    if plan.gallery is not None and plan.scoring is not None:
        provenance = {"gallery": plan.gallery.sha[:12], "self_policy": plan.scoring.self_policy}
        provenance |= plan.lookup.changes()
    stopping = alarms.that_stop(plan.preset.stops, plan.options.tolerated)
    return TrainingLog(plan.folder, plan.updates, stopping, provenance, say, done)


def _gather(log: TrainingLog | None, scored: Scored) -> None:
    """Log a generation batch; each process has scored its share, and only rank 0 has a log."""
    parts = gather_object([scored]) if PartialState().num_processes > 1 else [scored]
    if log is not None:
        log.add_batch(joined(parts))


def quiet() -> None:
    """Silence the libraries' notices and progress bars."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", module="trl|transformers|torch|accelerate")
    logging.getLogger("trl").setLevel(logging.ERROR)


def build(
    plan: Plan,
    context: RewardContext,
    place: Path | None,
    seen: Callable[[Scored], None],
    say: Callable[[str], None],
) -> Any:
    """The GRPO trainer of a plan with the fixes applied.

    Args:
        place: the checkpoint to resume from.
        seen: receives each generation batch of this process once it is scored.
    """
    processor = _weights.load_processor(plan.weights)
    banned = fixes.banned(processor.tokenizer, keep=[processor.tokenizer.eos_token_id])
    config = _grpo_config(plan, banned)  # before the model is loaded, because DeepSpeed shards it during loading
    model = _policy(plan, place)
    shared = SharedScore(context, plan.rewards, plan.preset.group, _ends(model, processor.tokenizer), seen)
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=shared.functions(),
        args=config,
        train_dataset=examples.for_grpo(
            plan.material,
            examples.short_prompts(plan.material, plan.preset, plan.weights, processor, say),
            plan.weights,
        ),
        processing_class=processor,
        peft_config=checkpoints.adapter(model) if plan.options.lora else None,
    )
    trained, total = (sum(p.numel() for p in trainer.model.parameters() if p.requires_grad or full) for full in (0, 1))
    say(f"{trained:,} of {total:,} parameters are trained")
    if plan.options.rollouts == "vllm":
        colocated = plan.options.vllm_server is None
        fixes.guard_prompts(trainer.vllm_generation, trainer.model.config.image_token_id, expands=colocated)
        if colocated:
            fixes.reset_caches(trainer.vllm_generation)
    return trainer


def fine_tuner(plan: Plan, place: Path | None) -> Any:
    """The trainer of supervised fine-tuning on the target captions of the training images."""
    fields = {
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": list(plan.options.report_to),
        "max_length": None,  # truncating a prompt would remove image tokens
        "completion_only_loss": True,
        "remove_unused_columns": False,
        "dataset_kwargs": {"skip_prepare_dataset": True},
    }
    config = _config(plan, SFTConfig, fields)
    model = _policy(plan, place)
    return SFTTrainer(
        model=model,
        args=config,
        train_dataset=examples.for_sft(plan.material, plan.weights),
        processing_class=_weights.load_processor(plan.weights),
        peft_config=checkpoints.adapter(model) if plan.options.lora else None,
    )


def _grpo_config(plan: Plan, banned: Sequence[int]) -> Any:
    rollouts, server = plan.options.rollouts, plan.options.vllm_server
    fields: dict[str, Any] = {
        "reward_weights": list(plan.rewards.values()),
        "generation_kwargs": fixes.ban(banned, rollouts),
        "use_vllm": rollouts == "vllm",
    }
    if rollouts == "vllm":
        fields |= {"vllm_mode": "server" if server else "colocate", "vllm_server_base_url": server}
    return _config(plan, GRPOConfig, fields)


def _config(plan: Plan, kind: Any, fields: Mapping[str, Any]) -> Any:
    """A configuration of TRL of this kind; CimError for a field that it does not have or refuses."""
    known = [field.name for field in dataclasses.fields(kind)]
    if strangers := [name for name in plan.arguments if name not in known]:
        close = difflib.get_close_matches(strangers[0], known, n=1)
        raise CimError(f"TRL has no setting {strangers[0]!r}", hint=f"did you mean {close[0]}?" if close else "")
    run = {"output_dir": str(plan.checkpoints), "seed": plan.options.seed, "disable_tqdm": True}
    run |= {"report_to": list(plan.options.report_to), "run_name": plan.name} if plan.options.report_to else {}
    try:
        return kind(**{**plan.arguments, **run, **fields, "use_cpu": not torch.cuda.is_available()})
    except (TypeError, ValueError) as error:
        raise CimError(f"TRL refuses a setting ({' '.join(str(error).split())[:200]})", where="--set") from error


def _policy(plan: Plan, place: Path | None) -> Any:
    """The model to be trained, from the start model or the checkpoint to resume from."""
    start = checkpoints.start_folder(plan.weights)
    # A LoRA checkpoint holds no base weights: peft loads the adapter into the start model, exactly.
    source = start if place is None or plan.options.lora else str(place)
    model = checkpoints.load(source, start, plan.preset.dtype)
    if not torch.cuda.is_available() and model.num_parameters() < SMALL:
        torch.set_num_threads(1)
    return model


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:
    """Ids of end tokens: those that the model declares, and the tokenizer's."""
    listed = model.generation_config.eos_token_id
    ids = {tokenizer.eos_token_id, *(listed if isinstance(listed, list) else [listed])}
    return frozenset(token for token in ids if token is not None)


def _validator(plan: Plan, context: RewardContext, trainer: Any, log: TrainingLog | None) -> Callable[[int], None]:
    """A function that scores greedy captions of the held-out images after a step; all processes write captions."""
    assert context.scorer is not None
    scorer = context.scorer
    rows = examples.for_grpo(plan.material, images := plan.material.validation, plan.weights)
    banned = fixes.banned(trainer._tokenizer, keep=trainer.eos_token_ids)

    def validate(step: int) -> None:
        if len(rows):
            captions = forward.greedy(trainer, rows, banned, BATCH)
            if log is not None:
                written, first = dict(zip(images, captions, strict=True)), log.greedy(0) if step else {}
                start = [first[image] for image in images] if first else None
                values = validation.worth(plan.material, plan.rewards, scorer, captions, start)
                try:
                    log.log_validation(step, values, written)
                finally:
                    trackers.report(trainer, {"validation": log.validations[-1]}, (), str)

    return validate


def _callback(
    plan: Plan,
    context: RewardContext | None,
    trainer: Any,
    log: TrainingLog | None,
    place: Path | None,
    advance: Callable[[int, int], None],
) -> Any:
    """A TrainerCallback that checks, validates, logs and saves; only rank 0 has a log and writes."""
    clock, updates = Clock(), plan.updates
    # Not for a sharded model: DeepSpeed and FSDP load the checkpoint later, by code of their own.
    sharded = trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled
    exact = place is not None and not plan.options.lora and not sharded
    loaded = checkpoints.fingerprint(trainer.model) if exact else None
    if context is not None:
        clock.watch(trainer)
    picture = examples.opener(plan.material, plan.weights)
    validate = (lambda step: None) if context is None else _validator(plan, context, trainer, log)

    class Callback(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if loaded is not None:
                checkpoints.require_same(loaded, checkpoints.fingerprint(trainer.model), str(place))
            ended = state.global_step >= state.max_steps
            if context is not None:
                if plan.options.probe and not ended:
                    probe_rows = [trainer.train_dataset[at] for at in range(min(PROBED, len(trainer.train_dataset)))]
                    forward.require(forward.probe(trainer, probe_rows, fresh=place is None), forward.Limits())
                begun = state.global_step // updates
                # The row is also missing if a run was killed between a checkpoint and its validation.
                absent = [log is not None and all(row["step"] != begun for row in log.validations)]
                if broadcast_object_list(absent)[0]:  # rank 0 decides, as the others have no log
                    validate(begun)
                clock.take()
            if ended:
                raise Trained

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if log is None or "loss" not in logs:
                return
            if context is None:
                log.append({"step": state.global_step, "update": state.global_step, **logs})
            else:
                resources = {"seconds": clock.take(), "rss_mb": memory_mb(), "device_mb": device_memory_mb()}
                try:
                    log.log_update(state.global_step, logs, resources)
                finally:  # the row of an alarm as well
                    trackers.report(trainer, log.last, log.captions, picture)
            advance(state.global_step // updates, state.max_steps // updates)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            trainer.accelerator.wait_for_everyone()  # each process writes its RNG state, and maybe its shard
            if log is not None:
                with forward.same_randomness():  # the RNG state saved for a resume is the one before this
                    checkpoints.finish(plan, state.global_step)
            trainer.accelerator.wait_for_everyone()
            validate(state.global_step // updates)
            clock.take()

    return Callback()
