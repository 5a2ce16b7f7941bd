"""Random checkpoints of real architectures, about half a million parameters each, with a tokenizer trained on the spot.

They write nonsense through the same code as real ones: processor, chat template, generation. Not for numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

KINDS = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl", "idefics3", "smolvlm", "gemma3")
WIDTH, LAYERS, HEADS, GROUPS = 128, 2, 4, 2
TEXTS = [
    "a red ball on a green table near the window",
    "two dogs run across the sandy beach under a grey sky",
    "Caption this image as accurately as possible, without speculation. Describe what you see.",
] * 50
QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>")
QWEN_CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}{% if c['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As Qwen3's own: a content that is no plain text is lost, and thinking is switched off by an empty thought.
QWEN3_CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
IDEFICS_CHAT = (
    "<|im_start|>{% for m in messages %}{{ m['role'] | capitalize }}:{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %} {{ c['text'] }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
INTERNVL_CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<IMG_CONTEXT>\n{% else %}{{ c['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA_CHAT = (
    "<bos>{% for m in messages %}<start_of_turn>{{ m['role'] }}\n{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<start_of_image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
VISION: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
}
# Qwen2.5-VL's own limits, for photographs of real size; and limits that keep a prompt under a hundred tokens.
REAL = {"min_pixels": 4 * 28 * 28, "max_pixels": 16384 * 28 * 28}
SMALL = {"min_pixels": 4 * 28 * 28, "max_pixels": 64 * 28 * 28}


def _tokenizer(special: tuple[str, ...], end: str, chat: str, begin: str | None = None, **named: str) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token=end,
        pad_token="<|endoftext|>",
        bos_token=begin,
        extra_special_tokens=named or None,
    )
    tokenizer.add_tokens(list(special), special_tokens=True)
    tokenizer.chat_template = chat
    return tokenizer


def _language(tokenizer: Any, end: str) -> dict[str, Any]:
    number = tokenizer.convert_tokens_to_ids
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": GROUPS,
        "max_position_embeddings": 32768,
        "eos_token_id": number(end),
        "pad_token_id": number("<|endoftext|>"),
        "bos_token_id": number("<|endoftext|>"),
    }


def _qwen(folder: Path, kind: str, limits: dict[str, int]) -> Path:
    import transformers as library

    tokenizer = _tokenizer((*QWEN, "<|image_pad|>", "<|video_pad|>"), "<|im_end|>", QWEN_CHAT)
    number = tokenizer.convert_tokens_to_ids
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]}
    text = _language(tokenizer, "<|im_end|>")
    vision: dict[str, Any] = {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
    }
    names = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
    names |= {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
    tokens = {key: number(token) for key, token in names.items()}
    patch = {}
    video = library.Qwen2VLVideoProcessor()
    if kind == "qwen2_vl":
        text |= {"rope_parameters": rope}
        vision = {"depth": 2, "embed_dim": 64, "hidden_size": WIDTH, "mlp_ratio": 2, "num_heads": 2}
        config = library.Qwen2VLConfig(text_config=text, vision_config=vision, **tokens)
        model, processor = library.Qwen2VLForConditionalGeneration(config), library.Qwen2VLProcessor
    elif kind == "qwen3_vl":
        text |= {"head_dim": WIDTH // HEADS, "rope_parameters": {**rope, "mrope_interleaved": True}}
        vision |= {"patch_size": 16, "deepstack_visual_indexes": [0], "num_position_embeddings": 256}
        patch = {"patch_size": 16}
        config = library.Qwen3VLConfig(text_config=text, vision_config=vision, **tokens)
        model, processor = library.Qwen3VLForConditionalGeneration(config), library.Qwen3VLProcessor
        video = library.Qwen3VLVideoProcessor()
    else:
        text |= {"rope_parameters": rope}
        vision |= {"fullatt_block_indexes": [1], "window_size": 56}
        config = library.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **tokens)
        model, processor = library.Qwen2_5_VLForConditionalGeneration(config), library.Qwen2_5_VLProcessor
    images = library.Qwen2VLImageProcessor(**limits, **patch)
    return _save(folder, model, processor(images, tokenizer, video, chat_template=QWEN_CHAT))


def _idefics(folder: Path, kind: str) -> Path:
    import transformers as library

    name = {"idefics3": "Idefics3", "smolvlm": "SmolVLM"}[kind]

    named = {"image_token": "<image>", "fake_image_token": "<fake_token_around_image>"}
    named |= {"global_image_token": "<global-img>", "end_of_utterance_token": "<end_of_utterance>"}
    grid = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    special = ("<|endoftext|>", "<|im_start|>", *named.values(), *grid)
    tokenizer = _tokenizer(special, "<end_of_utterance>", IDEFICS_CHAT, "<|im_start|>", **named)
    number = tokenizer.convert_tokens_to_ids
    config = getattr(library, f"{name}Config")(
        vision_config=VISION,
        text_config={"model_type": "llama", **_language(tokenizer, "<end_of_utterance>")},
        image_token_id=number("<image>"),
        scale_factor=2,
        pad_token_id=number("<|endoftext|>"),
    )
    sizes = {"size": {"longest_edge": 112}, "max_image_size": {"longest_edge": 56}}
    parts = [getattr(library, f"{name}ImageProcessor")(**sizes), tokenizer]
    parts += [library.SmolVLMVideoProcessor()] if kind == "smolvlm" else []
    processor = getattr(library, f"{name}Processor")(*parts, image_seq_len=4, chat_template=IDEFICS_CHAT)
    return _save(folder, getattr(library, f"{name}ForConditionalGeneration")(config), processor)


def _internvl(folder: Path) -> Path:
    """The layout of transformers' own InternVL; a tile has four tokens."""
    import transformers as library

    named = {"start_image_token": "<img>", "end_image_token": "</img>"}
    named |= {"context_image_token": "<IMG_CONTEXT>", "video_token": "<video>"}
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *named.values())
    tokenizer = _tokenizer(special, "<|im_end|>", INTERNVL_CHAT, **named)
    config = library.InternVLConfig(
        vision_config=VISION | {"image_size": [56, 56], "patch_size": [14, 14]},
        text_config={"model_type": "qwen2", **_language(tokenizer, "<|im_end|>")},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        downsample_ratio=0.5,
    )
    size = {"height": 56, "width": 56}
    images = library.GotOcr2ImageProcessor(size=size, crop_to_patches=True, min_patches=1, max_patches=4)
    video = library.InternVLVideoProcessor(size=size)
    processor = library.InternVLProcessor(images, tokenizer, video, image_seq_length=4, chat_template=INTERNVL_CHAT)
    return _save(folder, library.InternVLForConditionalGeneration(config), processor)


def _gemma3(folder: Path) -> Path:
    import transformers as library

    named = {"image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    special = ("<|endoftext|>", "<bos>", "<start_of_turn>", "<end_of_turn>", *named.values())
    tokenizer = _tokenizer(special, "<end_of_turn>", GEMMA_CHAT, "<bos>", **named)
    tokenizer.add_tokens(["\n", "\n\n", "\n\n\n", "\n\n\n\n"])  # which vLLM looks up
    number = tokenizer.convert_tokens_to_ids
    text = _language(tokenizer, "<end_of_turn>") | {"head_dim": WIDTH // HEADS, "bos_token_id": number("<bos>")}
    config = library.Gemma3Config(
        text_config=text,
        vision_config=VISION | {"vision_use_head": False},
        mm_tokens_per_image=4,
        boi_token_index=number("<start_of_image>"),
        eoi_token_index=number("<end_of_image>"),
        image_token_index=number("<image_soft_token>"),
    )
    images = library.Gemma3ImageProcessor(size={"height": 56, "width": 56})
    processor = library.Gemma3Processor(images, tokenizer, chat_template=GEMMA_CHAT, image_seq_length=4)
    return _save(folder, library.Gemma3ForConditionalGeneration(config), processor)


def _qwen3(folder: Path) -> Path:
    import transformers as library

    tokenizer = _tokenizer(QWEN, "<|im_end|>", QWEN3_CHAT)
    tokenizer.add_tokens(["<think>", "</think>"])  # not special, as in Qwen3
    text = _language(tokenizer, "<|im_end|>")
    config = library.Qwen3Config(**text, head_dim=WIDTH // HEADS, initializer_range=0.2)
    return _save(folder, library.Qwen3ForCausalLM(config), tokenizer)


def _save(folder: Path, model: Any, processor: Any) -> Path:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def build(folder: Path, kind: str, limits: dict[str, int] = SMALL) -> Path:
    """Write a checkpoint of one of ``KINDS`` or of ``qwen3`` (text); always the same one."""
    import torch

    torch.manual_seed(0)
    match kind:
        case "qwen3":
            return _qwen3(folder)
        case "internvl":
            return _internvl(folder)
        case "gemma3":
            return _gemma3(folder)
        case "idefics3" | "smolvlm":
            return _idefics(folder, kind)
        case _:
            return _qwen(folder, kind, limits)
