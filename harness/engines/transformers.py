"""Batched generation by the transformers library, on the CPU or one CUDA device; greedy unless told otherwise.

Requests are sorted by image area and length so that a batch holds little padding, and each batch's completions are
yielded as soon as it is done. A caption does not depend on its batch, except for rounding in half precision: rows are
padded on the left, and at a temperature every row samples with its own generator. Run with
``cim eval --model M --engine transformers``.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from harness.engines import _adapter, _weights
from harness.engines._choice import Choice
from harness.engines._precision import announce, precision
from harness.engines._text import TextProcessor
from harness.engines._weights import Prompt, Written
from harness.errors import CimError, OutageError
from harness.images import area
from harness.parts import Engine, Generate
from harness.types import Completion, Model, Request
from harness.weights import LOSSY, Weights

ROWS = 32
PIXELS = 8_000_000  # of a batch's images together; eight photographs of a megapixel
SMALL = 100_000_000  # parameters; below, a second CPU thread makes generation slower (measured)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory with its processor and the token ids that end a text."""

    weights: Weights
    model: Any
    processor: Any
    stops: frozenset[int]


def load(weights: Weights) -> Loaded:
    """Load a checkpoint for generation; CimError where it is of no kind this library knows."""
    import torch
    import transformers

    if reason := _refuses(weights):
        raise CimError(reason, where=weights.checkpoint, hint="run it with --engine vllm")
    content, commit = _weights.config(weights)
    processor = _weights.load_processor(weights)
    model = _adapter.load(weights, processor, announce("transformers", weights, content), commit)
    model = model.to(device()).eval()
    if device() == "cpu" and model.num_parameters() < SMALL:
        torch.set_num_threads(1)
    ends = model.generation_config.eos_token_id
    listed = [ends] if isinstance(ends, int) else ends or []
    stops = frozenset(token for token in (*listed, processor.tokenizer.eos_token_id) if token is not None)
    if not all(type(token) is int for token in stops):
        raise CimError("generation_config.json: eos_token_id is no number of a token", where=weights.checkpoint)
    padding = (processor.tokenizer.pad_token_id, processor.tokenizer.eos_token_id)
    # In place of the checkpoint's own: generate() fills what is not said from it, such as a repetition penalty.
    model.generation_config = transformers.GenerationConfig(
        do_sample=False,
        max_new_tokens=weights.sampling.max_tokens,
        eos_token_id=sorted(stops) or None,
        pad_token_id=next((token for token in padding if token is not None), 0),
    )
    return Loaded(weights, model, processor, stops)


def device() -> str:
    """Where models run: ``cuda`` where torch has it, else ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def encode(loaded: Loaded, batch: Sequence[Prompt]) -> Any:
    """Tensors of a batch of prompts, padded on the left; CimError where the processor refuses one."""
    processor, images = loaded.processor, [[prompt.image] for prompt in batch if prompt.image is not None]
    texts = [prompt.text for prompt in batch]
    text_kwargs = {"padding": True, "add_special_tokens": _weights.adds_tokens(processor, batch[0].text)}
    if isinstance(processor, TextProcessor):
        return processor.encode(texts, return_tensors="pt", **text_kwargs)
    try:
        return processor(
            text=texts,
            images=images or None,
            images_kwargs=_weights.image_limits(loaded.weights, processor),
            text_kwargs=text_kwargs,
            return_tensors="pt",
        )
    except ValueError as error:  # such as Qwen's limit of 200 on the ratio of an image's sides
        raise CimError(f"image refused by the processor ({' '.join(str(error).split())[:200]})") from error


def _write_batch(loaded: Loaded, batch: Sequence[Prompt], encoded: Any) -> list[Written]:
    """What the model writes for each prompt of an encoded batch."""
    import torch

    inputs = encoded.to(loaded.model.device, dtype=loaded.model.dtype)
    seeds = [_weights.seed(loaded.weights, prompt.request.sample_id) for prompt in batch]
    sampling = loaded.weights.sampling
    choose = [] if sampling.temperature == 0 and sampling.repetition_penalty == 1 else [Choice(sampling, inputs, seeds)]
    with torch.inference_mode():
        rows = loaded.model.generate(**inputs, logits_processor=choose)
    start = inputs["input_ids"].shape[1]
    completions = []
    for prompt, row, ids, mask in zip(batch, rows, inputs["input_ids"], inputs["attention_mask"], strict=True):
        written = row[start:].tolist()
        end = next((place + 1 for place, token in enumerate(written) if token in loaded.stops), None)
        completions.append(Written(prompt.request, ids[mask.bool()].tolist(), written[:end], end is not None))
    return completions


def batches(requests: Sequence[Request]) -> Iterator[list[Request]]:
    """Requests in batches of near-equal image areas, those without an image apart and by length."""
    areas = {request.sample_id: area(request.image) for request in requests}
    batch: list[Request] = []

    def size(request: Request) -> tuple[bool, int, int]:
        return request.image is not None, areas[request.sample_id], len(request.prompt)

    for request in sorted(requests, key=size):
        pixels = areas[request.sample_id] * (len(batch) + 1)  # the largest so far counts for all
        if batch and (len(batch) == ROWS or pixels > PIXELS or bool(batch[0].image) != bool(request.image)):
            yield batch
            batch = []
        batch.append(request)
    if batch:
        yield batch


def write(loaded: Loaded, requests: Sequence[Request]) -> Iterator[Written | Completion]:
    """What is written for each request, batch by batch; failed ones as completions.

    Raises:
        OutageError: one image or prompt alone needs more memory than the device has.
    """
    for batch in batches(requests):
        ready = list[Prompt]()
        for item in _weights.prompts(loaded.weights, loaded.processor, batch):
            if isinstance(item, Completion):
                yield item
            else:
                ready.append(item)
        yield from _split(loaded, ready)


def _split(loaded: Loaded, batch: Sequence[Prompt]) -> Iterator[Written | Completion]:
    """Write a batch; it is halved where the processor refuses an image or memory runs out."""
    import torch

    if not batch:
        return
    try:
        written = _write_batch(loaded, batch, encode(loaded, batch))
    except CimError as error:
        refused = str(error)
    except torch.OutOfMemoryError:
        refused = ""
    else:
        yield from written
        return
    if len(batch) > 1:
        half = len(batch) // 2
        yield from _split(loaded, batch[:half])
        yield from _split(loaded, batch[half:])
    elif refused:
        yield Completion(batch[0].request.sample_id, None, error=refused)
    else:
        looked_at = batch[0].image is not None
        hint = ("set a smaller image.max_pixels in the model's TOML, or " if looked_at else "") + "use a larger GPU"
        what = "image" if looked_at else "prompt"
        raise OutageError(f"out of memory with one {what}, {batch[0].request.sample_id}", hint=hint)


@contextmanager
def _session(model: Model) -> Iterator[Generate]:
    loaded = load(_weights.of(model))
    yield lambda requests: _weights.completions(loaded.processor, write(loaded, requests))


def logits(loaded: Loaded, prompt: Prompt, prefix: Sequence[int]) -> Any:
    """The model's logits (vocabulary,) for the token after a prompt and what was written so far."""
    import torch

    inputs = encode(loaded, [prompt]).to(loaded.model.device, dtype=loaded.model.dtype)
    start = inputs["input_ids"].shape[1]

    def follow(input_ids: Any, scores: Any) -> Any:
        done = input_ids.shape[1] - start
        forced = torch.full_like(scores, -torch.inf)
        forced[:, prefix[done] if done < len(prefix) else 0] = 0
        return forced

    with torch.inference_mode():
        output = loaded.model.generate(
            **inputs,
            logits_processor=[follow],
            max_new_tokens=len(prefix) + 1,
            output_logits=True,
            return_dict_in_generate=True,
        )
    return output.logits[-1][0].float()


def _refuses(weights: Weights) -> str | None:
    if weights.image_placeholder is not None:
        return "engine transformers has no processor for its images (key 'image_placeholder')"
    lossy = [key for key in LOSSY if key in weights.vllm]
    return f"engine transformers does not know key 'vllm.{lossy[0]}', which changes captions" if lossy else None


def _missing() -> str | None:
    return _weights.absent(("torch", "torchvision", "transformers", "PIL"), "setup-models")


def _describe(model: Model) -> Mapping[str, Any]:
    """What the manifest records; imports torch, so it is asked only of a run that captions."""
    import torch

    weights = _weights.of(model)
    content, commit = _weights.config(weights)
    name = device()
    return {
        "name": "transformers",
        "build": "transformers",
        "version": importlib.metadata.version("transformers"),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(0) if name == "cuda" else name,
        "dtype": precision(weights, content),
        "commit": commit,
        "sampling": {"do_sample": weights.sampling.temperature > 0, **asdict(weights.sampling)},
    }


ENGINE = Engine(
    name="transformers",
    generate=partial(_weights.generate, _session),
    missing=_missing,
    describe=_describe,
    session=_session,
    refuses=_refuses,
    batches=batches,
)
