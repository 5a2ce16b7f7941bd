"""Training data sets in TRL's format: a conversational prompt, an opened image, and the key of its gallery row.

Images are opened lazily per batch, as RGB, and resized here where a model bounds their area: never by the
trainer's processor, whose settings the rollout engine would not share. TRL 1.16 has no limit on prompts, so over-long
ones are left out when the data set is built.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from PIL import Image

from harness.errors import CimError
from harness.images import open_image

Open = Callable[[str], bytes | Path]  # from a sample id to the image file or its bytes


@dataclass(frozen=True, slots=True)
class Example:
    """One training image: its sample, the key of its gallery row, and the target caption of SFT."""

    sample_id: str
    source_id: str
    target: str = ""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Opens the image of a sample as RGB; one larger than ``max_pixels`` is resized, keeping its aspect ratio.

    ``shown`` is what an error calls the image of a sample.
    """

    place: Open
    max_pixels: int | None = None
    shown: Callable[[str], str] = str

    def open(self, sample_id: str) -> Any:
        """The image; CimError where it cannot be read."""
        image = open_image(self.place(sample_id), self.shown(sample_id))
        area = image.width * image.height
        if self.max_pixels is None or area <= self.max_pixels:
            return image
        scale = math.sqrt(self.max_pixels / area)
        size = (max(1, math.floor(image.width * scale)), max(1, math.floor(image.height * scale)))
        return image.resize(size, Image.Resampling.BICUBIC)


def messages(prompt: str, system: str | None) -> list[dict[str, str]]:
    """The conversation before the caption; TRL puts the image into the user's turn."""
    turns = [] if system is None else [{"role": "system", "content": system}]
    return [*turns, {"role": "user", "content": prompt}]


def for_grpo(examples: Sequence[Example], pictures: Pictures, prompt: str, system: str | None) -> Dataset:
    """Columns prompt, image, source_id, sample_id; a batch opens each distinct image once."""
    turns = messages(prompt, system)
    columns = {"sample_id": [e.sample_id for e in examples], "source_id": [e.source_id for e in examples]}

    def open_batch(batch: Mapping[str, Sequence[str]]) -> dict[str, list[Any]]:
        opened = {sample_id: pictures.open(sample_id) for sample_id in dict.fromkeys(batch["sample_id"])}
        images = [opened[sample_id] for sample_id in batch["sample_id"]]
        return {**batch, "prompt": [turns for _ in images], "image": images}  # type: ignore[dict-item]

    return Dataset.from_dict(columns).with_transform(open_batch)


def for_sft(examples: Sequence[Example], pictures: Pictures, prompt: str, system: str | None) -> Dataset:
    """Columns prompt, completion, images of examples with a target; the loss covers the completion only."""
    if not (taught := [example for example in examples if example.target.strip()]):
        raise CimError("no training image has a target caption", hint="SFT needs a source with target captions")
    turns = messages(prompt, system)
    columns = {"sample_id": [e.sample_id for e in taught], "target": [e.target for e in taught]}

    def open_batch(batch: Mapping[str, Sequence[str]]) -> dict[str, list[Any]]:
        return {
            "prompt": [turns for _ in batch["target"]],
            "completion": [[{"role": "assistant", "content": text}] for text in batch["target"]],
            "images": [[pictures.open(sample_id)] for sample_id in batch["sample_id"]],
        }

    return Dataset.from_dict(columns).with_transform(open_batch)


def prompt_tokens(processor: Any, prompt: str, system: str | None, size: tuple[int, int]) -> int:
    """Tokens of a prompt with an image of this width and height, image tokens included."""
    content = [{"type": "image"}, {"type": "text", "text": prompt}]
    turns: list[dict[str, Any]] = [] if system is None else [{"role": "system", "content": [_text(system)]}]
    turns.append({"role": "user", "content": content})
    text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    encoded = processor(text=[text], images=[[Image.new("RGB", size)]], return_tensors="pt")
    return int(encoded["input_ids"].shape[1])


def _text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def short_enough(
    examples: Sequence[Example], pictures: Pictures, count: Callable[[tuple[int, int]], int], limit: int
) -> list[Example]:
    """Examples whose prompt has at most ``limit`` tokens; the count is memoised by image size.

    Raises:
        CimError: none is left.
    """
    counted: dict[tuple[int, int], int] = {}
    kept = []
    for example in examples:
        size = pictures.open(example.sample_id).size
        if size not in counted:
            counted[size] = count(size)
        if counted[size] <= limit:
            kept.append(example)
    if not kept:
        least = min(counted.values(), default=0)
        hint = "set image.max_pixels in the model's TOML"
        raise CimError(f"every prompt has more than {limit} tokens, {least} at least", hint=hint)
    return kept
