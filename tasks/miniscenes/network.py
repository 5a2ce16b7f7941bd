"""The tiny vision-language model: a Qwen3-VL of under a million parameters, its words, template and image processor.

Qwen3-VL, because transformers, TRL and vLLM all run it, its checkpoints round-trip between them, and training
resumes from them exactly (Qwen2.5-VL and InternVL lose full-parameter resume in transformers 5.17, LLaVA saved by
transformers 5 does not load in vLLM 0.31). A 16 x 16 pixel cell is one visual token: patch 8, merge 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from tasks.miniscenes import language
from tasks.miniscenes.draw import SIDE
from tasks.miniscenes.world import BACKGROUNDS, COLOURS, COLUMNS, ROWS, SIZES, TEXTURES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

PATCH, MERGE, FRAMES = 8, 2, 2
WIDTH, VISION_WIDTH, LAYERS = 128, 64, 3
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
IMAGE = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>")
SPECIAL = (PAD, START, END, *IMAGE, "<|video_pad|>", "<unk>")
PROMPT = "describe the scene ."
TEMPLATE = (
    "{% for message in messages %}<|im_start|> {{ message['role'] }} "
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] in ('image', 'image_url') %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %} {{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|> assistant {% endif %}"
)


def words() -> list[str]:
    """Every word that captions, prompts and the chat template hold, in a fixed order."""
    said = [*language.FAMILY_OF, *COLOURS, *SIZES, *TEXTURES, *BACKGROUNDS, *ROWS, *COLUMNS]
    said += ["above", "below", "of", "a", "and", ",", ".", "on", "in", "the", "is"]
    said += ["there", "image", "shows", "background", "describe", "scene", "user", "assistant", "system"]
    return list(dict.fromkeys(said))


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word; unknown words are ``<unk>``."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *words()])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=END, pad_token=PAD, unk_token="<unk>")
    fast.add_special_tokens({"additional_special_tokens": [START, *IMAGE, "<|video_pad|>"]})
    fast.padding_side, fast.model_max_length, fast.chat_template = (
        "left",
        512,
        TEMPLATE,
    )
    return fast


def processor() -> Qwen3VLProcessor:
    """Tokenizer, template and image processor; a 48 x 48 image is not resized, a photograph is made small."""
    from transformers import Qwen2VLImageProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

    images = Qwen2VLImageProcessor(
        patch_size=PATCH,
        merge_size=MERGE,
        temporal_patch_size=FRAMES,
        min_pixels=SIDE * SIDE,
        max_pixels=4 * SIDE * SIDE,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return Qwen3VLProcessor(images, tokenizer(), Qwen3VLVideoProcessor(), chat_template=TEMPLATE)


def network() -> Qwen3VLForConditionalGeneration:
    """A model with fresh weights."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    words = tokenizer()
    number = words.convert_tokens_to_ids
    ends = {"bos_token_id": number(PAD), "eos_token_id": number(END), "pad_token_id": number(PAD)}
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6], "mrope_interleaved": True}
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(words),
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "max_position_embeddings": 512,
            "rope_parameters": rope,
            "tie_word_embeddings": True,
            **ends,
        },
        vision_config={
            "depth": 2,
            "hidden_size": VISION_WIDTH,
            "intermediate_size": 3 * VISION_WIDTH,
            "num_heads": 2,
            "out_hidden_size": WIDTH,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": FRAMES,
            "num_position_embeddings": (SIDE // PATCH) ** 2,
            "deepstack_visual_indexes": [0],
        },
        tie_word_embeddings=True,
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
    )
    return Qwen3VLForConditionalGeneration(config)


def patches(pictures: NDArray[np.uint8]) -> torch.Tensor:
    """Pictures (n, 48, 48, 3) as the image processor's patches (n * 36, 384), in its order."""
    grid = SIDE // PATCH
    values = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    cells = values.reshape(-1, 3, grid // MERGE, MERGE, PATCH, grid // MERGE, MERGE, PATCH)
    ordered = cells.permute(0, 2, 5, 3, 6, 1, 4, 7)  # picture, row, column, inner row, inner column, channel, y, x
    framed = ordered.unsqueeze(6).expand(-1, -1, -1, -1, -1, -1, FRAMES, -1, -1)
    return framed.reshape(len(pictures) * grid * grid, 3 * FRAMES * PATCH * PATCH)


def grid(n: int) -> torch.Tensor:
    """Frames, rows and columns of patches of n pictures (n, 3)."""
    return torch.tensor([[1, SIDE // PATCH, SIDE // PATCH]] * n)


def save(model: Any, folder: Path) -> None:
    """Write a checkpoint in bfloat16 with its processor; loadable by transformers and vLLM."""
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    processor().save_pretrained(folder)


def token_numbers(texts: Sequence[str]) -> list[list[int]]:
    """Token numbers of captions, each with its end marker."""
    words = tokenizer()
    table = words.get_vocab()
    return [[*(table[word] for word in text.split()), table[END]] for text in texts]
