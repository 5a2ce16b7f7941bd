"""The callback of ``watch``: greedy captions by the model in training, scored and tested between two steps.

Random states are restored, so that training is the same to the bit with and without it. With several processes the
first writes all captions while the others wait, and its verdict stops all. A sharded model (FSDP, DeepSpeed) cannot be
called by one process alone and is refused: ``caption=`` then asks an engine of the caller's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from accelerate.utils import broadcast_object_list

from harness import store
from harness.engines import _weights
from harness.engines.transformers import Loaded, encode
from harness.errors import CimError
from harness.images import open_image
from harness.resources import data
from harness.runs.run import image_folder
from harness.train import fixes
from harness.train.forward import evaluating, length, same_randomness
from harness.types import Completion, Request, Task
from harness.watching.evaluations import Evaluations, line
from harness.weights import Weights

LOG = logging.getLogger("harness")
Caption = Callable[[Sequence[Any], Sequence[str]], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a watch does: see ``watch``."""

    task: Task
    named: str
    metrics: Sequence[str]
    every: int
    images: int | None
    folder: Path
    stop: bool
    alpha: float
    max_tokens: int
    batch: int
    system: str | None
    caption: Caption | None


class Watch(transformers.TrainerCallback):  # type: ignore[misc]
    """Evaluates at step 0 and every so many steps; see ``watch``."""

    def __init__(self, trainer: Any, settings: Settings) -> None:
        self._trainer, self._settings = trainer, settings
        self._requests = _requests(settings)
        self._evaluations: Evaluations | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say the plan, and evaluate the start model unless training resumes."""
        settings, trainer = self._settings, self._trainer
        if settings.caption is None and (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
            hint = "watch(..., caption=f) with captions by your rollout engine"
            raise CimError("the model in training is sharded over processes", hint=hint)
        looks = state.max_steps // settings.every
        self._evaluations = Evaluations(
            settings.folder, settings.named, settings.metrics, looks=looks, alpha=settings.alpha
        )
        if state.is_world_process_zero:
            LOG.info(
                "watch: %d images of %s every %d of %d steps, %d evaluations by %s; at most %g false alarms per run",
                *(len(self._requests), settings.task.name, settings.every, state.max_steps, looks),
                *(", ".join(settings.metrics), settings.alpha),
            )
            self._evaluations.resume(state.global_step)
        if state.global_step == 0:
            self._evaluate(state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Evaluate where it is time."""
        if state.global_step % self._settings.every == 0:
            self._evaluate(state, control)

    def _evaluate(self, state: Any, control: Any) -> None:
        evaluations, step = self._evaluations, state.global_step
        assert evaluations is not None
        worse = [False]
        if state.is_world_process_zero:
            with same_randomness():
                texts = _captions(self._trainer, self._requests, self._settings)
                captions = {request.sample_id: text for request, text in zip(self._requests, texts, strict=True)}
                row = evaluations.add(step, captions) if step else evaluations.begin(captions)
            LOG.info("watch: %s", line(row))
            worse = [bool(row["worse"])]
            self._log(row)
        if broadcast_object_list(worse)[0] and self._settings.stop:
            control.should_training_stop = True

    def _log(self, row: dict[str, Any]) -> None:
        """To the trackers: by transformers' own ``log``, as TRL's would empty its means between two of its lines."""
        values = {f"cim/{label.replace(' ', '_')}": value for label, value in row["values"].items()}
        tests = {f"cim/{label.replace(' ', '_')}_p_worse": test["p"] for label, test in row["tests"].items()}
        transformers.Trainer.log(self._trainer, {**values, **tests, "cim/worse": float(bool(row["worse"]))})


def _requests(settings: Settings) -> list[Request]:
    """The images to caption, in the order of the task; rendered ones are written to the watch's folder.

    Raises:
        CimError: the task has no images, or some are not there.
    """
    task, folder = settings.task, image_folder(settings.task, settings.folder)
    samples = data.samples(task)[: settings.images]
    for sample in samples:
        if sample.image is None:
            raise CimError("has no images", where=f"task {task.name}", hint="a task with images, such as docci500")
        path = folder / sample.image
        if task.draw and not path.is_file():
            store.write_bytes(path, task.draw(sample.task_id))
    requests = [Request(sample.id, task.prompt, folder / str(sample.image)) for sample in samples]
    if absent := [request for request in requests if request.image and not request.image.is_file()]:
        what = f"{len(absent)} of {len(requests)} images are not there, {absent[0].image} first"
        raise CimError(what, where=f"task {task.name}", hint=f"run `cim data fetch {task.name}`")
    return requests


def _captions(trainer: Any, requests: Sequence[Request], settings: Settings) -> list[str]:
    """Greedy captions of all requests."""
    if settings.caption is not None:
        images = [open_image(request.image) for request in requests if request.image]
        texts = list(settings.caption(images, [request.prompt for request in requests]))
        if len(texts) != len(requests) or not all(isinstance(text, str) for text in texts):
            what = f"caption() gave {len(texts)} texts for {len(requests)} images"
            raise CimError(what, hint="one str per image, in their order")
        return texts
    processor, model = trainer.processing_class, trainer.accelerator.unwrap_model(trainer.model)
    ends = model.generation_config.eos_token_id
    listed = [ends] if isinstance(ends, int) else ends or []
    stops = frozenset({*listed, processor.tokenizer.eos_token_id} - {None})
    weights = Weights(checkpoint="the model in training", system=settings.system)
    loaded = Loaded(weights, model, processor, stops)
    texts = list[str]()
    with evaluating(model), _padded_left(processor.tokenizer):
        for start in range(0, len(requests), settings.batch):
            texts += _write(loaded, requests[start : start + settings.batch], settings.max_tokens)
    return texts


def _write(loaded: Loaded, requests: Sequence[Request], max_tokens: int) -> list[str]:
    prompts = list[_weights.Prompt]()
    for request, prompt in zip(requests, _weights.prompts(loaded.weights, loaded.processor, requests), strict=True):
        if isinstance(prompt, Completion):
            raise CimError(str(prompt.error), where=str(request.image))
        prompts.append(prompt)
    tokenizer, ends = loaded.processor.tokenizer, sorted(loaded.stops)
    settings = transformers.GenerationConfig(
        do_sample=False,
        max_new_tokens=max_tokens,
        eos_token_id=ends,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0],
        suppress_tokens=fixes.banned(tokenizer, keep=ends) or None,
        disable_compile=True,
    )
    inputs = encode(loaded, prompts).to(loaded.model.device, dtype=loaded.model.dtype)
    rows = loaded.model.generate(**inputs, generation_config=settings)[:, inputs["input_ids"].shape[1] :].tolist()
    written = [row[: length(row, ends)] for row in rows]
    return [text.strip() for text in tokenizer.batch_decode(written, skip_special_tokens=True)]


@contextmanager
def _padded_left(tokenizer: Any) -> Iterator[None]:
    """Pad prompts on the left, and restore the trainer's side on exit."""
    before, tokenizer.padding_side = tokenizer.padding_side, "left"
    try:
        yield
    finally:
        tokenizer.padding_side = before
