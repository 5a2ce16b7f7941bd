"""Encoders of the registry as functions that scorer and gallery call; they must be those that the gallery names."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness import registry
from harness.errors import CimError, OutageError
from harness.parts import Encoder
from harness.retrieval.gallery import Gallery, unit

if TYPE_CHECKING:
    from harness.parts import Vectors

Kind = Literal["text", "image"]
Image = bytes | Path | Callable[[], bytes | Path]
KINDS: tuple[Kind, ...] = ("text", "image")
BLOCK = 1024  # images per batch of temporary files


@contextmanager
def opened(encoder: Encoder) -> Iterator[Callable[[Sequence[str]], Vectors]]:
    """A session of an encoder as a function from n texts (or image paths) to embeddings (n, d).

    Raises:
        OutageError: from that function, if the encoder stops before the last text.
    """
    with encoder.session() as session:

        def encode(texts: Sequence[str]) -> Vectors:
            embeddings = list(session(texts))
            if len(embeddings) != len(texts):
                raise OutageError(f"encoder {encoder.name} gave {len(embeddings)} of {len(texts)} embeddings")
            return np.stack(embeddings) if embeddings else np.zeros((0, 0), dtype=np.float32)

        yield encode


def image_vectors(gallery: Gallery, images: Mapping[str, Image]) -> dict[str, Vectors]:
    """L2-normalised embeddings by source id: the gallery's row where there is one, else encoded now.

    Raises:
        CimError: an image cannot be read, or the encoder is not the gallery's.
    """
    rows = {name: gallery.rows[name][0] for name in images if name in gallery.rows}
    vectors = (
        dict(zip(rows, gallery.images(np.array(list(rows.values()), dtype=np.int64)), strict=True)) if rows else {}
    )
    outside = [name for name in images if name not in rows]
    if outside:
        with opened(of(gallery, "image")) as encode:
            for start in range(0, len(outside), BLOCK):
                names = outside[start : start + BLOCK]
                encoded = encode_images(encode, (_read(images[name]) for name in names), names)
                vectors |= zip(names, unit(encoded, "image", names).astype(np.float64), strict=True)
    return vectors


def _read(image: Image) -> bytes | Path:
    return image() if callable(image) else image


def encode_images(
    encode: Callable[[Sequence[str]], Vectors], images: Iterable[bytes | Path], names: Sequence[str]
) -> Vectors:
    """Embeddings (n, d) of images; bytes are written to files, one by one: an encoder reads files.

    Raises:
        CimError: the encoder refuses an image; ``names`` say what bytes are called.
    """
    with tempfile.TemporaryDirectory() as folder:
        files, called = list[str](), dict[str, str]()
        for at, (image, name) in enumerate(zip(images, names, strict=True)):
            files.append(str(image) if isinstance(image, Path) else f"{folder}/{at}")
            if not isinstance(image, Path):
                Path(files[-1]).write_bytes(image)
                called[files[-1]] = name
        try:
            return np.asarray(encode(files))
        except CimError as error:
            if error.where not in called:
                raise
            raise CimError(error.what, where=called[error.where], hint=error.hint) from error


def described(encoder: Encoder) -> dict[str, Any]:
    """Name and settings of an encoder, as they stand in a gallery's manifest."""
    return {"name": encoder.name, "settings": dict(encoder.settings())}


def of(gallery: Gallery, kind: Kind) -> Encoder:
    """The encoder that a gallery's captions (``text``) or images were encoded with; CimError as ``named``."""
    return named(gallery.name, gallery.manifest, kind)


def named(gallery: str, manifest: Mapping[str, Any], kind: Kind) -> Encoder:
    """The encoder that a gallery's manifest names; the gallery itself need not be opened.

    Raises:
        CimError: the manifest names none, or the encoder's settings here differ.
    """
    wanted = manifest.get(f"{kind}_encoder")
    if not wanted:
        raise CimError(f"gallery {gallery} names no {kind} encoder", hint="build it with cim gallery build")
    encoder = registry.encoder(wanted["name"])
    here = dict(encoder.settings())
    differing = [name for name in {**wanted["settings"], **here} if wanted["settings"].get(name) != here.get(name)]
    if differing:
        what = f"{kind} encoder {encoder.name} differs from the gallery's in {', '.join(differing)}"
        raise CimError(what, where=gallery, hint="use the same weights, or build the gallery again")
    return encoder
