"""What a captioner is trained in: a synthetic environment, and the training tasks that name environments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.types import Sample


@dataclass(frozen=True, slots=True)
class World:
    """A synthetic environment to train in: samples of ``train`` and ``validation``, rendered on demand.

    ``name`` is the environment's benchmark and the first part of gallery keys; ``samples(split, n)`` gives the first n
    of a split, ``draw`` the PNG bytes of one, ``target`` its target caption for SFT, ``varied`` one of random detail.
    ``damages`` names perturbations, ``damaged(name, id)`` gives a full and a perturbed caption; ``validation`` images
    choose a checkpoint. Captions are looked up in ``gallery``; ``own_gallery`` also holds the images of training. The
    first value of metric ``truth`` is the percentage of true statements.
    """

    name: str
    prompt: str
    samples: Callable[[str, int], list[Sample]]
    draw: Callable[[str], bytes]
    target: Callable[[str], str]
    varied: Callable[[str], str]
    damages: tuple[str, ...]
    damaged: Callable[[str, str], tuple[str, str]]
    validation: int
    parser: str
    gallery: str
    truth: str
    own_gallery: str | None = None


@dataclass(frozen=True, slots=True)
class Training:
    """A training task: the prompt for a user's own images, worlds by name, and the module that ``cim study`` runs."""

    name: str
    title: str
    prompt: str
    worlds: Mapping[str, World]
    study: str | None = None
