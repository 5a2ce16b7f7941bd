"""Training images of a run with the keys of their gallery rows, and the data sets that TRL makes of them.

The images are those of a synthetic environment (``tasks/``) or image-caption pairs of the user, in the formats of
galleries (``harness/retrieval/sources.py``). Some are held out to choose a checkpoint; which pairs are follows from
their keys alone.

Images are opened lazily per batch, as RGB, and resized here where a model bounds their area: never by the
trainer's processor, whose settings the rollout engine would not share. TRL 1.16 has no limit on prompts, so over-long
ones are left out when the data set is built.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from harness import registry
from harness.errors import CimError
from harness.images import open_image
from harness.parts import Records
from harness.retrieval import grouping, sources
from harness.retrieval.gallery import key
from harness.runs import stats
from harness.train.presets import Preset
from harness.train.validation import References, SecondPair, held_out, of_captions
from harness.types import Sample, SceneGraph
from harness.weights import Weights
from harness.worlds import Training, World

Open = Callable[[str], bytes | Path]  # from a sample id to the image file or its bytes
Truth = Callable[[Sequence[str]], dict[str, float | None]]


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


@dataclass(frozen=True, slots=True)
class Material:
    """Images by id, their keys in galleries, their captions, and what of validation captions is true.

    ``name`` says where they come from; ``parser`` reads captions of these images as scene graphs, ``own_gallery`` is
    a gallery that holds them; ``place`` gives the file of an image or its bytes, ``targets`` the captions that
    fine-tuning teaches, ``reference`` the one that rewards may read; ``shown`` is what an error calls an image.
    ``references`` are the metrics that compare validation captions with the user's own references, if there are any.
    ``counted`` says what was read and kept of the user's pairs, ``content`` is the sha256 of these.
    ``truth`` gives the values of a metric of true statements, the first their share in percent; none where no
    truth is known.
    """

    name: str
    prompt: str
    train: Sequence[str]
    validation: Sequence[str]
    keys: Mapping[str, str]
    place: Open
    targets: Callable[[str], Sequence[str]]
    reference: Callable[[str], str]
    truth: Truth
    gallery: str | None = None
    parser: str = "scene_graph"
    own_gallery: str | None = None
    shown: Callable[[str], str] = str
    references: References | SecondPair | None = None
    truth_known: bool = False
    counted: str = ""
    content: str = ""

    def graphs(self, texts: Sequence[str]) -> list[SceneGraph]:
        """Scene graphs of captions of these images."""
        return [_graph(value) for value in _parsed(self.parser, texts)]

    def digest(self) -> str:
        """Eight hex digits that identify the split into training and held-out images, and the user's pairs."""
        lines = [self.keys[image] for image in self.train] + [""] + [self.keys[image] for image in self.validation]
        lines += [self.content] if self.content else []
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]


def of_world(world: World, count: int) -> Material:
    """The first ``count`` images of an environment's training split."""
    return of_samples(world, world.samples("train", count), world.samples("validation", world.validation))


def of_samples(world: World, images: Sequence[Sample], validation: Sequence[Sample] = ()) -> Material:
    """Images of an environment, and those that choose a checkpoint."""
    references = {sample.id: sample.references[0] for sample in (*images, *validation)}
    return Material(
        name=world.name,
        prompt=world.prompt,
        train=[sample.id for sample in images],
        validation=[sample.id for sample in validation],
        keys={image: key(world.name, image) for image in references},
        place=world.draw,
        targets=lambda image: [world.target(image)],
        reference=references.__getitem__,
        truth=_truth(validation, world),
        truth_known=bool(validation),
        gallery=world.gallery,
        parser=world.parser,
        own_gallery=world.own_gallery,
    )


def _parsed(parser: str, texts: Sequence[str]) -> list[Any]:
    """What a parser, and those that it builds on, make of texts."""
    with registry.parser(parser).session(_parsed) as session:
        return list(session(texts))


def _graph(value: Mapping[str, Any]) -> SceneGraph:
    attributes = {owner: tuple(words) for owner, words in value["attributes"].items()}
    return SceneGraph(objects=tuple(value["objects"]), attributes=attributes)


def _truth(samples: Sequence[Sample], world: World) -> Truth:
    """The values of the environment's metric of true statements; None for a share of nothing."""
    metric = registry.metric(world.truth)

    def truth(captions: Sequence[str]) -> dict[str, float | None]:
        measurement = metric.measure(Records(samples, captions, _parsed, lambda judge: [], world.parser))
        values = stats.point(stats.Column(measurement.statistics, metric.aggregate))
        numbers = zip(metric.names, map(float, values), strict=True)
        return {name: None if math.isnan(number) else number for name, number in numbers}

    return truth


def of_pairs(source_arguments: Sequence[Sequence[str]], training: Training, count: int | None = None) -> Material:
    """Pairs of sources (kind, file, folder of images), ``count`` of their images held out.

    Raises:
        CimError: no pair, a missing image, too few to hold some out, or a source that cannot be read.
    """
    for source in source_arguments:
        if not 2 <= len(source) <= 3:
            raise CimError(f"--from takes KIND FILE [IMAGES], found {' '.join(source)!r}", where="--from")
    grouped = grouping.group(
        pair for kind, *places in source_arguments for pair in sources.read(kind, *map(Path, places))
    )
    by_key = grouped.first
    if absent := [pair.place for pair in by_key.values() if not pair.there()]:
        raise CimError(f"{len(absent)} images are not there, {absent[0]} first", hint="copy them, or leave them out")
    if not by_key:
        raise CimError("no image to train on", where="--from", hint="cim train --help")
    validation = held_out(list(by_key), count)

    def place(name: str) -> bytes | Path:
        image = by_key[name].image
        return image if isinstance(image, Path) else image()

    return Material(
        name="+".join(dict.fromkeys(pair.source for pair in by_key.values())),
        prompt=training.prompt,
        train=[name for name in by_key if name not in validation],
        validation=[name for name in by_key if name in validation],
        keys={name: name for name in by_key},
        place=place,
        targets=grouped.captions.__getitem__,
        reference=lambda name: by_key[name].caption,
        truth=lambda captions: {},  # nothing is known of these images
        shown=lambda name: by_key[name].place,
        references=of_captions({name: grouped.captions[name] for name in by_key if name in validation}, _parsed),
        counted=grouped.counted,
        content=grouped.sha256,
    )


def opener(material: Material, weights: Weights) -> Callable[[str], Any]:
    """Opens the image of a source id as a run of these weights sees it."""
    images = {key: image for image, key in material.keys.items()}
    pictures = Pictures(material.place, weights.max_pixels, material.shown)
    return lambda key: pictures.open(images[key])


def messages(prompt: str, system: str | None) -> list[dict[str, str]]:
    """The conversation before the caption; TRL puts the image into the user's turn."""
    turns = [] if system is None else [{"role": "system", "content": system}]
    return [*turns, {"role": "user", "content": prompt}]


def for_grpo(material: Material, images: Sequence[str], weights: Weights) -> Any:
    """Columns prompt, image, source_id, sample_id of these images; a batch opens each distinct image once."""
    from datasets import Dataset

    turns, pictures = (
        messages(material.prompt, weights.system),
        Pictures(material.place, weights.max_pixels, material.shown),
    )

    def open_batch(batch: Mapping[str, Sequence[str]]) -> dict[str, list[Any]]:
        opened = {sample_id: pictures.open(sample_id) for sample_id in dict.fromkeys(batch["sample_id"])}
        column = [opened[sample_id] for sample_id in batch["sample_id"]]
        return {**batch, "prompt": [turns for _ in column], "image": column}  # type: ignore[dict-item]

    columns = {"sample_id": list(images), "source_id": [material.keys[image] for image in images]}
    return Dataset.from_dict(columns).with_transform(open_batch)


def for_sft(material: Material, weights: Weights) -> Any:
    """Columns prompt, completion, images: one row a target caption; the loss covers the completion only."""
    from datasets import Dataset

    targets = [(image, text) for image in material.train for text in material.targets(image) if text.strip()]
    if not targets:
        raise CimError("no training image has a target caption", hint="SFT needs a source with target captions")
    turns, pictures = (
        messages(material.prompt, weights.system),
        Pictures(material.place, weights.max_pixels, material.shown),
    )

    def open_batch(batch: Mapping[str, Sequence[str]]) -> dict[str, list[Any]]:
        return {
            "prompt": [turns for _ in batch["target"]],
            "completion": [[{"role": "assistant", "content": text}] for text in batch["target"]],
            "images": [[pictures.open(sample_id)] for sample_id in batch["sample_id"]],
        }

    columns = {"sample_id": [image for image, _ in targets], "target": [text for _, text in targets]}
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
    images: Sequence[str], pictures: Pictures, count: Callable[[tuple[int, int]], int], limit: int
) -> list[str]:
    """Images whose prompt has at most ``limit`` tokens; the count is memoised by image size.

    Raises:
        CimError: none is left.
    """
    counted: dict[tuple[int, int], int] = {}
    kept = []
    for image in images:
        size = pictures.open(image).size
        if size not in counted:
            counted[size] = count(size)
        if counted[size] <= limit:
            kept.append(image)
    if not kept:
        least = min(counted.values(), default=0)
        hint = "set image.max_pixels in the model's TOML"
        raise CimError(f"every prompt has more than {limit} tokens, {least} at least", hint=hint)
    return kept


def short_prompts(
    material: Material, preset: Preset, weights: Weights, processor: Any, say: Callable[[str], None]
) -> list[str]:
    """Training images whose prompts fit; CimError where they are fewer than a step takes."""

    def count(size: tuple[int, int]) -> int:
        return prompt_tokens(processor, material.prompt, weights.system, size)

    pictures = Pictures(material.place, weights.max_pixels)
    kept = short_enough(material.train, pictures, count, preset.prompt_tokens)
    if len(kept) < len(material.train):
        left_out = len(material.train) - len(kept)
        say(f"{left_out} images are left out: prompts over {preset.prompt_tokens} tokens")
    if len(kept) < preset.prompts:
        what = f"{len(kept)} training images, a step takes {preset.prompts}"
        raise CimError(what, hint="a larger training set, or another preset")
    return kept
