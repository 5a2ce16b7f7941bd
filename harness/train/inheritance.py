"""What a checkpoint inherits of its start model: engine and dtype, so that both are evaluated alike.

A difference between a base model that vLLM ran in bfloat16 and its checkpoint that transformers ran in float32 would
partly be one of engines. The weights of a full fine-tune stay stored as they were trained, because a resume reads them;
engines load them in the dtype that ``model.toml`` names. A merged adapter is stored in that dtype.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.engines import _weights
from harness.engines._precision import precision
from harness.types import Model

# Vision towers (LLaVA, LLaVA-NeXT, Gemma 3) whose weights, named as transformers 5 saves them, vLLM 0.31 does not load.
UNREADABLE = ("clip_vision_model", "siglip_vision_model")


@dataclass(frozen=True, slots=True)
class Inherited:
    """How a checkpoint is run; ``why`` says in a sentence why the engine is not the start model's, if it is not."""

    engine: str
    dtype: str
    why: str = ""


def of(start: Model) -> Inherited:
    """What a checkpoint of this start model inherits.

    Raises:
        CimError: the start model has no weights, or its config.json is out of reach.
    """
    weights = _weights.of(start)
    content, _ = _weights.config(weights)
    dtype, tower = precision(weights, content), (content.get("vision_config") or {}).get("model_type")
    if start.engine == "vllm" and tower in UNREADABLE:
        why = f"On engine transformers: vLLM does not load a {content['model_type']} that transformers 5 has saved."
        return Inherited("transformers", dtype, why)
    return Inherited(start.engine, dtype)
