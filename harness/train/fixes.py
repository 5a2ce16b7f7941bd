"""Fixes of engine defects that would change results silently (TRL 1.16, vLLM 0.31, transformers 5.17).

1. vLLM expands image tokens that TRL has already expanded (vllm #57796, trl #6401): each run is collapsed before the
   call, and the prompt that vLLM reports back must be the trainer's own.
2. A policy may write image placeholders, on which the next forward pass fails (verl #7038): all are banned.
3. vLLM keeps image features across weight updates: its caches are cleared after each update.

Two more, of loading and resuming, are in ``checkpoints.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from harness.errors import AlarmError, CimError

PLACEHOLDER = re.compile(r"image|img|video|vision", re.IGNORECASE)


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
