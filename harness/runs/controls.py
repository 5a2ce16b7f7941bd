"""Controls of a score: values that captions get which say nothing of their image, and what they are called.

``wrong_image``: each image gets the first reference of the next image. ``own_next_image``: each image gets the run's
own caption of the next image, so length and style are the model's and only the content is wrong. Other controls are
judges that never read a caption. A value that is not better than a control says nothing about the images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WRONG_IMAGE, OWN_NEXT_IMAGE = "wrong_image", "own_next_image"
LABELS = {WRONG_IMAGE: "wrong image", OWN_NEXT_IMAGE: "own captions, next image"}


def label(name: str) -> str:
    """What a reader is shown for a control."""
    return LABELS.get(name, name.replace("_", " "))


def order(name: str) -> tuple[int, str]:
    """Sort key: the wrong image, the own captions, then the others by name."""
    return [*LABELS, name].index(name), name


def not_better(value: float | None, control: float | None, higher_is_better: bool | None) -> bool:
    """Is a value no better than a control? False without a direction, or where one of them is undefined."""
    if value is None or control is None or higher_is_better is None:
        return False
    return value <= control if higher_is_better else value >= control


def under(score: Mapping[str, Any], value: str, higher_is_better: bool | None) -> list[str]:
    """The controls, in order, that one value of a stored score (``scores.json``) is not better than."""
    return [
        name
        for name in sorted(score.get("controls") or {}, key=order)
        if not_better(score["values"].get(value), score["controls"][name]["values"].get(value), higher_is_better)
    ]
