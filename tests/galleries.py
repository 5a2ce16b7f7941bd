"""Galleries in memory, for tests and the benchmark of the scorer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import CimError
from harness.retrieval.gallery import Gallery, positions, unit

if TYPE_CHECKING:
    from numpy.typing import NDArray


def of_arrays(
    text: NDArray[Any],
    image: NDArray[Any],
    keys: Sequence[str],
    hashes: Sequence[str | None] | None = None,
) -> Gallery:
    """A gallery of these embeddings (N, d_t) and (N, d_v), L2-normalised here.

    Raises:
        CimError: the counts differ, or a row is zero or not finite.
    """
    rows = [unit(part, what) for part, what in ((text, "caption"), (image, "image"))]
    if len({len(text), len(image), len(keys), len(keys if hashes is None else hashes)}) > 1:
        raise CimError(f"{len(text)} captions, {len(image)} images and {len(keys)} ids do not agree")
    marks = [None] * len(keys) if hashes is None else list(hashes)
    digest = hashlib.sha256("\n".join(map(repr, zip(keys, marks, strict=True))).encode())
    for part in rows:
        digest.update(part.tobytes())
    return Gallery("arrays", rows[0], rows[1], list(keys), marks, positions(keys), digest.hexdigest())
