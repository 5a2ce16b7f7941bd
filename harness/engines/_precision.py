"""The dtype that a checkpoint runs in, the same for both engines, whose own rules differ; and the line that says so."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from harness.weights import Weights

LARGE = 1_000_000_000  # parameters; above, float32 is the dtype of training


def precision(weights: Weights, content: dict[str, Any]) -> str:
    """The dtype that ``auto`` means: that of the checkpoint, but bfloat16 for more than a billion float32 parameters.

    A checkpoint of that size in float32 is what training left; nobody evaluates it so. Engines' own rules differ.
    """
    if weights.dtype != "auto":
        return weights.dtype
    stored = stored_precision(content)
    return "bfloat16" if stored == "float32" and parameters(content) > LARGE else stored


def stored_precision(content: dict[str, Any]) -> str:
    """The dtype that a config.json names; float32 where it names none, as transformers has it."""
    inner = content.get("text_config") or content.get("llm_config") or {}
    named = [part.get(key) for part in (content, inner) for key in ("dtype", "torch_dtype") if part.get(key)]
    return str(named[0]) if named else "float32"


def parameters(content: dict[str, Any]) -> int:
    """About how many parameters the language model of a config.json has; 0 where it does not say."""
    inner = content.get("text_config") or content.get("llm_config") or content
    width, layers = inner.get("hidden_size") or 0, inner.get("num_hidden_layers") or 0
    layer = 4 * width * width + 3 * width * (inner.get("intermediate_size") or 4 * width)
    return int(layers * layer + width * (inner.get("vocab_size") or 0))


def announce(engine: str, weights: Weights, content: dict[str, Any]) -> str:
    """The dtype; for a checkpoint from the hub or a large one a line says that it is being loaded, for minutes."""
    dtype, stored = precision(weights, content), stored_precision(content)
    if not weights.local or parameters(content) > LARGE:
        why = f"; stored as {stored}, which 'auto' takes for small models only" if dtype != stored else ""
        name = Path(weights.checkpoint).name if weights.local else weights.checkpoint
        said = f"loading {name} on engine {engine} ({dtype}{why if weights.dtype == 'auto' else ''})"
        logging.getLogger(__name__).info(said)
    return dtype
