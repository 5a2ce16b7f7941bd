"""Captions of a gallery that a policy could copy, for the reward audit: that of the most similar image, and others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import CimError
from harness.retrieval.gallery import Gallery, key
from harness.worlds import World

if TYPE_CHECKING:
    from harness.parts import Array


def _rows(world: World, gallery: Gallery) -> dict[int, str]:
    """Ids of the environment's images by gallery row.

    Raises:
        CimError: the gallery holds none.
    """
    begin = key(world.name, "")
    rows = {row: name.removeprefix(begin) for row, name in enumerate(gallery.keys) if name.startswith(begin)}
    if not rows:
        what = f"gallery {gallery.name} holds no image of {world.name}"
        raise CimError(what, where="--gallery", hint=f"such as {world.gallery}")
    return rows


def first(world: World, gallery: Gallery, keys: Sequence[str], count: int) -> list[str]:
    """Captions of the first ``count`` rows that show none of the images with these keys."""
    audited = set(keys)
    others = [image for row, image in _rows(world, gallery).items() if gallery.keys[row] not in audited]
    return [world.reference(image) for image in others[:count]]


def nearest(world: World, gallery: Gallery, keys: Sequence[str], images: Array) -> list[str]:
    """Of each image, by key and L2-normalised embedding (B, d_v), the caption of the most similar other one."""
    rows = _rows(world, gallery)
    cosines = images @ gallery.images(np.array(list(rows), dtype=np.int64)).T
    places = {gallery.keys[row]: at for at, row in enumerate(rows)}
    for at, name in enumerate(keys):
        if name in places:
            cosines[at, places[name]] = -np.inf
    ids = list(rows.values())
    return [world.reference(ids[at]) for at in cosines.argmax(axis=1)]
