"""Controls of a score: values that captions get which say nothing of their image, and what they are called.

``wrong_image``: each image gets the first reference of the task's next image. ``next_caption``: each image gets the
run's own caption of its next image, so length and style are the model's and only the content is wrong. Both never use
a text of the same image. Other controls are judges that never read a caption. A value that is no better than its floor
says nothing about the images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.types import Sample

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
    both = {WRONG_IMAGE: next_references(samples, all_samples), NEXT_CAPTION: next_captions(samples, captions)}
    return {name: of_others for name, of_others in both.items() if of_others is not None}


def next_references(samples: Sequence[Sample], all_samples: Sequence[Sample]) -> list[str] | None:
    """For each sample the first reference of the next image of the task, cyclically.

    None where there is one image, or no reference.
    """
    order_of_images = {sample.image_key: sample for sample in all_samples}
    following = _following(list(order_of_images))
    if following is None or not any(sample.references for sample in all_samples):
        return None
    nexts = (order_of_images[following[sample.image_key]].references for sample in samples)
    return [references[0] if references else "" for references in nexts]


def next_captions(samples: Sequence[Sample], captions: Sequence[str]) -> list[str] | None:
    """For each sample a caption of the next image among them, cyclically; None where all are of one image.

    The k-th caption of an image gets the k-th of the next, counted modulo how many that has.
    """
    by_image = dict[str, list[str]]()
    ranks = list[int]()
    for sample, caption in zip(samples, captions, strict=True):
        texts = by_image.setdefault(sample.image_key, [])
        ranks.append(len(texts))
        texts.append(caption)
    following = _following(list(by_image))
    if following is None:
        return None
    nexts = (by_image[following[sample.image_key]] for sample in samples)
    return [texts[rank % len(texts)] for rank, texts in zip(ranks, nexts, strict=True)]


def _following(images: Sequence[str]) -> dict[str, str] | None:
    """The next image of each, cyclically; None where there is no other."""
    return dict(zip(images, [*images[1:], images[0]], strict=True)) if len(images) > 1 else None
