"""Random models of full or small size, their TOML files, and a benchmark of rendered images, in one work folder."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SIZES = ("small", "full")
TASK = '''"""Made for `make gpu-check`: {count} images of noise; references and answers mean nothing."""

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image

from harness.types import DataFile, Question, Sample, Task

FOLDER = Path(__file__).parent
FILE = FOLDER / "ids.txt"
QUESTIONS = tuple(Question(f"Is the ball {{place}} the table?", "Yes") for place in ("on", "under", "beside", "above"))
REFERENCE = "a red ball lies on a green table near the window, and two dogs sleep under it"


def draw(sample_id):
    seed, width, height = (int(part) for part in sample_id.split("_"))
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    image = io.BytesIO()
    Image.fromarray(pixels).resize((width, height)).save(image, format="PNG")
    return image.getvalue()


def load(folder):
    ids = (folder / FILE.name).read_text().split()
    return [Sample(name, (REFERENCE,), image=f"{{name}}.png", questions=QUESTIONS) for name in ids]


TASK = Task(
    name="gpu_check", title="GPU check (noise)", prompt="Describe this image.", count={count},
    files=(DataFile(FILE.name, FILE.stat().st_size, hashlib.sha256(FILE.read_bytes()).hexdigest()),),
    provides=frozenset({{"references", "questions"}}), load=load, draw=draw, folder=FOLDER,
    licence="none: noise", source="made on the spot", questions=4 * {count},
)
'''
# Sizes of the published checkpoints' configurations.
QWEN_7B: dict[str, Any] = {
    "text": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
             "num_key_value_heads": 4, "vocab_size": 152064},
    "vision": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584,
               "fullatt_block_indexes": [7, 15, 23, 31], "window_size": 112},
    "rope": [16, 24, 24],
}  # fmt: skip
QWEN_3B: dict[str, Any] = {
    "text": {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16,
             "num_key_value_heads": 2, "vocab_size": 151936},
    "vision": {**QWEN_7B["vision"], "out_hidden_size": 2048},
    "rope": [16, 24, 24],
}  # fmt: skip
QWEN3_8B = {
    "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
}  # fmt: skip
T5_BASE = {"d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_decoder_layers": 12, "num_heads": 12}
VIT_H: dict[str, Any] = {
    "embed_dim": 1024,
    "vision_cfg": {"image_size": 224, "layers": 32, "width": 1280, "head_width": 80, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 1024, "heads": 16, "layers": 24},
}
VIT_SMALL: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 224, "layers": 2, "width": 64, "head_width": 32, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@dataclass(frozen=True, slots=True)
class Place:
    """The work folder of one size; every part of it is made once, when a step first asks for it."""

    folder: Path
    size: str

    @property
    def full(self) -> bool:
        """Are models of their published size?"""
        return self.size == "full"

    def environment(self) -> dict[str, str]:
        """The environment of a command that sees these models, parts and results, and asks no hub."""
        folders = {"CIM_MODELS": "models", "CIM_PATH": "parts", "CIM_RESULTS": "results", "CIM_DATA": "data"}
        folders |= {"NLTK_DATA": "nltk"} if (self.folder / "nltk").is_dir() else {}
        return {
            **os.environ,
            **{name: str(self.folder / part) for name, part in folders.items()},
            "HF_HUB_OFFLINE": "1",
        }

    def task(self) -> str:
        """The benchmark of noise: full size 64 images of 640x480, 16 of 2048x1536 and one of 12.8 million pixels."""
        sizes = [(640, 480)] * 64 + [(2048, 1536)] * 16 + [(4128, 3096)] if self.full else [(64, 48)] * 4 + [(96, 96)]
        folder = self.folder / "parts" / "tasks"
        if not (folder / "gpu_check.py").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            ids = [f"{number}_{width}_{height}" for number, (width, height) in enumerate(sizes)]
            (folder / "ids.txt").write_text("\n".join(ids))
            (folder / "gpu_check.py").write_text(TASK.format(count=len(sizes)))
        return "gpu_check"

    def captioner(self, dtype: str = "auto", parameters: str = "7b") -> str:
        """The name of a random Qwen2.5-VL as a model of the command line."""
        from tests import tiny_models

        folder = self.folder / "models" / f"qwen-{parameters}"
        if not (folder / "config.json").is_file():
            limits = tiny_models.REAL if self.full else tiny_models.SMALL
            tiny_models.build(folder, "qwen2_5_vl", limits)
            if self.full:
                enlarge_qwen(folder, QWEN_3B if parameters == "3b" else QWEN_7B)
        new_tokens = 128 if self.full else 6
        return self._model(f"gpu-check-{parameters}-{dtype}", folder, dtype, new_tokens)

    def judge(self) -> str:
        """The name of a random Qwen3 as a judge of the command line."""
        from tests import tiny_models

        folder = self.folder / "models" / "qwen3"
        if not (folder / "config.json").is_file():
            tiny_models.build(folder, "qwen3")
            if self.full:
                enlarge(folder, QWEN3_8B)
        return self._model("gpu-check-judge", folder, "auto", 128 if self.full else 6)

    def _model(self, name: str, folder: Path, dtype: str, new_tokens: int) -> str:
        text = f'about = "random weights, for make gpu-check"\nengine = "transformers"\ncheckpoint = "{folder}"\n'
        text += f'dtype = "{dtype}"\n' + ("thinking = false\n" if "judge" in name else "")
        text += f"[sampling]\nmax_tokens = {new_tokens}\n[vllm]\nmax_model_len = {16384 if self.full else 1024}\n"
        (self.folder / "models" / f"{name}.toml").write_text(text)
        return name

    def metric_models(self) -> None:
        """Random weights of the scene-graph parser and of the phrase encoder under the names of the real ones.

        Where NLTK's splitter and tagger are not on this machine, stand-ins of the tests take their place.
        """
        from harness.resources import nltk_data
        from tests import tiny_mpnet, tiny_nltk, tiny_t5

        if nltk_data.missing() and not (self.folder / "nltk").is_dir():
            tiny_nltk.build(self.folder / "nltk")

        parser, phrases = (
            self.folder / "models" / name for name in ("flan-t5-base-VG-factual-sg", "all-mpnet-base-v2")
        )
        if not (parser / "config.json").is_file():
            tiny_t5.build(parser, steps=0 if self.full else 20)
            if self.full:
                enlarge(parser, T5_BASE)
        if not (phrases / "config.json").is_file():
            tiny_mpnet.build(phrases)

    def tower(self) -> Path:
        """Random weights of OpenCLIP's ViT-H-14 under its own name, as its page on the hub holds them."""
        import open_clip
        from safetensors.torch import save_file

        folder = self.folder / "models" / "CLIP-ViT-H-14-laion2B-s32B-b79K"
        if not (folder / "open_clip_config.json").is_file():
            folder.mkdir(parents=True)
            config = VIT_H if self.full else VIT_SMALL
            model = open_clip.CLIP(**config)
            save_file(model.state_dict(), folder / "open_clip_model.safetensors")
            content = {"model_cfg": config, "preprocess_cfg": {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]}}
            (folder / "open_clip_config.json").write_text(json.dumps(content))
        return folder


def enlarge_qwen(folder: Path, sizes: dict[str, Any]) -> None:
    """Replace a small Qwen2.5-VL's weights by random ones of these sizes, in bf16; tokenizer and processor stay."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder)
    for part, values in ((config.text_config, sizes["text"]), (config.vision_config, sizes["vision"])):
        for name, value in values.items():
            setattr(part, name, value)
    config.text_config.rope_parameters = {**config.text_config.rope_parameters, "mrope_section": sizes["rope"]}
    _random(folder, transformers.Qwen2_5_VLForConditionalGeneration, config)


def enlarge(folder: Path, sizes: dict[str, int]) -> None:
    """The same for a model with one configuration."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder)
    for name, value in sizes.items():
        setattr(config, name, value)
    if getattr(config, "layer_types", None):
        config.layer_types = ["full_attention"] * config.num_hidden_layers
    _random(folder, getattr(transformers, config.architectures[0]), config)


def _random(folder: Path, kind: Any, config: Any) -> None:
    """Write random weights; made on the device, where eight billion of them take seconds."""
    import torch

    torch.manual_seed(0)
    before, chosen = torch.get_default_dtype(), torch.bfloat16
    torch.set_default_dtype(chosen)
    try:
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = kind(config)
    finally:
        torch.set_default_dtype(before)
    model.save_pretrained(folder)
