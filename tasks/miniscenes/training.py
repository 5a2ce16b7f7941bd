"""Miniscenes to train on: scenes of the splits ``train`` and ``validation``, never those of ``test``."""

from __future__ import annotations

from functools import lru_cache

from harness.types import Sample
from harness.worlds import World
from tasks.miniscenes import draw, edits, language, pearson, samples, truth
from tasks.miniscenes.world import Dice, of_sample, scene

PROMPT = "describe the scene ."


@lru_cache(maxsize=1024)
def _sample(sample_id: str) -> Sample:
    return samples.sample(samples.row(of_sample(sample_id)))


def _samples(split: str, count: int) -> list[Sample]:
    return [samples.sample(samples.row(scene(split, number))) for number in range(count)]


def _reference(sample_id: str) -> str:
    return samples.reference(of_sample(sample_id))


def _target(sample_id: str) -> str:
    return language.caption(of_sample(sample_id), language.LEVELS["medium"], Dice(f"sft/{sample_id}"))


def _caption(sample_id: str, level: str) -> str:
    return str(edits.caption(of_sample(sample_id), level))


def _sampled(sample_id: str, level: str, number: int) -> str:
    dice = Dice(f"audit/sampled/{level}/{sample_id}/{number}")
    return language.caption(of_sample(sample_id), language.LEVELS[level], dice)


def _count(sample_id: str, caption: str) -> tuple[int, int]:
    verdicts = [verdict for _, verdict in truth.verdicts(caption, _sample(sample_id))]
    return verdicts.count(truth.TRUE), verdicts.count(truth.FALSE)


WORLD = World(
    name="miniscenes",
    prompt=PROMPT,
    samples=_samples,
    draw=draw.picture,
    reference=_reference,
    target=_target,
    varied=pearson.caption,
    caption=_caption,
    sampled=_sampled,
    levels=tuple(language.LEVELS),
    kinds=edits.KINDS,
    edits=edits.EDITS,
    count=_count,
    validation=300,
    parser="grammar",
    gallery="miniscenes",
    truth="statements",
    own_gallery="miniscenes-own",
)
