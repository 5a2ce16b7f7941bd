"""A random checkpoint in InternVL's original layout: remote code for its config, a tokenizer, no processor.

What OpenGVLab/InternVL2-8B and its successors look like on the hub, with a language model of the Qwen2 kind. The names
of the weights are those that vLLM's ``InternVLChatModel`` reads. Not for numbers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests import tiny_models
from tests.tiny_models import WIDTH

TOWER = 64  # width of the vision transformer
# That of InternLM2's tokenizer, which InternVL2-8B's language model has; there its class is remote code.
CHAT = (
    "{{ bos_token }}{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CODE = '''"""Remote code of a test checkpoint."""
from transformers import CONFIG_MAPPING, PretrainedConfig

class InternVLChatConfig(PretrainedConfig):
    model_type = "internvl_chat"
    has_no_defaults_at_init = True

    def __init__(self, vision_config=None, llm_config=None, **settings):
        self.vision_config = PretrainedConfig(**(vision_config or {}))
        self.llm_config = CONFIG_MAPPING["qwen2"](**(llm_config or {}))
        super().__init__(**settings)
'''


def build(folder: Path) -> Path:
    """Write the checkpoint; always the same one. At most four tiles (56 x 56 pixels, four tokens) and a thumbnail."""
    import torch
    import transformers
    from safetensors.torch import save_file

    torch.manual_seed(0)
    special = ("<|endoftext|>", "<s>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>")
    tokenizer = tiny_models._tokenizer(special, "<|im_end|>", CHAT, "<s>")
    language = {"model_type": "qwen2", **tiny_models._language(tokenizer, "<|im_end|>")}
    tokenizer.save_pretrained(folder)
    weights = _tower(layers=2)
    weights |= {f"mlp1.{name}": value for name, value in _mlp().state_dict().items()}
    chat = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**language))
    weights |= {f"language_model.{name}": value.clone() for name, value in chat.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(_config(language)))
    (folder / "configuration_internvl_chat.py").write_text(CODE)
    return folder


def _config(language: dict[str, Any]) -> dict[str, Any]:
    vision = tiny_models.VISION | {
        "model_type": "intern_vit_6b",
        "num_channels": 3,
        "qkv_bias": True,
        "qk_normalization": False,
        "norm_type": "layer_norm",
        "layer_norm_eps": 1e-6,
        "hidden_act": "gelu",
        "initializer_factor": 1.0,
    }
    return {
        "model_type": "internvl_chat",
        "architectures": ["InternVLChatModel"],
        "auto_map": {"AutoConfig": "configuration_internvl_chat.InternVLChatConfig"},
        "vision_config": vision,
        "llm_config": language | {"architectures": ["Qwen2ForCausalLM"]},
        "force_image_size": 56,
        "downsample_ratio": 0.5,
        "select_layer": -1,
        "ps_version": "v2",
        "dynamic_image_size": True,
        "use_thumbnail": True,
        "min_dynamic_patch": 1,
        "max_dynamic_patch": 4,
        "torch_dtype": "float32",
    }


def _mlp() -> Any:
    from torch import nn

    return nn.Sequential(nn.LayerNorm(4 * TOWER), nn.Linear(4 * TOWER, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))


def _tower(layers: int) -> dict[str, Any]:
    """Weights of the vision transformer."""
    import torch
    from torch import nn

    patches = nn.Conv2d(3, TOWER, kernel_size=14, stride=14)
    weights = {
        "embeddings.class_embedding": torch.randn(1, 1, TOWER),
        "embeddings.position_embedding": torch.randn(1, 17, TOWER),
        "embeddings.patch_embedding.weight": patches.weight,
        "embeddings.patch_embedding.bias": patches.bias,
    }
    for number in range(layers):
        parts: dict[str, Any] = {
            "attn.qkv": nn.Linear(TOWER, 3 * TOWER),
            "attn.proj": nn.Linear(TOWER, TOWER),
            "mlp.fc1": nn.Linear(TOWER, 2 * TOWER),
            "mlp.fc2": nn.Linear(2 * TOWER, TOWER),
            "norm1": nn.LayerNorm(TOWER),
            "norm2": nn.LayerNorm(TOWER),
        }
        layer = f"encoder.layers.{number}"
        weights |= {f"{layer}.ls{which}": torch.ones(TOWER) for which in (1, 2)}
        for name, part in parts.items():
            weights |= {f"{layer}.{name}.{key}": value for key, value in part.state_dict().items()}
    return {f"vision_model.{name}": value.detach().contiguous() for name, value in weights.items()}
