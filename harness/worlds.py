"""Synthetic environments to train in, and edits of their captions whose effect on the truth is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.types import Sample


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of captions, and what it changes of the truth.

    ``pair(sample_id, level)`` gives a caption of this level of detail and the edited one; None where the caption allows
    no such edit. ``true`` and ``false`` are how many true and false statements the edited caption has more; None where
    that depends on the caption. ``about`` defines the edit in a line.
    """

    about: str
    pair: Callable[[str, str], tuple[str, str] | None]
    true: int | None = None
    false: int | None = None


@dataclass(frozen=True, slots=True)
class World:
    """A synthetic environment to train in: samples of ``train``, ``validation`` and ``gallery``, rendered on demand.

    ``name`` is the environment's benchmark and the first part of gallery keys; ``samples(split, n)`` gives the
    first n of a split, ``draw`` the PNG bytes of one, ``reference`` its reference caption, ``target`` its target
    caption for SFT, ``varied`` one of random detail, for the correlation study. ``caption(id, level)`` is a caption of
    one of the ``levels`` of detail, least first, without errors; ``sampled(id, level, number)`` one as a captioner of
    that level samples it; ``count(id, caption)`` gives the true and the false statements of a caption. ``edits`` are
    the battery of the reward audit: of each of the ``kinds`` of facts ``true KIND added`` and ``false KIND added``, in
    some ``KIND made false``; ``true fact added`` and ``false fact added`` are of a kind drawn by chance; ``padding``
    adds words that say nothing. ``validation`` is how many images choose a checkpoint, ``gallery`` where captions are
    looked up, ``own_gallery`` one that also holds the images of training. ``truth`` names the metric whose first value
    is the share of statements that are true, in percent.
    """

    name: str
    prompt: str
    samples: Callable[[str, int], list[Sample]]
    draw: Callable[[str], bytes]
    reference: Callable[[str], str]
    target: Callable[[str], str]
    varied: Callable[[str], str]
    caption: Callable[[str, str], str]
    sampled: Callable[[str, str, int], str]
    levels: tuple[str, ...]
    kinds: tuple[str, ...]
    edits: Mapping[str, Edit]
    count: Callable[[str, str], tuple[int, int]]
    validation: int
    parser: str
    gallery: str
    truth: str
    own_gallery: str | None = None


@dataclass(frozen=True, slots=True)
class Training:
    """A training task: the prompt for images of a user's own, and the worlds that ship with the project by name.

    ``study`` names the module that ``cim study`` runs.
    """

    name: str
    title: str
    prompt: str
    worlds: Mapping[str, World]
    study: str | None = None
