"""Golden prompts: the exact text that each family of models is given, from its own chat template.

Templates of Qwen2.5-VL (Qwen2-VL's is the same), Qwen3-VL, Gemma 3 and SmolVLM are the files that TRL 1.16 keeps of the
hub's. InternVL2's, InternVL's in transformers' layout and LLaVA-1.5's are written down here from public copies (the
tokenizer of InternLM2; InternVL's conversion script; openvino.genai's table of templates); those of MiniCPM-V, Molmo2,
GLM-4.6V and LLaVA-OneVision 2 were not to be had. Nothing here was rendered by a checkpoint of the hub.
The prompts of Qwen, InternVL and LLaVA equal those of the authors' code: Jia-hn/CIM:eval/eval_*.py@870f58f.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from harness import registry
from harness.stages import model
from harness.types import Request
from harness.weights import Weights
from tests.tiny_internvl import CHAT as INTERNVL2

LACKING = [name for name in ("transformers", "trl", "jinja2") if not importlib.util.find_spec(name)]
pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"{', '.join(LACKING)} not installed: make setup-train")

CAPTION = "Caption this image as accurately as possible, without speculation. Describe what you see."
INTERNVL_HF = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'}}{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "{{ '<IMG_CONTEXT>\n' }}{% elif content['type'] == 'text' %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{{'<|im_end|>\n'}}{% endfor %}{% if add_generation_prompt %}{{'<|im_start|>assistant\n' }}{% endif %}"
)
LLAVA = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
QWEN = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    f"<|vision_start|><|image_pad|><|vision_end|>{CAPTION}<|im_end|>\n<|im_start|>assistant\n"
)
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    f"and polite answers to the user's questions. USER: <image>\n{CAPTION} ASSISTANT:"
)
INTERN = f"<s><|im_start|>user\n<image>{CAPTION}<|im_end|>\n<|im_start|>assistant\n"
INTERN_HF = f"<|im_start|>user\n<IMG_CONTEXT>\n{CAPTION}<|im_end|>\n<|im_start|>assistant\n"
# By model of the project: its template (a file of TRL's, or the text), first token and prompt.
GOLDEN: dict[str, tuple[str, str | None, str]] = {
    **dict.fromkeys(("qwen2-vl-7b", "qwen2.5-vl-7b", "cim-qwen2.5-vl-7b"), ("qwen2_5_vl.jinja", None, QWEN)),
    "qwen3-vl-8b": ("qwen3_vl.jinja", None, QWEN.partition("<|im_end|>\n")[2]),
    "internvl2-8b": (INTERNVL2, "<s>", INTERN),
    "cim-internvl2-8b": (INTERNVL2, "<s>", INTERN),
    "internvl3-8b-hf": (INTERNVL_HF, None, INTERN_HF),
    "internvl3.5-8b": (INTERNVL_HF, None, INTERN_HF),
    "llava-1.5-7b": (LLAVA, "<s>", VICUNA),
    "cim-llava1.5-7b": (LLAVA, "<s>", VICUNA),
    "gemma-3-12b": (
        "gemma3.jinja",
        "<bos>",
        f"<bos><start_of_turn>user\n<start_of_image>{CAPTION}<end_of_turn>\n<start_of_turn>model\n",
    ),
    "smolvlm2-2.2b": (
        "smolvlm.jinja",
        "<|im_start|>",
        f"<|im_start|>User:<image>{CAPTION}<end_of_utterance>\nAssistant:",
    ),
}


@dataclass(frozen=True, slots=True)
class Processor:
    """A processor that renders prompts and does nothing else."""

    tokenizer: Any

    def apply_chat_template(self, messages: Any, **settings: Any) -> str:
        return str(self.tokenizer.apply_chat_template(messages, **settings))


def _weights_of(name: str, tmp_path: Path) -> Weights:
    """The weights of a model of the project, also of one that waits for a revision."""
    text = registry.model_file(name).read_text(encoding="utf-8")
    kept = [line for line in text.splitlines() if not line.startswith(("unavailable", "trust_remote_code"))]
    (tmp_path / f"{name}.toml").write_text("\n".join(kept), encoding="utf-8")
    weights = model.from_toml(tmp_path / f"{name}.toml").weights
    assert weights is not None
    return weights


def _processor(weights: Weights, template: str, first: str | None) -> Any:
    import trl
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    from harness.engines._text import TextProcessor

    if template.endswith(".jinja"):
        template = (Path(trl.__file__).parent / "chat_templates" / template).read_text(encoding="utf-8")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), bos_token=first)
    tokenizer.chat_template = template
    return TextProcessor(tokenizer, weights.image_placeholder) if weights.image_placeholder else Processor(tokenizer)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_prompt_is_the_authors(name: str, tmp_path: Path) -> None:
    from harness.engines import _weights

    template, first, expected = GOLDEN[name]
    weights = _weights_of(name, tmp_path)
    request = Request("a", registry.task("docci500").prompt, Path("a.jpg"))
    assert request.prompt == CAPTION
    assert _weights.render(weights, _processor(weights, template, first), request) == expected


def test_a_placeholder_in_a_text_is_no_image(tmp_path: Path) -> None:
    """vLLM would look for as many images as there are placeholders; a newline after one is part of it."""
    from harness.engines import _weights

    weights = replace(_weights_of("internvl2-8b", tmp_path), image_placeholder="<image>\n")
    processor = _processor(weights, INTERNVL2, "<s>")
    text = _weights.render(weights, processor, Request("a", "Is <image> a tag?", Path("a.jpg")))
    assert "user\n<image>\nIs < image> a tag?<|im_end|>" in text and text.count("<image>") == 1
    assert "<image>" not in _weights.render(weights, processor, Request("a", "Is <image> a tag?"))
