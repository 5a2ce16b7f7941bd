"""Small guarded fixes of engine defects that would change results silently (TRL 1.16, vLLM 0.31, transformers 5.17).

1. vLLM expands image tokens that TRL has already expanded (vllm #57796, trl #6401): each run is collapsed before the
   call, and the prompt that vLLM reports back must be the trainer's own.
2. ``resume_from_checkpoint`` restores nothing of Qwen2.5-VL (transformers #43701): the model is made from the
   checkpoint by ``from_pretrained``, and every tensor is compared after the trainer has done its own loading.
3. A policy may write image placeholders, on which the next forward pass dies (verl #7038): all are banned.
4. vLLM keeps image features across weight updates: its caches are emptied after every one.
5. TRL loads the reference policy from wherever the policy was loaded; after a resume that is the checkpoint, and the
   KL is measured from there. The start model is named instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.errors import AlarmError, CimError

PLACEHOLDER = re.compile(r"image|img|video|vision", re.IGNORECASE)
Fingerprint = dict[str, tuple[float, float]]


def collapse(ids: Sequence[int], image: int) -> list[int]:
    """Token ids with every run of the image token as one token: what a prompt holds before it is expanded."""
    return [token for at, token in enumerate(ids) if token != image or at == 0 or ids[at - 1] != image]


def runs(ids: Sequence[int], image: int) -> int:
    """How many runs of the image token a prompt holds; one an image."""
    return collapse(ids, image).count(image)


def guard_prompts(generation: Any, image: int, expands: bool) -> None:
    """Wrap ``generate`` of TRL's ``VLLMGeneration``: prompts go in collapsed and must come back as the trainer's.

    Args:
        image: the token that stands for an image.
        expands: does the engine expand prompts itself (colocated vLLM does, a server does not)?
    """
    inner: Callable[..., Any] = generation.generate

    def generate(prompts: Sequence[Sequence[int]], images: Any, num_generations: int, profiler: Any = None) -> Any:
        given = [collapse(ids, image) for ids in prompts] if expands else prompts
        for ids, pictures in zip(prompts, images or [None] * len(prompts), strict=True):
            if (found := runs(ids, image)) != len(pictures or ()):
                raise CimError(f"a prompt has {found} places for {len(pictures or ())} images", hint="see its template")
        made = inner(prompts=given, images=images, num_generations=num_generations, profiler=profiler)
        require_equal(prompts, made[0], image)
        return made

    generation.generate = generate


def require_equal(ours: Iterable[Sequence[int]], theirs: Iterable[Sequence[int]], image: int) -> None:
    """Refuse a rollout that did not see the trainer's prompts: AlarmError ``prompt_ids`` with image token counts."""
    for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        if list(one) != list(other):
            counts = f"{list(one).count(image)} and {list(other).count(image)} image tokens"
            sizes = f"{len(one)} and {len(other)} tokens, {counts}"
            raise AlarmError("prompt_ids", f"prompt {number} differs between trainer and rollout engine ({sizes})")


def banned(tokenizer: Any, keep: Iterable[int] = ()) -> list[int]:
    """Ids of all added tokens named after images, videos or vision, which no caption may hold.

    Args:
        keep: ids that end a text, never banned.
    """
    named = {token for token, text in tokenizer.added_tokens_decoder.items() if PLACEHOLDER.search(str(text))}
    return sorted(named - set(keep))


def ban(tokens: Sequence[int], rollouts: str) -> dict[str, Any]:
    """``generation_kwargs`` that keep tokens from being written; transformers' list replaces TRL's own entry of one."""
    if rollouts == "transformers":
        return {"suppress_tokens": list(tokens)}
    return {"logit_bias": {token: -100.0 for token in tokens}}


def reset_caches(generation: Any) -> None:
    """Wrap ``sync_weights`` of a colocated ``VLLMGeneration``: features of old weights are thrown away after it."""
    inner: Callable[[], None] = generation.sync_weights

    def sync_weights() -> None:
        inner()
        generation.llm.llm_engine.reset_encoder_cache()
        generation.llm.llm_engine.reset_mm_cache()

    generation.sync_weights = sync_weights


def load(checkpoint: str, start: str, dtype: str) -> Any:
    """The policy from a checkpoint by ``from_pretrained``; TRL then takes the reference policy from ``start``.

    Raises:
        CimError: the checkpoint lacks a weight, or holds one that the model has no place for.
    """
    import torch
    import transformers

    try:
        model, found = transformers.AutoModelForImageTextToText.from_pretrained(
            checkpoint,
            dtype=getattr(torch, dtype),
            local_files_only=Path(checkpoint).is_dir(),
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CimError(f"checkpoint cannot be loaded ({reason})", where=checkpoint) from error
    wrong = [f"{kind.removesuffix('_keys')} {name}" for kind in _FAULTS for name in sorted(map(str, found[kind]))]
    if wrong:
        hint = "copy the whole checkpoint"
        raise CimError(
            f"checkpoint does not fit its model ({len(wrong)} weights; {wrong[0]})", where=checkpoint, hint=hint
        )
    model.config._name_or_path = model.name_or_path = start
    return model


_FAULTS = ("missing_keys", "unexpected_keys", "mismatched_keys")


def fingerprint(model: Any) -> Fingerprint:
    """Sum and sum of absolute values of every tensor that is trained or kept, in float64."""
    import torch

    found = {}
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            values = tensor.detach().double()
            found[name] = (float(values.sum()), float(values.abs().sum()))
    return found


def require_same(before: Fingerprint, after: Fingerprint, where: str) -> None:
    """Refuse a resume after which weights are not the checkpoint's; names how many and the first."""
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if changed:
        what = f"resume changed {len(changed)} of {len(before)} weights, {changed[0]} first"
        raise CimError(what, where=where, hint="the trainer has loaded something else than this checkpoint")
