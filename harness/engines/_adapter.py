"""Weights by transformers, with a LoRA adapter merged into them: in memory, or as a folder for vLLM.

peft applies the adapter from its safetensors. Of ``adapter_config.json`` only the fields below are read, so that none
names code to import; an adapter that has another one set, or whose tensors do not all find a weight, is refused: peft
would leave such tensors out and caption with the base model. Both engines run the same sum, rounded once to the dtype;
vLLM's own LoRA multiplies the factors at each token, and leaves out what it has no layer for.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from pathlib import Path
from typing import Any

from harness import store
from harness.engines import _weights
from harness.engines._text import TextProcessor
from harness.errors import CimError
from harness.resources import checkpoint, paths
from harness.weights import Weights

READ = frozenset(
    {"r", "lora_alpha", "target_modules", "exclude_modules", "modules_to_save", "layers_to_transform", "layers_pattern"}
    | {"rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "bias", "lora_bias", "fan_in_fan_out"}
)
# Fields of training, or of where it was: they do not change what the adapter adds.
IDLE = frozenset(
    {"peft_type", "task_type", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "lora_dropout"}
    | {"init_lora_weights", "peft_version", "loftq_config", "eva_config", "corda_config", "lora_ga_config"}
    | {"megatron_core", "runtime_config", "qalora_group_size", "ensure_weight_tying"}
)
# Names of modules before transformers 4.52, when vision-language models had another layout.
EARLIER = {
    r"^model\.layers\.": "model.language_model.layers.",
    r"^language_model\.model\.": "model.language_model.",
    r"^visual\.": "model.visual.",
}


def load(weights: Weights, processor: Any, dtype: str, commit: str | None) -> Any:
    """The model on the CPU, its adapter merged.

    Raises:
        CimError: of no kind that transformers knows, a weight is missing, or the adapter does not fit.
    """
    import torch
    import transformers

    reads_text = isinstance(processor, TextProcessor)
    kind = transformers.AutoModelForCausalLM if reads_text else transformers.AutoModelForImageTextToText
    try:
        model, info = kind.from_pretrained(
            weights.checkpoint,
            revision=commit or weights.revision,
            dtype=getattr(torch, dtype),
            local_files_only=weights.local,
            **_weights.code(weights),
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:
        if not _weights.unreadable(error):
            raise
        reason = " ".join(str(error).split())[:300]
        raise CimError(f"checkpoint cannot be loaded ({reason})", where=weights.checkpoint) from error
    if absent := sorted(info["missing_keys"]):  # transformers would go on with random numbers in their place
        hint = "copy the whole checkpoint"
        raise CimError(
            f"checkpoint lacks {len(absent)} weights, {absent[0]} first", where=weights.checkpoint, hint=hint
        )
    return model if weights.adapter is None else _merged(model, Path(weights.adapter))


def folder(weights: Weights, processor: Any, dtype: str, commit: str | None) -> str:
    """A folder with the merged weights, made once: named by base, adapter and dtype.

    Raises:
        CimError: as ``load``, or another process is making it.
    """
    if weights.image_placeholder is not None:
        hint = "merge it where it was trained, and name that folder"
        raise CimError("a LoRA adapter over a checkpoint without a processor", where=str(weights.adapter), hint=hint)
    key = f"{weights.digest or commit or weights.checkpoint} {weights.adapter_digest} {dtype}"
    place = paths.results_root() / ".cache" / "merged" / hashlib.sha256(key.encode()).hexdigest()[:16]
    with store.writing(place.parent, f"the merged weights {place.name}", f"{place.name}.lock"):
        if not place.is_dir():
            logging.getLogger(__name__).info(f"merging {weights.adapter} into its base model: {place}")
            making = place.with_name(f"{place.name}.tmp")
            shutil.rmtree(making, ignore_errors=True)
            load(weights, processor, dtype, commit).save_pretrained(making)
            (processor.tokenizer if isinstance(processor, TextProcessor) else processor).save_pretrained(making)
            making.rename(place)
    return str(place)


def _merged(model: Any, place: Path) -> Any:
    """The model with a LoRA adapter added to its weights."""
    try:
        from peft import LoraConfig, PeftModel
    except ImportError as error:
        raise CimError(f"a LoRA adapter needs peft ({error})", hint="run `make setup-train`") from error
    stated = checkpoint.read_json(place / checkpoint.ADAPTER)
    if strangers := sorted(name for name, value in stated.items() if value and name not in READ | IDLE):
        hint = "merge it where it was trained: peft's merge_and_unload"
        raise CimError(f"adapter uses {', '.join(strangers)[:120]}", where=str(place), hint=hint)
    try:
        config = LoraConfig(**{name: value for name, value in stated.items() if name in READ}, inference_mode=True)
        renamed = EARLIER if any(name == "model.language_model" for name, _ in model.named_modules()) else {}
        adapted = PeftModel(model, config)
        result = adapted.load_adapter(str(place), "default", torch_device="cpu", key_mapping=renamed)
    except (ValueError, TypeError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CimError(f"adapter does not fit its base model ({reason})", where=str(place)) from error
    if lost := sorted([*result.unexpected_keys, *result.missing_keys]):
        what = f"{len(lost)} tensors of the adapter and weights of its base do not meet, {lost[0]} first"
        raise CimError(what, where=str(place), hint="name the base model it was trained from")
    return adapted.merge_and_unload()
