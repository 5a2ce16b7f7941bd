"""Controls of a score: values that captions get which say nothing of their image, and what they are called.

``wrong_image``: each image gets the first reference of the task's next image. ``next_caption``: each image gets the
run's own caption of its next image, so length and style are the model's and only the content is wrong. Both never use
a text of the same image. Other controls are judges that never read a caption. A value that is no better than its floor
says nothing about the images.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.lines import Lines
from harness.runs import stats
from harness.types import Sample

if TYPE_CHECKING:
    from harness.runs.stats import Ints

WRONG_IMAGE, NEXT_CAPTION = "wrong_image", "next_caption"
CONTROLLED = 3  # of a metric with more values than these, the row of a control shows the first
LABELS = {NEXT_CAPTION: "own captions, next image", WRONG_IMAGE: "wrong image"}  # the floor first


def label(name: str) -> str:
    """What a reader is shown for a control."""
    return LABELS.get(name, name.replace("_", " "))


def order(name: str) -> tuple[int, str]:
    """Sort key: the own captions, the wrong image, then the others by name."""
    return [*LABELS, name].index(name), name


def not_better(value: float | None, control: float | None, higher_is_better: bool | None) -> bool:
    """Is a value no better than a control? False without a direction, or where one of them is undefined."""
    if value is None or control is None or higher_is_better is None:
        return False
    return value <= control if higher_is_better else value >= control


def floor(numbers: Mapping[str, float | None], higher_is_better: bool | None, best: float | None = None) -> str | None:
    """The control that a value must be better than, from the numbers of all its controls; None without one.

    The run's own captions of the next image: a reference is not written as the model writes, so what it earns by chance
    can lie far above or below what the model's style earns. Without it the control that earns most.

    Args:
        best: the best possible number; a control that earns it is no floor, because nothing could be better.
    """
    known = {name: number for name, number in numbers.items() if number is not None and number != best}
    if higher_is_better is None or not known:
        return None
    if NEXT_CAPTION in known:
        return NEXT_CAPTION
    return (max if higher_is_better else min)(known, key=lambda name: (known[name], name))


def under(
    score: Mapping[str, Any], value: str, higher_is_better: bool | None, best: float | None = None
) -> tuple[str, ...]:
    """The floor of one value of a stored score (``scores.json``) if the value is no better than it; else nothing."""
    numbers = {name: control["values"].get(value) for name, control in (score.get("controls") or {}).items()}
    name = floor(numbers, higher_is_better, best)
    return (name,) if name and not_better(score["values"].get(value), numbers[name], higher_is_better) else ()


def texts(samples: Sequence[Sample], all_samples: Sequence[Sample], captions: Sequence[str]) -> dict[str, list[str]]:
    """What stands in for the captions of samples, by control; none where all are of one image."""
    of_others, places = dict[str, list[str]](), positions(samples, all_samples)
    if WRONG_IMAGE in places:
        of_others[WRONG_IMAGE] = [first_reference(all_samples[at]) for at in places[WRONG_IMAGE]]
    if NEXT_CAPTION in places:
        of_others[NEXT_CAPTION] = [captions[at] for at in places[NEXT_CAPTION]]
    return of_others


def first_reference(sample: Sample) -> str:
    """The reference that stands in for captions of another image."""
    return sample.references[0] if sample.references else ""


def image_hashes(samples: Sequence[Sample]) -> Ints:
    """A number (n,) for each sample, equal where they are of one image."""
    return _hashes_of_lines(samples) if isinstance(samples, Lines) else _hashes(samples)


@functools.lru_cache(maxsize=4)
def _hashes_of_lines(samples: Lines[Sample]) -> Ints:
    return _hashes(samples)


def _hashes(samples: Sequence[Sample]) -> Ints:
    return np.fromiter((hash(sample.image_key) for sample in samples), np.int64)


def image_numbers(samples: Sequence[Sample]) -> Ints | None:
    """The number (n,) of each sample's image, in the order in which images come; None where each has its own."""
    return stats.image_numbers(image_hashes(samples))


def count_images(samples: Sequence[Sample]) -> int:
    """How many images samples are of."""
    return len(np.unique(image_hashes(samples)))


def positions(samples: Sequence[Sample], all_samples: Sequence[Sample]) -> dict[str, Ints]:
    """For each sample the number (n,) of the one whose text stands in for its caption, by control.

    Of ``wrong_image`` a number of ``all_samples``: the last sample of the task's next image, cyclically. Of
    ``next_caption`` one of ``samples``: of the next image among them; the k-th caption of an image gets the k-th of the
    next, counted modulo how many that has. Left out where there is one image, or no reference.
    """
    of_others: dict[str, Ints] = {}
    every, images = image_hashes(all_samples), image_hashes(samples)
    keys, first = np.unique(every, return_index=True)
    if len(keys) > 1 and any(sample.references for sample in all_samples):
        last = len(every) - 1 - np.unique(every[::-1], return_index=True)[1]
        in_order = np.argsort(first)
        following = np.empty(len(keys), np.int64)
        following[in_order] = last[np.roll(in_order, -1)]
        of_others[WRONG_IMAGE] = following[np.searchsorted(keys, images)]
    numbers = image_numbers(samples)
    count = len(samples) if numbers is None else int(numbers.max(initial=0)) + 1
    if count > 1:
        numbers = np.arange(len(samples)) if numbers is None else numbers
        grouped, sizes = np.argsort(numbers, kind="stable"), np.bincount(numbers)
        starts = np.cumsum(sizes) - sizes
        ranks = np.empty(len(samples), np.int64)
        ranks[grouped] = np.arange(len(samples)) - starts[numbers[grouped]]
        following = (numbers + 1) % count
        of_others[NEXT_CAPTION] = grouped[starts[following] + ranks % sizes[following]]
    return of_others


def next_captions(samples: Sequence[Sample], captions: Sequence[str]) -> list[str] | None:
    """For each sample a caption of the next image among them; None where all are of one image."""
    return texts(samples, (), captions).get(NEXT_CAPTION)
