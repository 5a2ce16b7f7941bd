"""Which retrieved rows count: self policies, and one row per image; the order of the kept rows does not change.

Identity is matched on (source name, image id), and on the sha256 of the image where the gallery does not know the
id; never on row numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.retrieval.gallery import Gallery
from harness.retrieval.search import GATHER, Search

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Rows = NDArray[np.int64]
    Flags = NDArray[np.bool_]

POLICIES = ("include", "exclude", "exclude_near")
SPARE = {"include": 0, "exclude": 1, "exclude_near": 8}  # rows fetched beyond K in the first round


@dataclass(frozen=True, slots=True)
class Sources:
    """The images that B captions describe: key, row in the gallery (-1: none), L2-normalised embedding, sha256."""

    keys: Sequence[str]
    rows: Rows
    vectors: Floats
    hashes: Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Filter:
    """A self policy, its threshold, and whether an image may be retrieved more than once."""

    policy: str
    near: float
    dedupe: bool

    def kept(self, gallery: Gallery, sources: Sources, at: Rows, rows: Rows) -> Flags:
        """Which of the retrieved rows (n, m) count for the captions ``at`` (n,)."""
        keep = rows >= 0
        if self.policy != "include":
            for line, caption in enumerate(at):
                keep[line, np.isin(rows[line], self._own(gallery, sources, int(caption), rows[line]))] = False
        if self.policy == "exclude_near":
            keep &= ~_near(gallery, sources.vectors[at], rows, self.near)
        if self.dedupe:
            for line in range(len(rows)):
                keep[line] &= _first_of_image(gallery, rows[line], keep[line])
        return keep

    def _own(self, gallery: Gallery, sources: Sources, caption: int, rows: Rows) -> Sequence[int]:
        own_rows = gallery.rows.get(sources.keys[caption], ())
        sha = sources.hashes[caption]
        if sha is None or (own_rows and self.policy == "exclude"):
            return own_rows
        return [*own_rows, *(row for row in rows.tolist() if row >= 0 and gallery.hashes[row] == sha)]


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
    chosen: Filter,
    k: int,
    read: Flags,
) -> tuple[Floats, Rows]:
    """Similarities and rows (B, K) of the K best rows that count; fewer are padded with NaN and -1.

    Args:
        vectors: embeddings (n, d_t) of the distinct captions; ``of`` (B,) maps each caption to its row.
        read: (B,) mask of the captions to look up.
    """
    similarities, kept_rows = np.full((len(of), k), np.nan), np.full((len(of), k), -1, dtype=np.int64)
    n = len(gallery)
    open_, fetch = np.flatnonzero(read), min(n, k + SPARE[chosen.policy] + (k if chosen.dedupe else 0))
    while open_.size:
        distinct, back = np.unique(of[open_], return_inverse=True)
        scores, rows = search.find(vectors[distinct], fetch)
        scores, rows = scores[back], rows[back]
        keep = chosen.kept(gallery, sources, open_, rows)
        order = np.argsort(~keep, axis=1, kind="stable")[:, :k]
        kept = np.take_along_axis(keep, order, 1)
        width = order.shape[1]
        similarities[open_, :width] = np.where(kept, np.take_along_axis(scores, order, 1), np.nan)
        kept_rows[open_, :width] = np.where(kept, np.take_along_axis(rows, order, 1), -1)
        open_ = open_[keep.sum(axis=1) < k] if fetch < n else open_[:0]
        fetch = min(n, 4 * fetch)
    return similarities, kept_rows
