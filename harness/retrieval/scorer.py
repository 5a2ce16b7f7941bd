"""The CIM scorer: captions in, rewards out; shared by the metric, training and the reward server.

Each caption is looked up among the captions of a gallery; the images paired with its K best rows give GRC and QIR
(``consistency.py``). No engine is imported: the encoder is a function from texts to embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import CimError
from harness.retrieval import consistency, filters
from harness.retrieval.consistency import PAPER, CimSettings, named
from harness.retrieval.gallery import Encode, Gallery, Image, encoding, open_folder, place, unit
from harness.retrieval.search import Search, exact, fine, ranks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Rows = NDArray[np.int64]
    Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CimBatch:
    """Scores and retrieved rows of B captions, in their order.

    ``rows``, ``similarities`` (to the caption) and ``cosines`` (to the image), each (B, K), are padded with -1 and NaN
    where fewer than K were left; ``k`` (B,) counts the rows. ``source_rows`` is the image's own row, -1 if it
    has none in the gallery. ``own_similarity`` is the similarity to that row's caption (NaN without), ``own_qir`` the
    part of QIR from rows of the source image. ``duplicates`` marks captions that repeat an earlier one of the batch.
    """

    reward: Floats
    grc: Floats
    qir: Floats
    rows: Rows
    similarities: Floats
    cosines: Floats
    k: Rows
    source_rows: Rows
    self_hit_1: Flags
    self_hit_k: Flags
    own_similarity: Floats
    own_qir: Floats
    empty: Flags
    duplicates: Flags

    @classmethod
    def concatenate(cls, parts: Sequence[CimBatch]) -> CimBatch:
        """The batches of several processes as one, in their order."""
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__})


class CimScorer:
    """Scores captions against one opened gallery.

    Args:
        encode: n texts to embeddings (n, d_t), by the text encoder that the gallery was built with.
        search: exact on numpy if None; else one of ``search.py``.
    """

    def __init__(
        self,
        gallery: Gallery,
        encode: Encode,
        settings: CimSettings = PAPER,
        *,
        search: Search | None = None,
    ) -> None:
        settings.check()
        if settings.strict and settings.k > len(gallery):
            raise CimError(
                f"gallery {gallery.name} has {len(gallery)} rows, k is {settings.k}", hint="a larger gallery"
            )
        self.gallery, self.settings = gallery, settings
        self._stored = gallery.text if gallery.text_fine is None else gallery.text_fine
        self.search = search or exact(gallery.text, gallery.text_fine)
        self._encode, self._images, self._stack = encode, dict[str, "NDArray[Any]"](), ExitStack()
        self._last: tuple[tuple[tuple[str, ...], tuple[str, ...]], CimBatch] | None = None

    @classmethod
    def from_gallery(
        cls,
        name: str,
        settings: CimSettings | str = "safe",
        *,
        search: Search | None = None,
        precision: str = "float32",
    ) -> CimScorer:
        """Open a gallery (a folder, or a name under ``$CIM_DATA/galleries``) and the encoder of its captions.

        The encoder stays loaded until ``close`` (or the end of a ``with``).

        Args:
            settings: ``paper`` (as released), ``safe`` (source image left out, blank captions get 0), or your own.
            precision: in which captions are encoded, ``float32`` or ``bfloat16``.

        Raises:
            CimError: no gallery, unknown settings, or another encoder than the gallery's.
        """
        gallery, stack = open_folder(place(name)), ExitStack()
        encode = stack.enter_context(encoding(gallery.encoder("text"), precision))
        scorer = cls(gallery, encode, named(settings), search=search)
        scorer._stack = stack
        return scorer

    def close(self) -> None:
        """Unload the encoder that ``from_gallery`` opened."""
        self._stack.close()

    def __enter__(self) -> CimScorer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_images(self, images: Mapping[str, Image]) -> None:
        """Make images known by source id: their gallery row's embedding, or that of the gallery's image encoder.

        Args:
            images: paths of files, bytes, or functions that give either, called only for images without a row.

        Raises:
            CimError: an image cannot be read, or the encoder is not the gallery's.
        """
        self._images |= self.gallery.image_vectors(images)

    def score(
        self,
        captions: Sequence[str],
        source_ids: Sequence[str],
        *,
        source_vectors: NDArray[Any] | None = None,
        source_hashes: Sequence[str | None] | None = None,
    ) -> CimBatch:
        """Score B captions of the images with these keys (``<source>:<image id>``).

        Args:
            source_vectors: (B, d_v), for images that need not be in the gallery (or ``add_images`` beforehand).
            source_hashes: sha256 of these images, by which a copy under another name is known.

        Raises:
            CimError: a source is not in the gallery, an embedding is invalid, or fewer than K rows remain (``strict``).
        """
        if len(captions) != len(source_ids):
            raise CimError(f"{len(captions)} captions for {len(source_ids)} source ids")
        images = self._added(source_ids) if source_vectors is None else source_vectors
        sources = self._sources(source_ids, images, source_hashes)
        empty = np.array([not caption.strip() for caption in captions], dtype=bool)
        places = dict[str, int]()
        of = np.array([places.setdefault(caption, len(places)) for caption in captions], dtype=np.int64)
        duplicates = np.ones(len(captions), dtype=bool)
        duplicates[np.unique(of, return_index=True)[1]] = False
        read = ~empty if self.settings.empty == "zero" else np.ones(len(captions), dtype=bool)
        vectors = self._vectors(list(places))
        similarities, rows = self._retrieve(vectors, of, read, sources)
        return self._batch(vectors, of, similarities, rows, sources, empty, duplicates)

    def qir(self, rows: Rows, source_ids: Sequence[str]) -> Floats:
        """QIR (B,) of already retrieved rows against other images: the shuffled control."""
        return self.settings.qir(self._terms(rows, self.source_vectors(source_ids))[1])

    def scored(self, captions: Sequence[str], source_ids: Sequence[str]) -> CimBatch:
        """``score`` with the last batch memoised, because several rewards read one batch."""
        request = (tuple(captions), tuple(source_ids))
        if self._last is None or self._last[0] != request:
            self._last = request, self.score(captions, source_ids)
        return self._last[1]

    def reciprocal_rank(
        self, captions: Sequence[str], source_ids: Sequence[str], among: Sequence[str] | None = None
    ) -> Floats:
        """1 / rank (B,) of the image's own caption; rank = 1 + how many gallery captions are strictly more similar.

        A blank caption that is not encoded has 0.

        Args:
            among: keys of the images that compete; all of the gallery if None.
        """
        own_rows, vectors = self._sources(source_ids, None, None).rows, self._vectors(captions)
        text, stored = self.gallery.text, self._stored
        if among is not None:
            rows = self._sources(among, None, None).rows
            places = {row: place for place, row in enumerate(rows.tolist())}
            own_rows = np.array([places[row] for row in own_rows.tolist()], dtype=np.int64)
            text = stored = np.asarray(self._stored[rows])
        return np.where(vectors.any(axis=1), 1.0 / ranks(text, stored, vectors, own_rows), 0.0)

    def source_vectors(self, source_ids: Sequence[str]) -> Floats:
        """L2-normalised embeddings (B, d_v) of images that were added or are in the gallery."""
        added = self._added(source_ids)
        return self._sources(source_ids, None, None).vectors if added is None else added

    def _added(self, keys: Sequence[str]) -> Floats | None:
        """Embeddings (B, d_v) of ``add_images``; None unless all of them are there."""
        known = keys and all(key in self._images for key in keys)
        return np.stack([self._images[key] for key in keys]) if known else None

    def _sources(
        self, keys: Sequence[str], vectors: NDArray[Any] | None, hashes: Sequence[str | None] | None
    ) -> filters.Sources:
        rows = np.array([self.gallery.rows.get(key, (-1,))[0] for key in keys], dtype=np.int64)
        if vectors is None:
            if (rows < 0).any():
                absent = [key for key, row in zip(keys, rows, strict=True) if row < 0]
                hint = "keys are <source>:<image id>, cim gallery show; or give the images' embeddings"
                raise CimError(f"{len(absent)} images are not in gallery {self.gallery.name}: {absent[0]!r}", hint=hint)
            return filters.Sources(keys, rows, self.gallery.images(rows), [self.gallery.hashes[row] for row in rows])
        if np.shape(vectors) != (len(keys), self.gallery.image.shape[1]):
            hint = "take the image encoder that the gallery was built with"
            wanted = (len(keys), self.gallery.image.shape[1])
            raise CimError(f"image embeddings have the shape {np.shape(vectors)}, not {wanted}", hint=hint)
        return filters.Sources(
            keys, rows, unit(vectors, "image").astype(np.float64), hashes if hashes is not None else [None] * len(keys)
        )

    def _vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """L2-normalised embeddings (n, d_t) of texts; zeros for a blank text that is not encoded."""
        read = [at for at, text in enumerate(texts) if text.strip() or self.settings.empty == "encode"]
        embeddings = np.zeros((len(texts), self.gallery.text.shape[1]), dtype=np.float32)
        if read:
            encoded = np.asarray(self._encode([texts[at] for at in read]), dtype=np.float32)
            if encoded.shape != (len(read), embeddings.shape[1]):
                hint = "take the text encoder that the gallery was built with"
                wanted = (len(read), embeddings.shape[1])
                raise CimError(f"caption embeddings have the shape {encoded.shape}, not {wanted}", hint=hint)
            embeddings[read] = unit(encoded, "caption")
        return embeddings

    def _retrieve(
        self, vectors: NDArray[np.float32], of: Rows, read: Flags, sources: filters.Sources
    ) -> tuple[Floats, Rows]:
        settings = self.settings
        similarities, rows = filters.retrieve(self.search, self.gallery, vectors, of, sources, settings, read)
        short = np.flatnonzero(read & (rows < 0).any(axis=1))
        if settings.strict and short.size:
            where = f"{settings.self_policy} leaves fewer than {settings.k} rows of gallery {self.gallery.name}"
            raise CimError(f"{where} for {short.size} captions, first {sources.keys[short[0]]!r}", hint="a lower k")
        return similarities, rows

    def _terms(self, rows: Rows, vectors: Floats) -> tuple[Floats, Floats]:
        """GRC (B,), 0 without any row, and cosines (B, K) of the images with retrieved rows."""
        k, grc, cosines = (rows >= 0).sum(axis=1), np.zeros(len(rows)), np.full(rows.shape, np.nan)
        for count in np.unique(k[k > 0]):
            some = np.flatnonzero(k == count)
            images = self.gallery.images(rows[some, :count])
            grc[some] = consistency.grc(images)
            cosines[some, :count] = consistency.cosines(vectors[some], images)
        return grc, cosines

    def _hits(self, rows: Rows, sources: filters.Sources) -> Flags:
        """Which retrieved rows (B, K) show the caption's own image."""
        hits: Flags = (rows == sources.rows[:, None]) & (rows >= 0)
        for at, name in enumerate(sources.keys):
            if len(captions := self.gallery.rows.get(name, ())) > 1:
                hits[at] = np.isin(rows[at], captions)
        return hits

    def _batch(
        self,
        vectors: NDArray[np.float32],
        of: Rows,
        similarities: Floats,
        rows: Rows,
        sources: filters.Sources,
        empty: Flags,
        duplicates: Flags,
    ) -> CimBatch:
        grc, cosines = self._terms(rows, sources.vectors)
        qir = self.settings.qir(cosines)
        known = np.flatnonzero(sources.rows >= 0)
        own_similarity = np.full(len(rows), np.nan)
        own_similarity[known] = fine(vectors[of[known]], self._stored, sources.rows[known, None])[:, 0]
        hits = self._hits(rows, sources)
        return CimBatch(
            reward=self.settings.reward(grc, qir),
            grc=grc,
            qir=qir,
            rows=rows,
            similarities=similarities,
            cosines=cosines,
            k=(rows >= 0).sum(axis=1),
            source_rows=sources.rows,
            self_hit_1=hits[:, 0],
            self_hit_k=np.asarray(hits.any(axis=1)),
            own_similarity=own_similarity,
            own_qir=self.settings.qir(np.where(hits, cosines, np.nan)),
            empty=empty,
            duplicates=duplicates,
        )
