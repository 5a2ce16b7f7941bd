"""Rows of several files as one matrix, none of them copied: what a gallery in parts is searched through."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from harness.resources import data

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[
        Any
    ]  # or Joined, which gives what search reads of one: its shape and dtype, rows by slice or number


class Joined:
    """Matrices (n_i, d) of one dtype as one of (N, d); only the rows that are asked for are read."""

    def __init__(self, parts: Sequence[NDArray[Any]]) -> None:
        self._parts, self.dtype, self.ndim = tuple(parts), parts[0].dtype, 2
        self._firsts = np.cumsum([0, *map(len, parts)])
        self.shape = (int(self._firsts[-1]), parts[0].shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        """Rows of a slice without a step (a view where one part holds them all), or of numbers (...) as (..., d)."""
        if isinstance(rows, slice):
            start, end, _ = rows.indices(len(self))
            cuts = zip(self._parts, self._firsts.tolist(), strict=False)
            blocks = [
                part[max(0, start - first) : end - first]
                for part, first in cuts
                if first < end and first + len(part) > start
            ]
            return blocks[0] if len(blocks) == 1 else np.concatenate([self._parts[0][:0], *blocks])
        numbers = np.asarray(rows)
        numbers = np.where(numbers < 0, numbers + len(self), numbers)
        gathered = np.empty((*numbers.shape, self.shape[1]), dtype=self.dtype)
        of = np.searchsorted(self._firsts, numbers, side="right") - 1
        for part in np.unique(of):
            there = of == part
            gathered[there] = self._parts[part][numbers[there] - self._firsts[part]]
        return gathered


def joined(parts: Sequence[NDArray[Any]]) -> Matrix:
    """The matrix itself if there is one, else all as one."""
    return parts[0] if len(parts) == 1 else cast("NDArray[Any]", Joined(parts))


def sha256(paths: Sequence[Path]) -> str:
    """The sha256 of a file; of several ``.npy`` or text files, that of the one file that holds all their rows."""
    if len(paths) == 1:
        return data.sha256(paths[0])
    hashed, form = hashlib.sha256(), cast("Any", np.lib.format)  # numpy gives it no types
    if is_matrix := paths[0].suffix == ".npy":
        matrices, header = [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths], io.BytesIO()
        shape = (sum(map(len, matrices)), *matrices[0].shape[1:])
        described = {"descr": form.dtype_to_descr(matrices[0].dtype), "fortran_order": False, "shape": shape}
        form.write_array_header_1_0(header, described)
        hashed.update(header.getvalue())
    for path in paths:
        with path.open("rb") as stream:
            if is_matrix:
                form.read_magic(stream)
                form.read_array_header_1_0(stream)
            while content := stream.read(1 << 20):
                hashed.update(content)
    return hashed.hexdigest()
