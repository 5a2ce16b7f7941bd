"""Fixes of engine defects that would change results silently (TRL 1.16, vLLM 0.31, transformers 5.17).

1. vLLM expands image tokens that TRL has already expanded (vllm #57796, trl #6401): each run is collapsed before the
   call, and the prompt that vLLM reports back must be the trainer's own.
2. ``resume_from_checkpoint`` restores nothing of Qwen2.5-VL (transformers #43701): the model is loaded from the
   checkpoint by ``from_pretrained``, and every tensor is compared after the trainer's own loading.
3. A policy may write image placeholders, on which the next forward pass fails (verl #7038): all are banned.
4. vLLM keeps image features across weight updates: its caches are cleared after each update.
5. TRL loads the reference policy from wherever the policy was loaded; after a resume that is the checkpoint, so
   the KL term would be measured from there. The start model is passed instead.
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
    """Number of runs of the image token in a prompt; one per image."""
    return collapse(ids, image).count(image)


def guard_prompts(generation: Any, image: int, expands: bool) -> None:
    """Wrap ``generate`` of TRL's ``VLLMGeneration``: prompts go in collapsed and must come back as the trainer's.

    Args:
        image: id of the image token.
        expands: does the engine expand prompts itself (colocated vLLM does, a server does not)?
    """
    inner: Callable[..., Any] = generation.generate

    def generate(prompts: Sequence[Sequence[int]], images: Any, num_generations: int, profiler: Any = None) -> Any:
        token_ids = [collapse(ids, image) for ids in prompts] if expands else prompts
        for ids, pictures in zip(prompts, images or [None] * len(prompts), strict=True):
            if (slots := runs(ids, image)) != len(pictures or ()):
                raise CimError(f"a prompt has {slots} places for {len(pictures or ())} images", hint="see its template")
        generated = inner(prompts=token_ids, images=images, num_generations=num_generations, profiler=profiler)
        require_equal(prompts, generated[0], image)
        return generated

    generation.generate = generate


def require_equal(trainer_ids: Iterable[Sequence[int]], engine_ids: Iterable[Sequence[int]], image: int) -> None:
    """Refuse a rollout that did not see the trainer's prompts: AlarmError ``prompt_ids`` with image token counts."""
    for number, (ours, theirs) in enumerate(zip(trainer_ids, engine_ids, strict=True)):
        if list(ours) != list(theirs):
            counts = f"{list(ours).count(image)} and {list(theirs).count(image)} image tokens"
            sizes = f"{len(ours)} and {len(theirs)} tokens, {counts}"
            raise AlarmError("prompt_ids", f"prompt {number} differs between trainer and rollout engine ({sizes})")


def banned(tokenizer: Any, keep: Iterable[int] = ()) -> list[int]:
    """Ids of all added tokens named after images, videos or vision, which no caption may contain.

    Args:
        keep: ids that end a text, never banned.
    """
    named = {token for token, text in tokenizer.added_tokens_decoder.items() if PLACEHOLDER.search(str(text))}
    return sorted(named - set(keep))


def ban(tokens: Sequence[int], rollouts: str) -> dict[str, Any]:
    """``generation_kwargs`` that ban tokens; the list for transformers replaces TRL's own entry of one token."""
    if rollouts == "transformers":
        return {"suppress_tokens": list(tokens)}
    return {"logit_bias": {token: -100.0 for token in tokens}}


def reset_caches(generation: Any) -> None:
    """Wrap ``sync_weights`` of a colocated ``VLLMGeneration``: it then also discards features of the old weights."""
    inner: Callable[[], None] = generation.sync_weights

    def sync_weights() -> None:
        inner()
        generation.llm.llm_engine.reset_encoder_cache()
        generation.llm.llm_engine.reset_mm_cache()

    generation.sync_weights = sync_weights


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
    wrong = [f"{kind.removesuffix('_keys')} {name}" for kind in _FAULTS for name in sorted(map(str, report[kind]))]
    if wrong:
        hint = "copy the whole checkpoint"
        raise CimError(
            f"checkpoint does not fit its model ({len(wrong)} weights; {wrong[0]})", where=checkpoint, hint=hint
        )
    model.config._name_or_path = model.name_or_path = start
    return model


_FAULTS = ("missing_keys", "unexpected_keys", "mismatched_keys")


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
