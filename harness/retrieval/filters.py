"""Which retrieved rows count: self policies, and one row per image; the order of the kept rows does not change.

Identity is matched on (source name, image id), and on the sha256 of the image where the gallery does not know the
id; never on row numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.retrieval.consistency import CimSettings
from harness.retrieval.gallery import Gallery
from harness.retrieval.search import GATHER, Search

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Rows = NDArray[np.int64]
    Flags = NDArray[np.bool_]

SPARE = {"include": 0, "exclude": 1, "exclude_near": 8}  # rows fetched beyond K in the first round


@dataclass(frozen=True, slots=True)
class Sources:
    """The images that B captions describe: key, row in the gallery (-1: none), L2-normalised embedding, sha256."""

    keys: Sequence[str]
    rows: Rows
    vectors: Floats
    hashes: Sequence[str | None]


def _counting(gallery: Gallery, sources: Sources, at: Rows, rows: Rows, settings: CimSettings) -> Flags:
    """Which of the retrieved rows (n, m) count for the captions ``at`` (n,)."""
    keep = rows >= 0
    if settings.self_policy != "include":
        for line, caption in enumerate(at):
            own_rows = _own_rows(gallery, sources, int(caption), rows[line], settings.self_policy)
            keep[line, np.isin(rows[line], own_rows)] = False
    if settings.self_policy == "exclude_near":
        keep &= ~_near(gallery, sources.vectors[at], rows, settings.near)
    if settings.dedupe_images:
        for line in range(len(rows)):
            keep[line] &= _first_of_image(gallery, rows[line], keep[line])
    return keep


def _own_rows(gallery: Gallery, sources: Sources, caption: int, rows: Rows, policy: str) -> Sequence[int]:
    """Rows of the caption's own image by its key and, where that does not settle it, those of equal bytes."""
    by_key = gallery.rows.get(sources.keys[caption], ())
    sha = sources.hashes[caption]
    if sha is None or (by_key and policy == "exclude"):
        return by_key
    return [*by_key, *(row for row in rows.tolist() if row >= 0 and gallery.hashes[row] == sha)]


def _near(gallery: Gallery, vectors: Floats, rows: Rows, threshold: float) -> Flags:
    near = np.zeros(rows.shape, dtype=bool)
    step = max(1, GATHER // (rows.shape[1] * gallery.image.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        near[part] = np.einsum("nd,nmd->nm", vectors[part], gallery.images(rows[part])) >= threshold
    return near


def _first_of_image(gallery: Gallery, rows: Rows, keep: Flags) -> Flags:
    first, seen = np.zeros(len(rows), dtype=bool), set[str]()
    for at in np.flatnonzero(keep):
        image = gallery.hashes[rows[at]] or gallery.keys[rows[at]]
        first[at] = image not in seen
        seen.add(image)
    return first


def retrieve(
    search: Search,
    gallery: Gallery,
    vectors: NDArray[np.float32],
    of: Rows,
    sources: Sources,
    settings: CimSettings,
    read: Flags,
) -> tuple[Floats, Rows]:
    """Similarities and rows (B, K) of the K best rows that count; fewer are padded with NaN and -1.

    Args:
        vectors: embeddings (n, d_t) of the distinct captions; ``of`` (B,) maps each caption to its row.
        read: (B,) mask of the captions to look up.
    """
    n, k = len(gallery), settings.k
    similarities, kept_rows = np.full((len(of), k), np.nan), np.full((len(of), k), -1, dtype=np.int64)
    spare = SPARE[settings.self_policy] + (k if settings.dedupe_images else 0)
    open_, fetch = np.flatnonzero(read), min(n, k + spare)
    while open_.size:
        distinct, back = np.unique(of[open_], return_inverse=True)
        scores, rows = search.find(vectors[distinct], fetch)
        scores, rows = scores[back], rows[back]
        keep = _counting(gallery, sources, open_, rows, settings)
        order = np.argsort(~keep, axis=1, kind="stable")[:, :k]
        kept = np.take_along_axis(keep, order, 1)
        width = order.shape[1]
        similarities[open_, :width] = np.where(kept, np.take_along_axis(scores, order, 1), np.nan)
        kept_rows[open_, :width] = np.where(kept, np.take_along_axis(rows, order, 1), -1)
        open_ = open_[keep.sum(axis=1) < k] if fetch < n else open_[:0]
        fetch = min(n, 4 * fetch)
    return similarities, kept_rows
