"""Where the rows of a cache file stand, so that a command reads those it asks for and not everybody's.

The file is scanned once; of a large one ``<name>.index.npy`` remembers it between commands: ``(n + 1, 2)`` int64, first
how far the file was scanned, then the first eight bytes of each key and where its row begins, ascending. It can be
deleted at any time. A wrong one costs time only: a row is checked when it is read.
"""

from __future__ import annotations

import fcntl
import io
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from harness import store
from harness.lines import Numbers

if TYPE_CHECKING:
    from harness.lines import Ints

PREFIX = b'{"key":"'
DIGITS = 32
KEY = slice(len(PREFIX), len(PREFIX) + DIGITS)
WORTH = 1 << 22  # bytes that were scanned anew from which an index is written, where that is a third of the file
PIECES = 16  # in which keys are searched one after another, before they are sorted together
NOTHING = np.empty((0, 2), dtype=np.int64)


class CacheIndex:
    """Keys and places of the rows of one file that grows."""

    def __init__(self, path: Path) -> None:
        self.path, self._stored = path, path.with_suffix(".index.npy")
        self._end, rows = self._load()
        self._pieces, self._kept = [rows], self._end  # ascending each; what the index on disk knows

    def lines(self, keys: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """The rows of these keys as they stand in the file, in its order, without their line feed."""
        with self.path.open("rb") as file:
            self._scan(file)
            lines = list(self._of(keys, file))
            if any(not line.startswith(PREFIX) for _, line in lines):  # the file was written anew
                self._end, self._pieces = 0, []
                self._scan(file)
                lines = list(self._of(keys, file))
        wanted = set(keys)
        yield from ((name, line) for _, line in lines if (name := line[KEY].decode(errors="replace")) in wanted)

    def _of(self, keys: Collection[str], file: BinaryIO) -> Iterator[tuple[int, bytes]]:
        wanted = np.unique(np.array([_number(key.encode()) for key in keys], dtype=np.int64))
        places = [NOTHING[:, 1]]
        for rows in self._pieces:
            first, last = (np.searchsorted(rows[:, 0], wanted, side) for side in ("left", "right"))
            places += [rows[a:b, 1] for a, b in zip(first, last, strict=True) if a < b]
        for start in np.sort(np.concatenate(places)):
            file.seek(int(start))
            yield int(start), file.readline().removesuffix(b"\n")

    def _scan(self, file: BinaryIO) -> None:
        """Add the rows that were appended since."""
        keys, starts, before = Numbers(), Numbers(), self._end
        if file.seek(0, io.SEEK_END) < before:
            before, self._pieces = 0, []
        end = file.seek(before)
        for line in file:
            if not line.endswith(b"\n"):
                break
            if line.startswith(PREFIX) and (number := _number(line[KEY])) is not None:
                keys.add(number)
                starts.add(end)
            end += len(line)
        if end == self._end:
            return
        self._pieces.append(_ascending([np.stack([keys.array(), starts.array()], axis=1)]))
        self._end = end
        if len(self._pieces) > PIECES:
            self._pieces = [_ascending(self._pieces)]
        if end - self._kept > max(WORTH, self._kept // 2):
            self._keep(file)

    def _keep(self, file: BinaryIO) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go when the file is closed
        except BlockingIOError:
            return
        self._pieces, self._kept = [_ascending(self._pieces)], self._end
        content = io.BytesIO()
        head = np.array([[self._end, 0]], dtype=np.int64)
        np.save(content, np.concatenate([head, *self._pieces]), allow_pickle=False)
        try:
            store.write_bytes(self._stored, content.getvalue())
        except OSError:  # a full or read-only disk: the file is scanned again next time
            return

    def _load(self) -> tuple[int, Ints]:
        try:
            rows = np.load(self._stored, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return 0, NOTHING
        if rows.dtype != np.int64 or rows.ndim != 2 or rows.shape[1] != 2 or not len(rows):
            return 0, NOTHING
        ends, places = int(rows[0, 0]), rows[1:]
        sound = ends >= 0 and (not len(places) or (places[:, 1].min() >= 0 and places[:, 1].max() < ends))
        return (ends, places) if sound and bool((np.diff(places[:, 0]) >= 0).all()) else (0, NOTHING)


def _ascending(pieces: Sequence[Ints]) -> Ints:
    rows: Ints = np.concatenate([NOTHING, *pieces])
    return np.asarray(rows[np.lexsort((rows[:, 1], rows[:, 0]))])


def _number(key: bytes) -> int | None:
    """The first eight bytes of a key as a signed number; None for what is no key."""
    try:
        return int.from_bytes(bytes.fromhex(key[:16].decode("ascii")), "big", signed=True)
    except ValueError:
        return None
