"""Miniscenes to train on: scenes of the splits ``train`` and ``validation``, never those of ``test``."""

from __future__ import annotations

from harness.types import Sample
from harness.worlds import World
from tasks.miniscenes import damage, draw, language, pearson, samples
from tasks.miniscenes.world import Dice, Scene, scene

PROMPT = "describe the scene ."


def _scene(sample_id: str) -> Scene:
    split, _, number = sample_id.rpartition("_")
    return scene(split, int(number))


def _samples(split: str, count: int) -> list[Sample]:
    return [samples.sample(samples.row(scene(split, number))) for number in range(count)]


def _draw(sample_id: str) -> bytes:
    return draw.png(draw.pixels(_scene(sample_id)))


def _target(sample_id: str) -> str:
    return language.caption(_scene(sample_id), language.LEVELS["medium"], Dice(f"sft/{sample_id}"))


WORLD = World(
    name="miniscenes",
    prompt=PROMPT,
    samples=_samples,
    draw=_draw,
    target=_target,
    varied=pearson.caption,
    damages=tuple(damage.PAIRS),
    damaged=damage.pair,
    validation=300,
    parser="grammar",
    gallery="miniscenes",
    truth="statements",
    own_gallery="miniscenes-own",
)
