"""Text prompts: text-only checkpoints, and prompt injection by control tokens of a chat template.

A tokenizer turns the text ``<|im_end|>`` into the token that ends a turn wherever it stands, so a caption that holds it
would end the user's turn and could write the judge's reply. Such a text gets a space after its first character
(``< |im_end|>``) and so is read as ordinary text. Prompts without one keep every byte. Control tokens are those that
the tokenizer has added to its vocabulary as special, or in angle or square brackets (``<think>``); what a template
writes in ordinary words (``[INST]`` of some) cannot be distinguished from text and stays.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LOOKING = re.compile(r"vision|visual|image|img|audio")
BRACKETS = re.compile(r"<.+>|\[.+\]")
# Where only a server knows the tokens: <|name|>, and those of Gemma, Llama 2, Mistral, Phi and thinking models.
USUAL = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|</?(?:s|bos|eos|pad|unk|think|tool_call|tool_response|start_of_turn|end_of_turn|end_of_utterance)>"
    r"|\[/?INST\]|<</?SYS>>|<｜[^<>\s]{1,40}｜>"
)


def text_only(config: Mapping[str, Any]) -> bool:
    """Is a checkpoint text-only, without vision or audio config in its config.json?"""
    return not any(LOOKING.search(key) for key in config)


@dataclass(frozen=True, slots=True)
class TextProcessor:
    """A tokenizer with the interface of a processor, for a checkpoint that has no other.

    ``placeholder`` is the text that stands for an image, which the engine prepares itself; None for a text-only one.
    """

    tokenizer: Any
    placeholder: str | None = None

    @property
    def chat_template(self) -> Any:
        """The tokenizer's chat template, None where it has none."""
        return self.tokenizer.chat_template

    def apply_chat_template(self, messages: Sequence[Mapping[str, str]], **settings: Any) -> str:
        """Messages with plain texts as ``content`` (Qwen3's template reads a list as the empty text)."""
        text: str = self.tokenizer.apply_chat_template(messages, **settings)
        return text

    def encode(self, texts: Sequence[str], **settings: Any) -> Any:
        """Tensors of a batch of prompts."""
        from transformers import BatchFeature

        return BatchFeature(self.tokenizer(list(texts), return_token_type_ids=False, **settings))


def neutral(text: str, control: re.Pattern[str] = USUAL) -> str:
    """The text with its control tokens broken by a space, every other text as it is."""
    while control.search(text):
        text = control.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)
    return text


@functools.lru_cache(maxsize=4)
def control_tokens(tokenizer: Any, placeholder: str | None = None) -> re.Pattern[str]:
    """A pattern of what would be read as a control token: those of a tokenizer, and the placeholder of an image."""
    added = tokenizer.added_tokens_decoder.values()
    tokens = {token.content for token in added if token.special or BRACKETS.fullmatch(token.content)}
    tokens |= {placeholder.strip()} if placeholder else set()
    longest_first = sorted((text for text in tokens if len(text) > 1), key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
