"""Rows that stay in a file: each is read and parsed when it is asked for, so that memory does not grow with them.

``Lines`` are rows by number, ``Index`` rows by id; a row costs 12 and 24 bytes of memory. Files of up to ``LARGE``
bytes are read whole instead, which is faster. Whoever goes through all rows goes in their order.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence, ValuesView
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, TypeVar, overload

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

LARGE = 1 << 24  # bytes: 20,000 long captions
V = TypeVar("V")
W = TypeVar("W")
T = TypeVar("T")


def is_large(path: Path) -> bool:
    """Is a file too large to be held in memory?"""
    return path.is_file() and path.stat().st_size > LARGE


def _itself(row: Any) -> Any:
    return row


class Lines(Sequence[V], Generic[V]):
    """Rows of an open file; slices and ``picked`` rows share it.

    Args:
        file: kept open as long as a row may be asked for.
        starts: (n,) where each row begins, ``sizes`` (n,) its bytes.
        parse: a row's bytes to what it holds.
    """

    def __init__(self, file: BinaryIO, starts: Ints, sizes: NDArray[np.int32], parse: Callable[[bytes], V]) -> None:
        self._file, self._starts, self._sizes, self._parse = file, starts, sizes, parse

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, at: int) -> V: ...
    @overload
    def __getitem__(self, at: slice) -> Lines[V]: ...
    def __getitem__(self, at: int | slice) -> V | Lines[V]:
        if isinstance(at, slice):
            return Lines(self._file, self._starts[at], self._sizes[at], self._parse)
        return self._parse(os.pread(self._file.fileno(), int(self._sizes[at]), int(self._starts[at])))

    def __iter__(self) -> Iterator[V]:
        file, parse = self._file.fileno(), self._parse
        for start, size in zip(self._starts, self._sizes, strict=True):
            yield parse(os.pread(file, int(size), int(start)))

    def picked(self, positions: Sequence[int] | Ints) -> Lines[V]:
        """The rows of these numbers."""
        at = np.asarray(positions, dtype=np.int64)
        return Lines(self._file, self._starts[at], self._sizes[at], self._parse)

    def mapped(self, function: Callable[[V], W]) -> Lines[W]:
        """What a function makes of each row when it is asked for."""
        parse = self._parse
        return Lines(self._file, self._starts, self._sizes, lambda line: function(parse(line)))


def picked(rows: Sequence[T], positions: Sequence[int] | Ints) -> Sequence[T]:
    """The rows of these numbers, in memory only if all were."""
    return rows.picked(positions) if isinstance(rows, Lines) else [rows[at] for at in positions]


def mapped(rows: Sequence[T], function: Callable[[T], W]) -> Sequence[W]:
    """What a function makes of each row, in memory only if the rows were."""
    return rows.mapped(function) if isinstance(rows, Lines) else [function(row) for row in rows]


class Index(Mapping[str, V], Generic[V]):
    """Rows by id, in their order; of two rows of one id the later, in the place of the first (``repeated`` if any).

    ``lines`` are these rows, ``every`` all of the file.

    Args:
        name: a row to its id, ``value`` to what is looked up.
        hashes: (n,) ``hash`` of each row's id.
    """

    def __init__(
        self, lines: Lines[Any], hashes: Ints, name: Callable[[Any], str], value: Callable[[Any], V] = _itself
    ) -> None:
        self.every = lines
        known, first = np.unique(hashes, return_index=True)
        self.repeated = len(known) < len(hashes)
        if self.repeated:
            last = len(hashes) - 1 - np.unique(hashes[::-1], return_index=True)[1]
            order = np.argsort(first)
            lines, hashes = lines.picked(last[order]), known[order]
        self.lines, self._name, self._value = lines, name, value
        self._order = np.argsort(hashes).astype(np.int32)
        self._hashes = hashes[self._order]

    def __len__(self) -> int:
        return len(self.lines)

    def position(self, name: object) -> int | None:
        """The number of the row of an id, if there is one."""
        at = int(np.searchsorted(self._hashes, hash(name)))
        return int(self._order[at]) if at < len(self._hashes) and self._hashes[at] == hash(name) else None

    def __contains__(self, name: object) -> bool:
        return self.position(name) is not None  # of a million ids two share 64 bits with 3 in 10^8

    def __getitem__(self, name: str) -> V:
        at = self.position(name)
        if at is None:
            raise KeyError(name)
        return self._value(self.lines[at])

    def __iter__(self) -> Iterator[str]:
        return map(self._name, self.lines)

    def values(self) -> ValuesView[V]:
        """What is looked up, each row read once."""
        return _Values(self)

    def items(self) -> ItemsView[str, V]:
        """Ids and what is looked up, each row read once."""
        return _Items(self)


class _Values(ValuesView[V]):
    _mapping: Index[V]

    def __iter__(self) -> Iterator[V]:
        return map(self._mapping._value, self._mapping.lines)


class _Items(ItemsView[str, V]):
    _mapping: Index[V]

    def __iter__(self) -> Iterator[tuple[str, V]]:
        index = self._mapping
        return ((index._name(row), index._value(row)) for row in index.lines)


class Spool:
    """Collects rows in a file without a name, which is gone when nobody reads from it any more."""

    def __init__(self) -> None:
        self._file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - outlives this call
        self._hashes, self._sizes = Numbers(), Numbers()

    def add(self, name: str, line: bytes) -> None:
        """Add the row of an id."""
        self._file.write(line)
        self._hashes.add(hash(name))
        self._sizes.add(len(line))

    def index(
        self, parse: Callable[[bytes], Any], name: Callable[[Any], str], value: Callable[[Any], V] = _itself
    ) -> Index[V]:
        """The rows by id; none can be added any more."""
        self._file.flush()
        sizes = self._sizes.array()
        starts = np.cumsum(sizes) - sizes
        return Index(Lines(self._file, starts, sizes.astype(np.int32), parse), self._hashes.array(), name, value)


def index(path: Path, row: Callable[[bytes, str], V], name: Callable[[V], str]) -> Index[V]:
    """The rows of a file of lines by id; a last line without a line feed is left out.

    Args:
        row: a line and where it stands to what it holds.
    """
    starts, sizes, hashes, start = Numbers(), Numbers(), Numbers(), 0
    file = path.open("rb")
    for number, line in enumerate(file, start=1):
        if line.endswith(b"\n"):
            starts.add(start)
            sizes.add(len(line) - 1)
            hashes.add(hash(name(row(line[:-1], f"{path}:{number}"))))
        start += len(line)
    lines = Lines(file, starts.array(), sizes.array().astype(np.int32), lambda line: row(line, str(path)))
    return Index(lines, hashes.array(), name)


class Numbers:
    """A growing column of 64-bit integers."""

    def __init__(self) -> None:
        self._blocks: list[Ints] = []
        self._last: list[int] = []

    def add(self, number: int) -> None:
        """Append one."""
        self._last.append(number)
        if len(self._last) == 1 << 16:
            self._blocks.append(np.array(self._last, dtype=np.int64))
            self._last = []

    def array(self) -> Ints:
        """All of them (n,)."""
        return np.concatenate([*self._blocks, np.array(self._last, dtype=np.int64)])
