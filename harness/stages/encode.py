"""Embeddings of texts and images: each computed once by an encoder, then read from ``results/.cache/vectors``.

A part of the cache is two files, ``<id>.vectors.npy`` (n, d) float32 and ``<id>.keys.npy`` (n, 20): 16 bytes of a
text's or file's sha256, then the CRC-32 of its embedding, which is compared when it is read (parts from before rows
were checked have 16 bytes). The keys are written last, so a part without them is ignored. Used by the metrics through
``Records.encode``.
"""

from __future__ import annotations

import hashlib
import uuid
import zlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry, store
from harness.errors import CimError, OutageError
from harness.parts import Encoder
from harness.runs.cache import settings_key
from harness.stages.device import Device
from harness.types import Track, untracked

if TYPE_CHECKING:
    from harness.parts import Vectors

PART = 8192  # most embeddings per part, 25 MB of 768 numbers; a killed command loses only the last part
BYTES, CRC = 16, 4


def _keys(encoder: Encoder, texts: Sequence[str]) -> list[bytes]:
    """One key per text; for an image encoder, of the bytes of each file."""
    if encoder.kind == "image":
        contents = (Path(text).read_bytes() for text in texts)
    else:
        contents = (text.encode(errors="surrogatepass") for text in texts)
    return [hashlib.sha256(content).digest()[:BYTES] for content in contents]


class _Stored:
    """The cached embeddings of one encoder, whose parts are read on demand."""

    def __init__(self, folder: Path) -> None:
        import numpy as np

        self.folder, self._numpy = folder, np
        self._parts = list[Any]()
        self._crcs = list[list[bytes]]()  # of each part's rows; empty where it has none
        self._paths = list[Path]()
        self._ends = list[int]()  # cumulative row counts of the parts
        self.places = dict[bytes, int]()  # key to row over all parts
        for path in sorted(folder.glob("*.keys.npy")):
            self._open(path)

    def _open(self, path: Path) -> None:
        try:
            keys = self._numpy.load(path, allow_pickle=False)
            vectors = self._numpy.load(
                path.with_name(path.name.replace(".keys.", ".vectors.")), allow_pickle=False, mmap_mode="r"
            )
        except (ValueError, EOFError, OSError) as error:
            raise CimError(f"is damaged ({error})", where=str(path), hint="delete its two files") from error
        if len(keys) != len(vectors) or keys.shape[1:] not in ((BYTES,), (BYTES + CRC,)):
            raise CimError("holds other rows than its vectors", where=str(path), hint="delete both files")
        rows = [row.tobytes() for row in keys]
        self._take_in(path, [row[:BYTES] for row in rows], vectors, [row[BYTES:] for row in rows])

    def _take_in(self, path: Path, keys: Sequence[bytes], vectors: Any, crcs: list[bytes]) -> None:
        first = self._ends[-1] if self._ends else 0
        self.places = dict(zip(keys, range(first, first + len(keys)), strict=True)) | self.places
        self._parts.append(vectors)
        self._crcs.append(crcs)
        self._paths.append(path)
        self._ends.append(first + len(keys))

    def add(self, keys: Sequence[bytes], vectors: Sequence[Vectors]) -> None:
        """Write one part; embeddings first, keys last."""
        name, array = uuid.uuid4().hex[:16], self._numpy.stack(vectors)
        crcs = [_crc(row) for row in array]
        rows = b"".join(key + crc for key, crc in zip(keys, crcs, strict=True))
        raw = self._numpy.frombuffer(rows, dtype=self._numpy.uint8).reshape(-1, BYTES + CRC)
        for kind, content in (("vectors", array), ("keys", raw)):
            with store.replacing(self.folder / f"{name}.{kind}.npy") as stream:
                self._numpy.save(stream, content, allow_pickle=False)
        self._take_in(self.folder / f"{name}.keys.npy", keys, array, crcs)

    def take(self, keys: Sequence[bytes]) -> Vectors:
        """Embeddings (n, d) of stored keys, in order; (0, 0) for none.

        Raises:
            CimError: an embedding is not the one that was written.
        """
        if not keys:
            return self._numpy.zeros((0, 0), dtype=self._numpy.float32)
        rows = self._numpy.fromiter(map(self.places.__getitem__, keys), self._numpy.intp, len(keys))
        of = self._numpy.searchsorted(self._ends, rows, side="right")
        vectors = self._numpy.empty((len(keys), self._parts[of[0]].shape[1]), dtype=self._numpy.float32)
        for part in self._numpy.unique(of):
            here = of == part
            inside = rows[here] - (self._ends[part] - len(self._parts[part]))
            if here.all():
                self._numpy.take(self._parts[part], inside, axis=0, out=vectors, mode="clip")
            else:
                vectors[here] = self._parts[part][inside]
            crcs = self._crcs[part]
            if any(crcs[at] not in (b"", _crc(self._parts[part][at])) for at in self._numpy.unique(inside)):
                what = "an embedding was changed after it was written: its checksum is another"
                raise CimError(what, where=str(self._paths[part]), hint="delete its two files")
        return vectors


def _crc(row: Vectors) -> bytes:
    return zlib.crc32(row.tobytes()).to_bytes(CRC, "big")


class Encodings:
    """Embeddings of texts by encoder name: from the cache, else from an encoder that is opened on the device."""

    def __init__(self, results: Path, track: Track = untracked, device: Device | None = None) -> None:
        self._folder, self._track = results / ".cache" / "vectors", track
        self._device = device or Device()
        self._stored: dict[Path, _Stored] = {}

    def encode(self, name: str, texts: Sequence[str]) -> Vectors:
        """L2-normalised embeddings (n, d), float32, one per text, in order; equal texts are encoded once.

        Raises:
            OutageError: the encoder stopped before the last text; finished embeddings are kept.
        """
        encoder = registry.encoder(name)
        folder = self._folder / f"{name}-{settings_key(encoder.settings())}"
        stored = self._stored.get(folder) or self._stored.setdefault(folder, _Stored(folder))
        keys = _keys(encoder, texts)
        absent = {key: text for key, text in zip(keys, texts, strict=True) if key not in stored.places}
        if absent:
            session = self._device.open(f"encoder {name}", encoder.session)
            vectors = self._track(session(list(absent.values())), name, len(absent))
            rest, wanted = iter(vectors), iter(absent)
            while part := list(islice(rest, PART)):
                stored.add(list(islice(wanted, len(part))), part)
            if lacking := sum(key not in stored.places for key in absent):
                raise OutageError(f"encoder {name} gave {len(absent) - lacking} of {len(absent)} embeddings")
        return stored.take(keys)
