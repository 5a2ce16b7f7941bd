"""Training images of a run with the keys of their gallery rows; some are held out to choose a checkpoint.

Either a synthetic environment (``tasks/``) or image-caption pairs of the user, in the formats of galleries
(``harness/retrieval/sources.py``). Which pairs are held out follows from their keys alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness import registry
from harness.errors import CimError
from harness.parts import Records
from harness.retrieval import sources
from harness.retrieval.gallery import key
from harness.runs import stats
from harness.train.scoring import Scorer
from harness.types import Sample, Training, World

HELD_OUT = 20  # one pair in this many is for validation,
MOST = 256  # but at most this many

Precision = Callable[[Sequence[str]], float | None]


@dataclass(frozen=True, slots=True)
class Material:
    """Images by id, their keys in galleries, their captions, and the object precision of validation captions.

    ``name`` says where they come from; ``parser`` reads captions of these images as scene graphs, ``own_gallery`` is
    a gallery that holds them; ``place`` gives the file of an image or its bytes, ``target`` the caption that
    fine-tuning teaches, ``reference`` the one that rewards may read; ``shown`` is what an error calls an image.
    """

    name: str
    prompt: str
    train: Sequence[str]
    validation: Sequence[str]
    keys: Mapping[str, str]
    place: Callable[[str], bytes | Path]
    target: Callable[[str], str]
    reference: Callable[[str], str]
    precision: Precision
    gallery: str | None = None
    parser: str = "scene_graph"
    own_gallery: str | None = None
    shown: Callable[[str], str] = str

    def digest(self) -> str:
        """Eight hex digits that identify the split into training and held-out images."""
        lines = [self.keys[image] for image in self.train] + [""] + [self.keys[image] for image in self.validation]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]


def of_world(world: World, count: int) -> Material:
    """The first ``count`` images of an environment's training split."""
    validation, samples = world.samples("validation", world.validation), world.samples("train", count)
    references = {sample.id: sample.references[0] for sample in (*samples, *validation)}
    train = [sample.id for sample in samples]
    return Material(
        name=world.name,
        prompt=world.prompt,
        train=train,
        validation=[sample.id for sample in validation],
        keys={image: key(world.name, image) for image in references},
        place=world.draw,
        target=world.target,
        reference=references.__getitem__,
        precision=_precision(validation, world.parser),
        gallery=world.gallery,
        parser=world.parser,
        own_gallery=world.own_gallery,
    )


def _precision(samples: Sequence[Sample], parser_name: str) -> Precision:
    """Precision in percent of the objects that captions name, as metric ``objects`` on synthetic scenes."""
    metric = registry.metric("objects")
    metric = metric.made or metric

    def precision(captions: Sequence[str]) -> float | None:
        def parse(name: str, texts: Sequence[str]) -> list[object]:
            with registry.parser(name).session(parse) as session:
                return list(session(texts))

        records = Records(samples, captions, parse, lambda judge: [], parser_name)
        measurement = metric.measure(records)
        values = stats.point(stats.Column(measurement.statistics, metric.aggregate))
        return float(values[metric.names.index("precision")])

    return precision


def of_pairs(source_arguments: Sequence[Sequence[str]], training: Training) -> Material:
    """Pairs of sources (kind, file, folder of images).

    Raises:
        CimError: no pair, a missing image, or a source that cannot be read.
    """
    pairs = list[sources.Pair]()
    for source in source_arguments:
        if not 2 <= len(source) <= 3:
            raise CimError(f"--from takes KIND FILE [IMAGES], found {' '.join(source)!r}", where="--from")
        pairs += sources.read(source[0], Path(source[1]), Path(source[2]) if len(source) > 2 else None)
    by_key = dict[str, sources.Pair]()
    for pair in pairs:
        name = key(pair.source, pair.image_id)
        if name in by_key and by_key[name].image != pair.image:
            what = f"has the key {name!r} of another image, {by_key[name].place}"
            raise CimError(what, where=pair.place, hint="rename one of them")
        by_key[name] = pair
    if absent := [pair.place for pair in by_key.values() if not pair.there()]:
        raise CimError(f"{len(absent)} images are not there, {absent[0]} first", hint="copy them, or leave them out")
    ordered = sorted(by_key, key=lambda name: hashlib.sha256(f"validation/{name}".encode()).digest())
    held_out = set(ordered[: min(MOST, len(ordered) // HELD_OUT)])
    train = [name for name in by_key if name not in held_out]
    if not train:
        raise CimError("no image to train on", where="--from", hint="cim train --help")

    def place(name: str) -> bytes | Path:
        image = by_key[name].image
        return image if isinstance(image, Path) else image()

    return Material(
        name="+".join(dict.fromkeys(pair.source for pair in pairs)),
        prompt=training.prompt,
        train=train,
        validation=[name for name in by_key if name in held_out],
        keys={name: name for name in by_key},
        place=place,
        target=lambda name: by_key[name].caption,
        reference=lambda name: by_key[name].caption,
        precision=lambda captions: None,  # these images have no annotated objects
        shown=lambda name: by_key[name].place,
    )


def worth(
    material: Material, rewards: Mapping[str, float], scorer: Scorer, captions: Sequence[str]
) -> dict[str, float | None]:
    """Scores of greedy captions of the validation images: weighted GRC and QIR, precision, length.

    Rewards other than these two are left out: checkpoints are chosen by retrieval, with equal weights if the run
    trains on neither.
    """
    batch = scorer.score(captions, [material.keys[image] for image in material.validation])
    terms = {"grc": float(np.mean(batch.grc)), "qir": float(np.mean(batch.qir))}
    weights = {name: rewards[name] for name in terms if name in rewards} or dict.fromkeys(terms, 1.0)
    reward = sum(weight * terms[name] for name, weight in weights.items())
    words = float(np.mean([len(caption.split()) for caption in captions]))
    distinct = len(set(captions)) / len(captions)
    scores = {"precision": material.precision(captions), "words": words, "distinct": distinct, "images": len(captions)}
    return {"reward": reward, **terms, **scores}
