"""What both engines that run weights share, so that they see the same prompt, image, precision and seed.

A prompt is the checkpoint's own chat template over (system,) image and text; an image is opened by
``harness/images.py`` at full size, the processor's limits do the rest. A checkpoint that reads text alone has a
tokenizer only. The template's own tokens are none where a request's text holds them (``_text.py``). Heavy packages are
imported only when an engine runs.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.engines._text import TextProcessor, control_tokens, neutral, text_only
from harness.errors import CimError, ImageError
from harness.images import open_image
from harness.parts import Generate
from harness.runs import reasoning
from harness.types import Completion, Model, Request
from harness.weights import Server, Weights

PROMPT_END = 16  # tokens at the end of a prompt in which a template may open thoughts


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request as an engine takes it: the rendered text and the opened image, None where it has none."""

    request: Request
    text: str
    image: Any


@dataclass(frozen=True, slots=True)
class Written:
    """Token ids of one prompt, image tokens included, and of what was written, the end token included."""

    request: Request
    prompt_ids: list[int]
    ids: list[int]
    stopped: bool


def of(model: Model) -> Weights:
    """The weights of a model that such an engine was given."""
    if model.weights is None:
        raise CimError(f"engine {model.engine} needs a model with a checkpoint", where=str(model.source))
    return model.weights


def generate(
    session: Callable[[Model], AbstractContextManager[Generate]], model: Model, requests: Sequence[Request]
) -> Iterator[Completion]:
    """Completions of an engine that is opened for these requests alone."""
    with session(model) as write:
        yield from write(requests)


def absent(packages: Sequence[str], target: str) -> str | None:
    """Which packages are not installed, and the command that installs them."""
    lacking = [name for name in packages if importlib.util.find_spec(name) is None]
    return f"{', '.join(lacking)} not installed; run `make {target}`" if lacking else None


def config(weights: Weights) -> tuple[dict[str, Any], str | None]:
    """The checkpoint's config.json, and the commit it is of where it comes from the hub.

    Raises:
        CimError: the hub does not have it, or cannot be reached.
    """
    if weights.local:
        return json.loads((Path(weights.checkpoint) / "config.json").read_bytes()), None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        path = Path(hf_hub_download(weights.checkpoint, "config.json", revision=weights.revision))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        hint = "check the name, the revision and the network; HF_TOKEN opens gated models"
        reason = f"{type(error).__name__}, revision {weights.revision or 'main'}"
        raise CimError(
            f"cannot download the checkpoint from the hub ({reason})", where=weights.checkpoint, hint=hint
        ) from error
    return json.loads(path.read_bytes()), path.parent.name


def precision(weights: Weights, content: dict[str, Any]) -> str:
    """The dtype that ``auto`` means: that of the checkpoint. Engines' own rules differ from each other."""
    if weights.dtype != "auto":
        return weights.dtype
    inner = content.get("text_config") or {}
    found = [part.get(key) for part in (content, inner) for key in ("dtype", "torch_dtype") if part.get(key)]
    return str(found[0]) if found else "float32"


def load_processor(weights: Weights) -> Any:
    """The checkpoint's processor: chat template, tokenizer (padded on the left) and, if it looks, image processor.

    Raises:
        CimError: it cannot be read, has no chat template, or knows no image limits where some are set.
    """
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    where, reads_text = weights.checkpoint, text_only(config(weights)[0])
    kind = transformers.AutoTokenizer if reads_text else transformers.AutoProcessor
    try:
        processor = kind.from_pretrained(
            weights.checkpoint,
            revision=weights.revision,
            trust_remote_code=weights.trust_remote_code,
            local_files_only=weights.local,
        )
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise CimError(f"processor cannot be loaded ({_line(error)})", where=where) from error
    if reads_text:
        processor = TextProcessor(processor)
    elif not isinstance(processor, transformers.ProcessorMixin):
        raise CimError("checkpoint has no processor for images", where=where, hint="copy its processor_config.json")
    if not processor.chat_template:
        raise CimError("checkpoint has no chat template", where=where, hint="copy its chat_template.jinja")
    # Required for batches, and not what every saved tokenizer says.
    processor.tokenizer.padding_side = "left"
    if weights.image_limits() and (
        reads_text or "min_pixels" not in processor.image_processor.valid_kwargs.__annotations__
    ):
        raise CimError("its image processor knows no min_pixels and max_pixels", where=where, hint="remove [image]")
    return processor


def image_limits(weights: Weights, processor: Any) -> dict[str, int]:
    """Both limits or none: a limit that is not set is the processor's own, because one alone is not heeded."""
    if not (given := weights.image_limits()):
        return {}
    size = processor.image_processor.size
    return {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]} | given


def adds_tokens(processor: Any, text: str) -> bool:
    """May the tokenizer add its special tokens? Not where the template has written them (transformers' rule)."""
    first = processor.tokenizer.bos_token
    return not (first and text.startswith(first))


def render(weights: Weights, processor: Any, request: Request) -> str:
    """The text of a request by the checkpoint's chat template."""
    asked: Any = neutral(request.prompt, control_tokens(processor.tokenizer))
    system: Any = weights.system
    if not isinstance(processor, TextProcessor):
        asked = [*([{"type": "image"}] if request.image else []), {"type": "text", "text": asked}]
        system = system and [{"type": "text", "text": system}]
    messages = [{"role": "user", "content": asked}]
    if weights.system is not None:
        messages.insert(0, {"role": "system", "content": system})
    thinking = {} if weights.thinking is None else {"enable_thinking": weights.thinking}
    text: str = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, **thinking)
    return text


def prompts(weights: Weights, processor: Any, requests: Sequence[Request]) -> Iterator[Prompt | Completion]:
    """Each request ready to run, its image opened only now; a failed completion where that cannot be done.

    Raises:
        CimError: a checkpoint that reads text alone is asked to look at an image.
    """
    for request in requests:
        if request.image is None:
            yield Prompt(request, render(weights, processor, request), None)
            continue
        if isinstance(processor, TextProcessor):
            hint = "it can answer a judge's questions: --judge"
            raise CimError("reads text alone and cannot look at images", where=weights.checkpoint, hint=hint)
        try:
            image = open_image(request.image)
        except ImageError as error:
            yield Completion(request.sample_id, None, error=str(error))
            continue
        yield Prompt(request, render(weights, processor, request), image)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def seed(weights: Weights | Server, sample_id: str) -> int:
    """A seed per sample, so that sampling depends neither on the rest of the batch nor on interruptions."""
    digest = hashlib.sha256(f"{weights.sampling.seed}:{sample_id}".encode()).digest()
    return int.from_bytes(digest[:4]) & 0x7FFFFFFF


def completion(processor: Any, written: Written) -> Completion:
    """The completion of what was written; special tokens are left out of its text, thoughts go to ``reasoning``.

    Thoughts are split off before special tokens are dropped, because some models' tags are such tokens, and with the
    opening tag that a template may have written at the end of the prompt.
    """
    tokenizer = processor.tokenizer
    decode = functools.partial(tokenizer.decode, clean_up_tokenization_spaces=False)
    raw = reasoning.opening(decode(written.prompt_ids[-PROMPT_END:], skip_special_tokens=False))
    text, thoughts = reasoning.split(raw + decode(written.ids, skip_special_tokens=False))
    if thoughts is None:
        text = decode(written.ids, skip_special_tokens=True)
    else:
        for token in tokenizer.all_special_tokens:
            text = text.replace(token, "").strip()
    name, reason = written.request.sample_id, "stop" if written.stopped else "length"
    counts = len(written.prompt_ids), len(written.ids)
    return Completion(name, text, reason, *counts, reasoning=thoughts)


def completions(processor: Any, written: Iterable[Written | Completion]) -> Iterator[Completion]:
    """The completions of what an engine wrote, failed ones as they are."""
    for item in written:
        yield item if isinstance(item, Completion) else completion(processor, item)
