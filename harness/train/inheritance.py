"""What a checkpoint inherits of its start model: engine and dtype, so that both are evaluated alike.

A difference between a base model that vLLM ran in bfloat16 and its checkpoint that transformers ran in float32 would
partly be one of engines. The weights of a full fine-tune stay stored as they were trained, because a resume reads them;
engines load them in the dtype that ``model.toml`` names. A merged adapter is stored in that dtype.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.engines import _weights
from harness.engines._precision import precision
from harness.types import Model

if TYPE_CHECKING:
    from harness.train.plan import Plan

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


def model_toml(plan: Plan, step: int, inside: str) -> str:
    """The ``model.toml`` of a checkpoint: evaluated as its start model is.

    Args:
        inside: folder of the weights, relative to the file.
    """
    options, weights, runs = plan.options, plan.weights, of(plan.options.model)
    about = f"{options.task} from {options.model.name}, preset {plan.preset.name}, step {step}. {runs.why}"
    lines = [
        f"about = {toml_value(about.strip())}",
        f"engine = {toml_value(runs.engine)}",
        f"checkpoint = {toml_value(inside)}",
        f"dtype = {toml_value(runs.dtype)}",
    ]
    lines += [f"tasks = {toml_value(list(options.model.tasks))}"] if options.model.tasks else []
    lines += [f"system = {toml_value(weights.system)}"] if weights.system is not None else []
    lines += [f"thinking = {toml_value(weights.thinking)}"] if weights.thinking is not None else []
    training = {
        "run": plan.name,
        "base": options.model.name,
        "task": options.task,
        "preset": plan.preset.name,
        "seed": options.seed,
        "rewards": list(plan.rewards) or ["sft"],
        "chosen_on": "validation" if plan.material.validation else "none",
        "step": step,
    }
    tables: dict[str, Mapping[str, Any]] = {
        "sampling": asdict(weights.sampling),
        "image": weights.image_settings(),
        "vllm": weights.vllm,
        "training": training,
    }
    for name, table in tables.items():
        if table:
            lines += ["", f"[{name}]", *(f"{key} = {toml_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """A string, number, bool or list of strings as TOML, whose basic strings are JSON's except for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
