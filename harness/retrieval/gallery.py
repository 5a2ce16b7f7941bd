"""A gallery: L2-normalised embeddings of captions and their images in a folder of memory-mapped files; its encoders.

``T.f16.npy`` (N, d_t) and ``I.f16.npy`` (N, d_v); ``T.f32.npy`` if the exact score uses float32 rows;
``ids.jsonl``, one row each: source, image id, sha256 of the image (or null) and of the caption; ``manifest.json``:
encoders with settings, dimensions, N, sha256 per file, how often images and captions repeat. A row's key is
``<source>:<image id>``. A gallery in parts has a manifest alone, which names the folders of its parts (``join.py``).
Made by ``cim gallery build`` (``build.py``), checked by ``cim gallery verify``. Captions and images that are compared
with its rows must come from the encoders that it names.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness import places, registry, store
from harness.errors import CimError, OutageError
from harness.parts import Encoder
from harness.resources import devices, paths
from harness.retrieval import on_disk, rows
from harness.retrieval.on_disk import MANIFEST as MANIFEST
from harness.retrieval.on_disk import digest as digest
from harness.retrieval.on_disk import parts as parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.parts import Vectors

Kind = Literal["text", "image"]
Image = bytes | Path | Callable[[], bytes | Path]
Encode = Callable[[Sequence[str]], "NDArray[Any]"]  # n texts, or image paths, to embeddings (n, d)
TEXT, TEXT_FINE, IMAGE, IDS = "T.f16.npy", "T.f32.npy", "I.f16.npy", "ids.jsonl"
FORMAT = 1
BLOCK = 65536  # rows checked at once
UNIT = 0.01  # largest |norm - 1| of a stored row; float16 rounding stays far below
IMAGES = 1024  # images encoded per batch of temporary files


@dataclass(frozen=True, slots=True)
class Gallery:
    """An opened gallery of N rows.

    ``text`` (N, d_t) and ``image`` (N, d_v) are L2-normalised rows, float16 or float32; ``text_fine`` the caption
    rows at float32 if stored; ``rows`` gives the rows per key, ``hashes`` the sha256 of each row's image. ``sha``
    identifies the whole gallery.
    """

    name: str
    text: NDArray[Any]
    image: NDArray[Any]
    keys: Sequence[str]
    hashes: Sequence[str | None]
    rows: Mapping[str, Sequence[int]]
    sha: str
    text_fine: NDArray[np.float32] | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Image embeddings (..., d_v) of rows, normalised again because float16 rounding changed their norm.

        Raises:
            CimError: a row is zero, not finite or not normalised; names it.
        """
        stored = self.image[rows].astype(np.float64)
        length = np.linalg.norm(stored, axis=-1, keepdims=True)
        bad = ~(np.abs(length[..., 0] - 1) < UNIT)
        if bad.any():
            hint = "cim gallery verify, then build it again"
            raise CimError(f"the image embedding of gallery row {rows[bad].flat[0]} is not L2-normalised", hint=hint)
        normalised: NDArray[np.float64] = stored / length
        return normalised

    def encoder(self, kind: Kind) -> Encoder:
        """The encoder of its captions (``text``) or images; CimError as ``named_encoder``."""
        return named_encoder(self.name, self.manifest, kind)

    def image_vectors(self, images: Mapping[str, Image]) -> dict[str, Vectors]:
        """L2-normalised embeddings by source id: the gallery's row where there is one, else encoded now.

        Raises:
            CimError: an image cannot be read, or the encoder is not the gallery's.
        """
        rows = {name: self.rows[name][0] for name in images if name in self.rows}
        vectors = dict(zip(rows, self.images(np.array(list(rows.values()), dtype=np.int64)), strict=True))
        outside = [name for name in images if name not in rows]
        if outside:
            with encoding(self.encoder("image")) as encode:
                for start in range(0, len(outside), IMAGES):
                    names = outside[start : start + IMAGES]
                    encoded = encode_images(encode, (_file_or_bytes(images[name]) for name in names), names)
                    vectors |= zip(names, unit(encoded, "image", names).astype(np.float64), strict=True)
        return vectors


def key(source: str, image_id: str) -> str:
    """The identity of an image across galleries; never its row number."""
    return f"{source}:{image_id}"


def positions(keys: Sequence[str]) -> dict[str, list[int]]:
    """Rows by key; an image with several captions has several."""
    rows_by_key = dict[str, list[int]]()
    for row, name in enumerate(keys):
        rows_by_key.setdefault(name, []).append(row)
    return rows_by_key


@contextmanager
def encoding(encoder: Encoder, precision: str = "float32") -> Iterator[Encode]:
    """A session of an encoder as a function from n texts (or image paths) to embeddings (n, d).

    Args:
        precision: of its matrix products (``devices.PRECISIONS``); weights and embeddings stay float32.

    Raises:
        OutageError: from that function, if the encoder stops before the last text.
    """
    with encoder.session() as session:

        def encode(texts: Sequence[str]) -> Vectors:
            with devices.computing_in(precision):
                embeddings = list(session(texts))
            if len(embeddings) != len(texts):
                raise OutageError(f"encoder {encoder.name} gave {len(embeddings)} of {len(texts)} embeddings")
            return np.stack(embeddings) if embeddings else np.zeros((0, 0), dtype=np.float32)

        yield encode


def encode_images(encode: Encode, images: Iterable[bytes | Path], names: Sequence[str]) -> Vectors:
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
            return encode(files)
        except CimError as error:
            if error.where not in called:
                raise
            raise CimError(error.what, where=called[error.where], hint=error.hint) from error


def _file_or_bytes(image: Image) -> bytes | Path:
    return image() if callable(image) else image


def described(encoder: Encoder) -> dict[str, Any]:
    """Name and settings of an encoder, as they stand in a gallery's manifest."""
    return {"name": encoder.name, "settings": dict(encoder.settings())}


def named_encoder(gallery: str, manifest: Mapping[str, Any], kind: Kind) -> Encoder:
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


def unit(vectors: NDArray[Any], what: str, names: Sequence[str] = ()) -> NDArray[np.float32]:
    """Rows (n, d) L2-normalised, float32; ``names`` identify rows in messages.

    Raises:
        CimError: a row is zero or not finite; names it.
    """
    values = np.asarray(vectors, dtype=np.float32)
    if values.ndim != 2:
        raise CimError(f"the {what} embeddings have the shape {values.shape}, not (rows, dimensions)")
    length = np.linalg.norm(values, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(length[:, 0]) & (length[:, 0] > 0)))
    if bad.size:
        name = repr(names[bad[0]]) if names else bad[0]
        raise CimError(f"{what} embedding {name} is zero or not finite ({bad.size} in all)", hint="check the encoder")
    normalised: NDArray[np.float32] = values / length
    return normalised


def open_folder(folder: Path, *, checked: bool = True) -> Gallery:
    """Open a gallery folder, its matrices mapped into memory.

    Args:
        checked: compare files of up to ``on_disk.CHECKED`` bytes with the sums in its manifest.

    Raises:
        CimError: there is none, it is unfinished, its files do not agree, or one was changed.
    """
    manifest = on_disk.manifest(folder / MANIFEST, FORMAT)
    if manifest is None:
        raise CimError("no finished gallery here", where=str(folder), hint="cim gallery build --help")
    folders = parts(folder, manifest)
    ids = [row for part in folders for row in store.read_rows(part / IDS)]
    names = [name for name in (TEXT, IMAGE, TEXT_FINE) if name in manifest["files"]]
    matrices = {name: rows.joined([_mapped(part / name) for part in folders]) for name in names}
    for name, matrix in matrices.items():
        if matrix.ndim != 2 or matrix.dtype.kind != "f" or len(matrix) != len(ids) or len(ids) != manifest["n"]:
            raise CimError(f"has the shape {matrix.shape}, for {len(ids)} ids", where=str(folder / name))
    if lacking := [name for name in (TEXT, IMAGE) if name not in matrices]:
        raise CimError(f"names no {lacking[0]}", where=str(folder / MANIFEST), hint="build the gallery again")
    try:
        keys, hashes = [key(row["source"], row["image"]) for row in ids], [row["image_sha256"] for row in ids]
    except KeyError as error:
        raise CimError(f"a row lacks {error}", where=str(folder / IDS), hint="cim gallery verify") from error
    for part in folders if checked else ():
        files = manifest["files"] if part == folder else (store.read_document(part / MANIFEST) or {})["files"]
        on_disk.check_sums(part, files)
    return Gallery(
        name=folder.name,
        text=matrices[TEXT],
        image=matrices[IMAGE],
        keys=keys,
        hashes=hashes,
        rows=positions(keys),
        sha=digest(manifest["files"]),
        text_fine=matrices.get(TEXT_FINE),
        manifest=manifest,
        folder=folder,
    )


def verify(folder: Path) -> list[tuple[str, str, str]]:
    """Rows of (check, ``ok`` or ``failed``, detail): bytes of each file, shapes, norm of every embedding."""
    opened, checks = open_folder(folder, checked=False), list[tuple[str, str, str]]()
    for name, sha in opened.manifest["files"].items():
        here = rows.sha256([part / name for part in parts(folder, opened.manifest)])
        checks.append((name, "ok" if here == sha else "failed", f"sha256 {here}"))
    for name, matrix in ((TEXT, opened.text), (IMAGE, opened.image), (TEXT_FINE, opened.text_fine)):
        if matrix is not None:
            bad = [row for start in range(0, len(matrix), BLOCK) for row in _not_unit(matrix, start)]
            detail = f"{len(bad)} not L2-normalised, first {bad[0]}" if bad else f"{len(matrix)} L2-normalised"
            checks.append((f"{name} rows", "failed" if bad else "ok", detail))
    return checks


def _not_unit(matrix: NDArray[Any], start: int) -> list[int]:
    length = np.linalg.norm(matrix[start : start + BLOCK].astype(np.float32), axis=1)
    return [start + int(row) for row in np.flatnonzero(~(np.abs(length - 1) < UNIT))]


def home(name: str) -> Path:
    """Where a gallery is built: a path as it is, a bare name under ``$CIM_DATA/galleries``."""
    return Path(name) if "/" in name or Path(name).is_dir() else paths.data_root() / "galleries" / name


def place(name: str) -> Path:
    """Folder of a gallery: its ``home``, or where nothing is built there, that of a gallery that a task brings."""
    folder = home(name)
    return folder if (folder / MANIFEST).is_file() else places.brought("galleries", name) or folder


def _mapped(path: Path) -> NDArray[Any]:
    if not store.present(path):
        raise CimError("is not there", where=str(path), hint="build the gallery again")
    try:
        matrix: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)  # torch shares no read-only map
    except (OSError, ValueError, EOFError) as error:
        raise CimError(f"cannot be read ({error})", where=str(path), hint="cim gallery verify") from error
    return matrix
