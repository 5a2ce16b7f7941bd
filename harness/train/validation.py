"""Validation: which images choose a checkpoint, and what their greedy captions are worth by more than the reward.

Of a user's own images metrics compare captions with references, which no reward reads.

The captions of a step are compared with those of the start model, image by image: the difference of the first metric
that this machine can compute has a 95 % bootstrap interval over images, and captions got worse where all of it lies
below 0. A metric's floor is what captions of the next image earn. Nothing here is known to be true or false: METEOR
and ROUGE-L see words, and only the light scene-graph metrics see objects and attributes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness import registry
from harness.errors import CimError
from harness.parts import Metric, Records, RewardScorer, mean
from harness.retrieval.consistency import SAFE
from harness.retrieval.gallery import Gallery, encoding, open_folder, place
from harness.retrieval.scorer import CimScorer
from harness.runs import stats
from harness.train import alarms
from harness.types import Sample

if TYPE_CHECKING:
    from harness.parts import Vectors
    from harness.train.examples import Material

CANDIDATES = ("objects@lite", "attributes@lite", "meteor", "rouge_l")  # the first decides, the others are logged
PARSER = "scene_graph"
DRAWS = 2000
HELD_OUT = 20  # one image in this many is for validation,
LEAST, MOST = 64, 256  # but at least and at most this many
Parsed = Callable[[str, Sequence[str]], list[Any]]


@dataclass(frozen=True, slots=True)
class References:
    """References of the validation images, in their order, and the metrics that read them; the first decides."""

    samples: Sequence[Sample]
    metrics: Sequence[Metric]
    parsed: Parsed

    @property
    def names(self) -> list[str]:
        """Names of the metrics."""
        return [metric.name for metric in self.metrics]

    def columns(self, captions: Sequence[str]) -> list[stats.Column]:
        """The statistics of each metric for one caption per sample."""
        records = Records(self.samples, captions, self.parsed, lambda judge: [], PARSER, _encoded)
        return [stats.Column(metric.measure(records).statistics, metric.aggregate) for metric in self.metrics]

    def values(self, captions: Sequence[str], start: Sequence[str] | None) -> dict[str, dict[str, Any]]:
        """By metric its main value, its floor, and the difference to the captions of the start model, if there are any.

        Args:
            start: the captions that the start model wrote, one per sample; None where ``captions`` are these.
        """
        now, others = self.columns(captions), self.columns([*captions[1:], captions[0]])
        before = self.columns(start) if start is not None else [None] * len(self.metrics)
        mains = [next(at for at, value in enumerate(metric.values) if value.main) for metric in self.metrics]
        judged = map(_judged, now, others, before, mains)
        return dict(zip(self.names, judged, strict=True))


@dataclass(frozen=True, slots=True)
class SecondPair:
    """The CIM reward of the validation images by a gallery, and encoders, that the run is not trained on.

    It sees what such encoders see: as a judge it protects against overfitting to one pair, and not against statements
    that neither reads. ``places`` are the images by source id; they are encoded at every validation, as the encoders
    are closed in between.
    """

    gallery: Gallery
    places: Mapping[str, Callable[[], bytes | Path]]

    @property
    def names(self) -> list[str]:
        """The name of its one value."""
        return [f"cim by gallery {self.gallery.name}"]

    def values(self, captions: Sequence[str], start: Sequence[str] | None) -> dict[str, dict[str, Any]]:
        """As those of ``References``: mean reward, floor, difference to the start model's captions."""
        with encoding(self.gallery.encoder("text")) as encode:
            scorer = CimScorer(self.gallery, encode, SAFE)
            scorer.add_images(self.places)
            others = [*captions[1:], captions[0]]
            columns = [None if texts is None else self._column(scorer, texts) for texts in (captions, others, start)]
        now, floor, before = columns
        assert now is not None and floor is not None
        return {self.names[0]: _judged(now, floor, before, 0)}

    def _column(self, scorer: CimScorer, captions: Sequence[str]) -> stats.Column:
        rewards = scorer.score(captions, list(self.places)).reward
        return stats.Column(np.asarray(rewards, dtype=np.float64)[:, None], mean)


def _judged(now: stats.Column, floor: stats.Column, before: stats.Column | None, at: int) -> dict[str, Any]:
    values = {"value": stats.point(now)[at], "floor": stats.point(floor)[at]}
    content: dict[str, Any] = {name: None if math.isnan(v) else float(v) for name, v in values.items()}
    if before is not None:
        test = stats.paired([(before, now)], DRAWS)[0][at]
        content |= {"difference": test.difference, "ci95": list(test.ci95)}
    return content


def second_pair(name: str, material: Material, trained: Gallery | None) -> SecondPair:
    """Validation by another gallery than the one of the reward.

    Raises:
        CimError: no such gallery, no held-out image, or the encoders of the reward.
    """
    gallery = open_folder(place(name))
    kinds: tuple[Literal["text", "image"], ...] = ("text", "image")
    if trained and all(gallery.encoder(kind).settings() == trained.encoder(kind).settings() for kind in kinds):
        hint = "a gallery of other encoders: cim gallery build --text-encoder --image-encoder"
        raise CimError("has the encoders of the reward", where=f"--validate-gallery {name}", hint=hint)
    if not material.validation:
        raise CimError("no image is held out", where=f"--validate-gallery {name}", hint="leave --held-out 0 out")
    places = {material.keys[image]: partial(material.place, image) for image in material.validation}
    return SecondPair(gallery, places)


def usable() -> list[Metric]:
    """The candidates that exist and run here quickly."""
    return [metric for name in CANDIDATES if (metric := _metric(name)) is not None and not _obstacle(metric)]


def _metric(name: str) -> Metric | None:
    try:
        return registry.metric(name)
    except CimError:
        return None


def _obstacle(metric: Metric) -> str | None:
    """Why a metric cannot be computed here, or not quickly."""
    parsers = [registry.parser(PARSER if name == PARSER else name) for name in metric.parsers]
    reasons = [metric.missing(), *(parser.missing() for parser in parsers), *(parser.slow() for parser in parsers)]
    return next((reason for reason in reasons if reason), None)


def remembered(parse: Parsed) -> Parsed:
    """A parser of texts that parses each text once: references stay the same from step to step."""
    values = dict[tuple[str, str], Any]()

    def parsed(name: str, texts: Sequence[str]) -> list[Any]:
        new = [text for text in dict.fromkeys(texts) if (name, text) not in values]
        values.update(((name, text), value) for text, value in zip(new, parse(name, new) if new else [], strict=True))
        return [values[name, text] for text in texts]

    return parsed


def _encoded(name: str, phrases: Sequence[str]) -> Vectors:
    with encoding(registry.encoder(name)) as encode:
        vectors: Vectors = np.asarray(list(encode(phrases)), dtype=np.float32)
    return vectors


def of_captions(references: Mapping[str, Sequence[str]], parse: Parsed) -> References | None:
    """Validation by the references of images, by key; None where an image has none, or nothing can be computed."""
    samples = [Sample(key, tuple(texts)) for key, texts in references.items()]
    if not samples or not all(any(text.strip() for text in sample.references) for sample in samples):
        return None
    metrics = usable()
    return References(samples, metrics, remembered(parse)) if metrics else None


def held_out(images: Sequence[str], count: int | None) -> set[str]:
    """The images that choose a checkpoint, which follow from their names alone: a twentieth, ``LEAST`` to ``MOST``.

    With n images the mean of a metric of standard deviation 20 points is known to +- 4.9 points for n = 64, 2.5 for
    256 (half of a 95 % interval); paired with the start model's captions it is less. Fewer decide nothing.

    Args:
        count: how many, if the user says so; 0 for none, and then the last checkpoint is chosen.

    Raises:
        CimError: too few images to hold out ``LEAST`` and to train on as many.
    """
    number = min(MOST, max(LEAST, len(images) // HELD_OUT)) if count is None else count
    if number and (number < LEAST or len(images) < number + LEAST):
        what = f"{len(images)} images: {max(number, LEAST)} held out to choose a checkpoint, and {LEAST} to train on"
        if number < LEAST:
            what = f"{number} images held out decide nothing, {LEAST} is the least"
        hint = "more images, or --held-out 0 (the last checkpoint is then chosen, unseen)"
        raise CimError(what, where="--from" if count is None else "--held-out", hint=hint)
    ordered = sorted(images, key=lambda name: hashlib.sha256(f"validation/{name}".encode()).digest())
    return set(ordered[:number])


def worth(
    material: Material,
    rewards: Mapping[str, float],
    scorer: RewardScorer,
    captions: Sequence[str],
    start: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Scores of greedy captions of the validation images: weighted GRC and QIR, true statements or references, length.

    Rewards other than these two are left out: checkpoints are chosen by retrieval, with equal weights if the run
    trains on neither.

    Args:
        start: the captions of the start model; None where ``captions`` are these.
    """
    batch = scorer.scored(captions, [material.keys[image] for image in material.validation])
    terms = {"grc": float(np.mean(batch.grc)), "qir": float(np.mean(batch.qir))}
    weights = {name: rewards[name] for name in terms if name in rewards} or dict.fromkeys(terms, 1.0)
    reward = sum(weight * terms[name] for name, weight in weights.items())
    words = float(np.mean([len(caption.split()) for caption in captions]))
    distinct = len(set(captions)) / len(captions)
    statements = material.truth(captions)
    truth = next(iter(statements.values()), None)
    scores: dict[str, Any] = {
        "truth": truth,
        "statements": statements,
        "words": words,
        "distinct": distinct,
        "images": len(captions),
    }
    if material.references is not None:
        scores["references"] = material.references.values(captions, start)
    return {"reward": reward, **terms, **scores}


def guards(material: Material, stops: Sequence[str], *, images: int, vllm: bool) -> dict[str, str]:
    """What ``--dry-run`` says of a run's protection: what chooses a checkpoint, and which alarms end the run.

    Args:
        stops: the alarms that end a run of this preset where they ring.
        images: how many a step takes.
        vllm: are captions written by another engine than the trainer's?
    """
    silent = alarms.cannot_ring(
        truth=material.truth_known,
        references=material.references is not None,
        validation=bool(material.validation),
        images=images,
        vllm=vllm,
    )
    return {
        "validation": _chooses(material),
        "alarms that stop": ", ".join(name for name in stops if name not in silent) or "none; they are logged",
        "alarms that cannot ring": "; ".join(f"{name}: {silent[name]}" for name in stops if name in silent) or "none",
    }


def _chooses(material: Material) -> str:
    if not material.validation:
        return "none: the last checkpoint is chosen, unseen"
    if material.truth_known:
        return "true statements"
    if material.references is not None:
        judges = "" if isinstance(material.references, SecondPair) else " against the references; the first decides"
        return f"{', '.join(material.references.names)}{judges}"
    return "the reward alone: no references, or no metric of them that this machine can compute"
