"""GRPO by TRL's ``GRPOTrainer``, used as a library, with data set, rewards, fixes, start-up check and training log.

Rollouts come from transformers (the default) or vLLM, colocated or on a server; ``run.py`` plans the run. Run by
``cim train``, alone or under ``accelerate launch -m harness train ...``.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate.utils import broadcast_object_list, gather_object
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from harness.engines import _weights
from harness.errors import CimError
from harness.train import alarms, checkpoints, examples, fixes, forward, phases, presets, probe, saving
from harness.train.book import Book
from harness.train.options import Options
from harness.train.scoring import Extra, Scored, Scorer, SharedScore, joined
from harness.weights import Weights

SMALL = 100_000_000  # parameters; below, a second CPU thread makes training slower
PROBED = 8


@dataclass(frozen=True, slots=True)
class Job:
    """All inputs of one GRPO run.

    ``weights`` is the start model, ``folder`` the run's; ``judge`` scores (``reward``, ``precision``) the
    greedy captions of the validation examples; ``limits`` None skips the start-up check.
    """

    folder: Path
    weights: Weights
    tasks: Sequence[str]
    origin: checkpoints.Origin
    preset: presets.Preset
    train: Sequence[examples.Example]
    validation: Sequence[examples.Example]
    pictures: examples.Pictures
    prompt: str
    scorer: Scorer
    rewards: Mapping[str, float]
    judge: Callable[[Sequence[str]], Mapping[str, float | None]]
    mark: Mapping[str, Any]
    say: Callable[[str], None]
    advance: Callable[[int, int], None]
    extra: Mapping[str, Extra] = field(default_factory=dict)
    limits: probe.Limits | None = field(default_factory=probe.Limits)
    options: Options = field(default_factory=Options)

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints of the run are."""
        return self.folder / "checkpoints"


def train(job: Job) -> int:
    """Train, resuming from the last complete checkpoint if there is one; returns the total number of steps.

    Raises:
        AlarmError: a guard stopped the run.
        CimError: something is missing or broken, or the disk is full; the last complete checkpoint is intact.
    """
    quiet()
    if dropped := checkpoints.drop_unfinished(job.checkpoints):
        job.say(f"update {dropped[-1]} was not saved in full and is left out")
    done, place = checkpoints.resumable(job.checkpoints) or (-1, None)  # -1: keep no row, not even of step 0
    if place is not None and job.options.rollouts == "vllm":
        job.say("resumes; vLLM samples anew, so captions differ from those of an uninterrupted run")
    book: list[Book] = []

    def seen(scored: Scored) -> None:
        parts = gather_object([scored]) if _processes() > 1 else [scored]
        for log in book:
            log.saw(joined(parts))

    trainer = build(job, place, seen)
    if trainer.accelerator.is_main_process:
        stopping = alarms.that_stop(job.preset.stops, job.options.tolerated)
        book.append(Book(job.folder, job.preset.updates, stopping, job.mark, job.say, done))
    trainer.add_callback(_callback(job, trainer, book, place))
    trainer.remove_callback(PrinterCallback)
    try:
        if place is None or not 0 < trainer.args.max_steps <= done * job.preset.updates:
            resumed = None if place is None else str(place)
            saving.save_or_say(job.checkpoints, lambda: trainer.train(resume_from_checkpoint=resumed))
    finally:
        for training_log in book:
            training_log.close()
    return max(done, int(trainer.state.global_step) // job.preset.updates)


def quiet() -> None:
    """Silence the libraries' notices and progress bars."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", module="trl|transformers|torch|accelerate")
    logging.getLogger("trl").setLevel(logging.ERROR)


def configuration(job: Job, processes: int, banned: Sequence[int]) -> dict[str, Any]:
    """Fields of ``GRPOConfig`` of a job."""
    fields = presets.arguments(job.preset, processes, job.options.steps, job.options.settings)
    fields |= {
        "output_dir": str(job.checkpoints),
        "seed": job.options.seed,
        "reward_weights": list(job.rewards.values()),
        "generation_kwargs": fixes.ban(banned, job.options.rollouts),
        "disable_tqdm": True,
        "use_vllm": job.options.rollouts == "vllm",
    }
    if job.options.rollouts == "vllm":
        fields |= {
            "vllm_mode": "server" if job.options.server else "colocate",
            "vllm_server_base_url": job.options.server,
        }
    if not torch.cuda.is_available():
        fields |= {"use_cpu": True}
    check_fields(GRPOConfig, fields)
    return fields


def check_fields(config: Any, fields: Mapping[str, Any]) -> None:
    """CimError for a field that a TRL configuration does not have."""
    known = [field.name for field in dataclasses.fields(config)]
    if strangers := [name for name in fields if name not in known]:
        close = difflib.get_close_matches(strangers[0], known, n=1)
        raise CimError(f"TRL has no setting {strangers[0]!r}", hint=f"did you mean {close[0]}?" if close else "")


def build(job: Job, place: Path | None, seen: Callable[[Scored], None]) -> Any:
    """The trainer of a job with the fixes applied; ``place`` is the checkpoint to resume from."""
    processor = _weights.load_processor(job.weights)
    start = saving.start_folder(job.weights)
    banned = fixes.banned(processor.tokenizer, keep=[processor.tokenizer.eos_token_id])
    try:  # before the model is loaded, because DeepSpeed shards it during loading
        config = GRPOConfig(**configuration(job, _processes(), banned))
    except (TypeError, ValueError) as error:
        raise CimError(f"TRL refuses a setting ({' '.join(str(error).split())[:200]})", where="--set") from error
    # A LoRA checkpoint holds no base weights: peft loads the adapter into the start model, exactly.
    model = fixes.load(start if place is None or job.options.lora else str(place), start, job.preset.dtype)
    if not torch.cuda.is_available() and model.num_parameters() < SMALL:
        torch.set_num_threads(1)
    ends = _ends(model, processor.tokenizer)
    shared = SharedScore(job.scorer, job.rewards, job.preset.group, frozenset(ends), seen, job.extra)

    def count(size: tuple[int, int]) -> int:
        return examples.prompt_tokens(processor, job.prompt, job.weights.system, size)

    kept = examples.short_enough(job.train, job.pictures, count, job.preset.prompt_tokens)
    if len(kept) < len(job.train):
        job.say(f"{len(job.train) - len(kept)} images are left out: prompts over {job.preset.prompt_tokens} tokens")
    if len(kept) < job.preset.prompts:
        what = f"{len(kept)} training images, a step takes {job.preset.prompts}"
        raise CimError(what, hint="a larger training set, or another preset")
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=shared.functions(),
        args=config,
        train_dataset=examples.for_grpo(kept, job.pictures, job.prompt, job.weights.system),
        processing_class=processor,
        peft_config=saving.adapter(model) if job.options.lora else None,
    )
    trainer.create_model_card = lambda **_: None  # else a model card for the hub is written at every save
    trained, whole = (sum(p.numel() for p in trainer.model.parameters() if p.requires_grad or full) for full in (0, 1))
    job.say(f"{trained:,} of {whole:,} parameters are trained")
    if job.options.rollouts == "vllm":
        _guard(trainer, colocated=job.options.server is None)
    return trainer


def _processes() -> int:
    from accelerate import PartialState

    return int(PartialState().num_processes)


def _ends(model: Any, tokenizer: Any) -> list[int]:
    """Ids of end tokens: those that the model declares, and the tokenizer's."""
    listed = model.generation_config.eos_token_id
    ids = {tokenizer.eos_token_id, *(listed if isinstance(listed, list) else [listed])}
    return sorted(token for token in ids if token is not None)


def _guard(trainer: Any, *, colocated: bool) -> None:
    """Apply the fixes between TRL and vLLM."""
    image = trainer.model.config.image_token_id
    fixes.guard_prompts(trainer.vllm_generation, image, expands=colocated)
    if colocated:
        fixes.reset_caches(trainer.vllm_generation)


def _callback(job: Job, trainer: Any, book: Sequence[Book], place: Path | None) -> Any:
    """A TrainerCallback that checks, validates, logs and saves; only rank 0 has a log and writes."""
    clock = phases.Clock()
    clock.watch(trainer)
    # Not for a sharded model: DeepSpeed and FSDP load the checkpoint later, by code of their own.
    sharded = trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled
    loaded = fixes.fingerprint(trainer.model) if place is not None and not job.options.lora and not sharded else None
    rows = examples.for_grpo(job.validation, job.pictures, job.prompt, job.weights.system)
    banned = fixes.banned(trainer._tokenizer, keep=trainer.eos_token_ids)

    def validate(step: int) -> None:
        if len(rows):
            captions = forward.greedy(trainer, rows, banned, 64)
            for log in book:
                log.validated(step, job.judge(captions))
            clock.take()

    class Callback(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if loaded is not None:
                fixes.require_same(loaded, fixes.fingerprint(trainer.model), str(place))
            if job.limits is not None:
                probe_rows = [trainer.train_dataset[at] for at in range(min(PROBED, len(trainer.train_dataset)))]
                probe.require(probe.probe(trainer, probe_rows, fresh=place is None), job.limits)
            begun = state.global_step // job.preset.updates
            # The row is also missing if a run was killed between a checkpoint and its validation.
            absent = [not any(row["step"] == begun for log in book for row in log.validations)]
            if broadcast_object_list(absent)[0]:  # rank 0 decides, as the others have no log
                validate(begun)
            clock.take()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if not book or "loss" not in logs:
                return
            facts = {"seconds": clock.take(), "rss_mb": phases.memory_mb(), "device_mb": phases.device_memory_mb()}
            book[0].logged(state.global_step, logs, facts)
            job.advance(state.global_step // job.preset.updates, state.max_steps // job.preset.updates)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if book:
                with forward.same_randomness():  # the RNG state saved for a resume is the one before this
                    settings = (job.options.lora, job.weights, job.preset.dtype, job.tasks)
                    saving.finish(job.checkpoints, job.origin, state.global_step, job.preset.updates, *settings)
            trainer.accelerator.wait_for_everyone()
            validate(state.global_step // job.preset.updates)

    return Callback()
