"""What both engines that run weights share, so that they see the same prompt, image, precision and seed.

A prompt is the checkpoint's own chat template over (system,) image and text; an image is opened by
``harness/images.py`` at full size, the processor's limits do the rest. A checkpoint that reads text alone has a
tokenizer only, and so has one whose images the engine prepares (``image_placeholder``: InternVL's original layout). The
template's own tokens are none where a request's text holds them (``_text.py``). Heavy packages are imported only when
an engine runs.
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

from harness.engines import _template
from harness.engines._text import TextProcessor, control_tokens, neutral, text_only
from harness.errors import CimError, ImageError
from harness.images import open_image
from harness.parts import Generate
from harness.resources import checkpoint
from harness.runs import reasoning
from harness.types import Completion, Model, Request
from harness.weights import Server, Weights

# What the libraries raise on files that are no checkpoint's, and on templates that compute; ArithmeticError: 1 // 0.
UNREADABLE = (OSError, ValueError, ImportError, LookupError, TypeError, AttributeError, RuntimeError, ArithmeticError)
PROMPT_END = 16  # tokens at the end of a prompt in which a template may open thoughts
# What processors call the keys of [image]: those of transformers, and vLLM's own for InternVL's original layout.
LIMITS = {
    "min_pixels": ("min_pixels", "min_pixels"),
    "max_pixels": ("max_pixels", "max_pixels"),
    "min_tiles": ("min_patches", "min_dynamic_patch"),
    "max_tiles": ("max_patches", "max_dynamic_patch"),
}


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
        return checkpoint.read_json(Path(weights.checkpoint) / "config.json"), None
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
    return checkpoint.read_json(path), path.parent.name


def code(weights: Weights) -> dict[str, Any]:
    """What says whether code of the checkpoint may run; code of another repository has no such revision and is none."""
    pinned = {"code_revision": weights.revision} if weights.trust_remote_code and not weights.local else {}
    return {"trust_remote_code": weights.trust_remote_code, **pinned}


def load_processor(weights: Weights) -> Any:
    """The checkpoint's processor: chat template, tokenizer (padded on the left) and, if it looks, image processor.

    Raises:
        CimError: it cannot be read, has no chat template, or does not know an image setting.
    """
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    where, plain = weights.checkpoint, weights.image_placeholder is not None or text_only(config(weights)[0])
    kind = transformers.AutoTokenizer if plain else transformers.AutoProcessor
    try:
        processor = kind.from_pretrained(
            weights.checkpoint,
            revision=weights.revision,
            local_files_only=weights.local,
            **code(weights),
            **backend(weights),
        )
    except Exception as error:
        if not unreadable(error):
            raise
        raise CimError(f"processor cannot be loaded ({_line(error)})", where=where) from error
    if plain:
        processor = TextProcessor(processor, weights.image_placeholder)
    elif not isinstance(processor, transformers.ProcessorMixin):
        hint = "copy its processor_config.json, or name its image_placeholder (InternVL's original layout)"
        raise CimError("checkpoint has no processor for images", where=where, hint=hint)
    if not processor.chat_template:
        raise CimError("checkpoint has no chat template", where=where, hint="copy its chat_template.jinja")
    _refuse_endless(weights, processor)
    # Required for batches, and not what every saved tokenizer says.
    processor.tokenizer.padding_side = "left"
    _check_image_settings(weights, processor)
    return processor


def _refuse_endless(weights: Weights, processor: Any) -> None:
    """CimError for a chat template that does not come to an end."""
    template = processor.chat_template
    template = template if isinstance(template, str) else dict(template).get("default", "")
    request = Request("", "Describe this image in detail.")
    shown = not isinstance(processor, TextProcessor)
    arguments = {"conversations": [_messages(weights, processor, request, shown=shown)], "add_generation_prompt": True}
    tokens = {name: str(token) for name, token in processor.tokenizer.special_tokens_map.items()}
    _template.refuse_endless(template, json.dumps({**arguments, **_thinking(weights), **tokens}), weights.checkpoint)


def unreadable(error: Exception) -> bool:
    """Is an error what the libraries raise on a checkpoint's files? tokenizers raises an Exception of no kind."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    return type(error) is Exception or isinstance(error, (*UNREADABLE, StrictDataclassError, SafetensorError))


def backend(weights: Weights) -> dict[str, bool]:
    """What makes a processor resize images by the chosen library."""
    # transformers 5.17 hands `backend` on to video processors, which refuse it; its old name reaches images alone.
    return {} if weights.backend is None else {"use_fast": weights.backend == "torchvision"}


def _check_image_settings(weights: Weights, processor: Any) -> None:
    """CimError for a setting of [image] that the processor does not know."""
    if not (settings := weights.image_settings()):
        return
    if isinstance(processor, TextProcessor):
        known = {"min_tiles", "max_tiles"} if processor.placeholder else set[str]()
    else:
        keys = processor.image_processor.valid_kwargs.__annotations__
        known = {name for name, (theirs, _) in LIMITS.items() if theirs in keys}
        known |= {"backend"} if processor.image_processor.backend == weights.backend else set()
    if unknown := [f"{name} = {value!r}" for name, value in settings.items() if name not in known]:
        hint = "remove it from [image]"
        raise CimError(f"its image processor knows no {', '.join(unknown)}", where=weights.checkpoint, hint=hint)


def image_limits(weights: Weights, processor: Any = None) -> dict[str, int]:
    """The limits that are set, as the processor calls them.

    Both bounds of the area or none: a bound that is not set is the processor's own, because one alone is not heeded.
    """
    limits, plain = weights.image_settings(), weights.image_placeholder is not None
    if processor is not None and limits.keys() & {"min_pixels", "max_pixels"}:
        size = processor.image_processor.size
        limits = {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]} | limits
    return {LIMITS[name][plain]: value for name, value in limits.items() if name in LIMITS}


def adds_tokens(processor: Any, text: str) -> bool:
    """May the tokenizer add its special tokens? Not where the template has written them (transformers' rule)."""
    first = processor.tokenizer.bos_token
    return not (first and text.startswith(first))


def render(weights: Weights, processor: Any, request: Request) -> str:
    """The text of a request by the checkpoint's chat template; CimError where the template refuses it or fails."""
    from jinja2 import TemplateError

    messages = _messages(weights, processor, request, shown=request.image is not None)
    try:
        text: str = processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False, **_thinking(weights)
        )
    except (TemplateError, *UNREADABLE) as error:  # raise_exception() of a template is a TemplateError
        hint = "such as a system prompt that it does not know" if len(messages) > 1 else ""
        what = f"its chat template refuses a message ({_line(error)})"
        raise CimError(what, where=weights.checkpoint, hint=hint) from error
    return text


def _messages(weights: Weights, processor: Any, request: Request, *, shown: bool) -> list[dict[str, Any]]:
    """A request as the messages of a chat template; ``shown`` where it has an image."""
    content: Any = neutral(request.prompt, control_tokens(processor.tokenizer, weights.image_placeholder))
    system: Any = weights.system if request.system is None else request.system
    if isinstance(processor, TextProcessor):
        content = (processor.placeholder or "") + content if shown else content
    else:
        content = [*([{"type": "image"}] if shown else []), {"type": "text", "text": content}]
        system = system and [{"type": "text", "text": system}]
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    return messages


def _thinking(weights: Weights) -> dict[str, bool]:
    return {} if weights.thinking is None else {"enable_thinking": weights.thinking}


def prompts(weights: Weights, processor: Any, requests: Sequence[Request]) -> Iterator[Prompt | Completion]:
    """Each request ready to run, its image opened only now; a failed completion where that cannot be done.

    Raises:
        CimError: a checkpoint that reads text alone is asked to look at an image.
    """
    for request in requests:
        if request.image is None:
            yield Prompt(request, render(weights, processor, request), None)
            continue
        if isinstance(processor, TextProcessor) and processor.placeholder is None:
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
