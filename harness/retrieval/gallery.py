"""A gallery: L2-normalised embeddings of captions and their images, row by row, in a folder of memory-mapped files.

``T.f16.npy`` (N, d_t) and ``I.f16.npy`` (N, d_v); ``T.f32.npy`` if the exact score uses float32 rows;
``ids.jsonl``, one row each: source, image id, sha256 of the image (or null) and of the caption; ``manifest.json``:
encoders with settings, dimensions, N, sha256 per file, how often images and captions repeat. A row's key is
``<source>:<image id>``. Made by ``cim gallery build`` (``build.py``), checked by ``cim gallery verify``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import store
from harness.errors import CimError
from harness.resources import data, paths

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEXT, TEXT_FINE, IMAGE, IDS, MANIFEST = "T.f16.npy", "T.f32.npy", "I.f16.npy", "ids.jsonl", "manifest.json"
FORMAT = 1
BLOCK = 65536  # rows checked at once
UNIT = 0.01  # largest |norm - 1| of a stored row; float16 rounding stays far below


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


def key(source: str, image_id: str) -> str:
    """The identity of an image across galleries; never its row number."""
    return f"{source}:{image_id}"


def positions(keys: Sequence[str]) -> dict[str, list[int]]:
    """Rows by key; an image with several captions has several."""
    rows_by_key = dict[str, list[int]]()
    for row, name in enumerate(keys):
        rows_by_key.setdefault(name, []).append(row)
    return rows_by_key


def of_arrays(
    text: NDArray[Any],
    image: NDArray[Any],
    keys: Sequence[str],
    hashes: Sequence[str | None] | None = None,
    name: str = "arrays",
) -> Gallery:
    """A gallery in memory, rows L2-normalised here; used by the tests and the benchmark of the scorer.

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
    return Gallery(name, rows[0], rows[1], list(keys), marks, positions(keys), digest.hexdigest())


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


def open_folder(folder: Path) -> Gallery:
    """Open a gallery folder, its matrices mapped into memory.

    Raises:
        CimError: there is none, it is unfinished, or its files do not agree.
    """
    manifest = store.read_document(folder / MANIFEST)
    if manifest is None or manifest.get("format") != FORMAT:
        what = "no finished gallery" if manifest is None else f"a gallery of format {manifest.get('format')!r}"
        raise CimError(f"{what} here", where=str(folder), hint="cim gallery build --help")
    ids = store.read_rows(folder / IDS)
    matrices = {name: _mapped(folder / name) for name in (TEXT, IMAGE, TEXT_FINE) if name in manifest["files"]}
    for name, matrix in matrices.items():
        if matrix.ndim != 2 or len(matrix) != len(ids) or len(ids) != manifest["n"]:
            raise CimError(f"has the shape {matrix.shape}, for {len(ids)} ids", where=str(folder / name))
    keys = [key(row["source"], row["image"]) for row in ids]
    return Gallery(
        name=folder.name,
        text=matrices[TEXT],
        image=matrices[IMAGE],
        keys=keys,
        hashes=[row["image_sha256"] for row in ids],
        rows=positions(keys),
        sha=digest(manifest["files"]),
        text_fine=matrices.get(TEXT_FINE),
        manifest=manifest,
    )


def verify(folder: Path) -> list[tuple[str, str, str]]:
    """Rows of (check, ``ok`` or ``failed``, detail): bytes of each file, shapes, norm of every embedding."""
    opened, checks = open_folder(folder), list[tuple[str, str, str]]()
    for name, sha in opened.manifest["files"].items():
        here = data.sha256(folder / name)
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


def place(name: str) -> Path:
    """Folder of a gallery: a path as it is, a bare name under ``$CIM_DATA/galleries``."""
    return Path(name) if "/" in name or Path(name).is_dir() else paths.data_root() / "galleries" / name


def digest(files: Mapping[str, str]) -> str:
    """The sha256 that identifies a gallery: over the names and sha256 of its files."""
    return hashlib.sha256("\n".join(f"{name} {files[name]}" for name in sorted(files)).encode()).hexdigest()


def _mapped(path: Path) -> NDArray[Any]:
    try:
        matrix: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)  # torch shares no read-only map
    except (OSError, ValueError) as error:
        raise CimError(f"cannot be read ({error})", where=str(path), hint="cim gallery verify") from error
    return matrix
