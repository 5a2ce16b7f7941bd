"""The scorer of a training run: an opened gallery, its encoders, and images that have no row there.

Run by ``cim train``; the metric ``cim`` and the reward server open galleries alike.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness import registry
from harness.errors import CimError
from harness.parts import RewardContext
from harness.retrieval import consistency, encoders
from harness.retrieval.gallery import Gallery, open_folder, place, unit
from harness.retrieval.scorer import PAPER, SAFE, CimBatch, CimScorer, CimSettings
from harness.train.scoring import Extra

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BLOCK = 1024  # images that are written out for an encoder at a time
Policy = Literal["include", "exclude", "exclude_near"]


@dataclass(frozen=True, slots=True)
class Opened:
    """A scorer, rewards beside GRC and QIR, and the gallery's sha256."""

    scorer: SourcedScorer
    extra: Mapping[str, Extra]
    sha: str


class SourcedScorer:
    """``CimScorer`` for images that need not be in the gallery: their vectors are made once, when it is opened."""

    def __init__(self, inner: CimScorer, vectors: Mapping[str, Any]) -> None:
        self.inner, self._vectors = inner, vectors
        self._weights = consistency.rank_weights(inner.settings.k, inner.settings.rank_weights)

    def score(self, captions: Sequence[str], source_ids: Sequence[str]) -> CimBatch:
        """As ``CimScorer.score``."""
        return self.inner.score(captions, source_ids, source_vectors=self._of(source_ids))

    def qir(self, rows: Any, source_ids: Sequence[str]) -> Floats:
        """QIR (B,) of rows retrieved before against other images; places without a row count nothing."""
        images = self.inner.gallery.images(np.maximum(rows, 0))
        cosines = np.where(rows >= 0, consistency.cosines(self._of(source_ids), images), 0.0)
        return consistency.qir(cosines, self._weights)

    def _of(self, source_ids: Sequence[str]) -> Floats:
        return np.stack([self._vectors[name] for name in source_ids])


def scorer_settings(preset: str, policy: Policy | None, weights: Mapping[str, float]) -> CimSettings:
    """How captions are scored: as released in preset ``paper``, guarded in the others.

    Raises:
        CimError: settings that make a reward constant.
    """
    chosen = replace(PAPER if preset == "paper" else SAFE, w_g=weights.get("grc", 0.0), w_q=weights.get("qir", 0.0))
    chosen = chosen if policy is None else replace(chosen, self_policy=policy)
    chosen.check()
    return chosen


@contextmanager
def opened(
    gallery: str,
    settings: CimSettings,
    weights: Mapping[str, float],
    keys: Mapping[str, str],
    image: Callable[[str], bytes | Path],
    reference: Callable[[str], str],
    trained: Sequence[str],
) -> Iterator[Opened]:
    """Open a gallery and the encoder of its captions; vectors of images without a row are made by its image encoder.

    Args:
        keys: gallery keys of the training and validation images, by image id.
        reference: the reference caption of an image, for rewards that read it.
        trained: keys of the images that rewards are asked about.

    Raises:
        CimError: no gallery, other encoders than its own, an unknown reward, or one that this run cannot have.
    """
    for name in weights:
        if name not in ("grc", "qir"):
            registry.check("rewards", name)
    held = open_folder(place(gallery))
    _require_rows(held, [name for name in weights if name not in ("grc", "qir")], trained)
    with encoders.opened(encoders.of(held, "text")) as encode:
        inner = CimScorer(held, encode, settings)
        scorer = SourcedScorer(inner, source_vectors(held, keys, image))
        references = {name: reference(one) for one, name in keys.items()}
        context = RewardContext(scorer=inner, references=references)
        extra = {name: _extra(name, context) for name in weights if name not in ("grc", "qir")}
        yield Opened(scorer, extra, held.sha)


def _require_rows(held: Gallery, rewards: Sequence[str], trained: Sequence[str]) -> None:
    """CimError where a reward reads the own row of an image that has none: told before anything is trained."""
    absent = [name for name in trained if name not in held.rows]
    needing = [name for name in rewards if registry.reward(name).own_row]
    if absent and needing:
        what = f"reward {needing[0]} reads an image's own row, which {len(absent)} of {len(trained)} images do not have"
        hint = "train on images of the gallery, such as --gallery miniscenes-own in the embedded world"
        raise CimError(f"{what}, first {absent[0]!r}", where=f"gallery {held.name}", hint=hint)


def _extra(name: str, context: RewardContext) -> Extra:
    reward = registry.reward(name)

    def values(captions: Sequence[str], source_ids: Sequence[str]) -> Any:
        return reward(captions, source_ids, context)

    return values


def source_vectors(
    gallery: Gallery, keys: Mapping[str, str], image: Callable[[str], bytes | Path]
) -> dict[str, NDArray[Any]]:
    """Unit vectors by key: the gallery's own row, or the image encoded now."""
    rows = {name: gallery.rows[name][0] for name in keys.values() if name in gallery.rows}
    found = dict(zip(rows, gallery.images(np.array(list(rows.values()), dtype=np.int64)), strict=True)) if rows else {}
    outside = [one for one, name in keys.items() if name not in rows]
    if not outside:
        return found
    with encoders.opened(encoders.of(gallery, "image")) as encode:
        for start in range(0, len(outside), BLOCK):
            some = outside[start : start + BLOCK]
            made = _encode(encode, [image(one) for one in some], [keys[one] for one in some])
            found |= zip([keys[one] for one in some], made.astype(np.float64), strict=True)
    return found


def _encode(
    encode: Callable[[Sequence[str]], Any], images: Sequence[bytes | Path], names: Sequence[str]
) -> NDArray[np.float32]:
    """Unit vectors of images; those that are bytes are written out, as an encoder reads files."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for at, one in enumerate(images):
            files.append(str(one) if isinstance(one, Path) else f"{folder}/{at}.png")
            if not isinstance(one, Path):
                Path(files[-1]).write_bytes(one)
        made = np.asarray(encode(files))
    if len(made) != len(files):
        raise CimError(f"the image encoder gave {len(made)} of {len(files)} vectors")
    return unit(made, "image", names)
