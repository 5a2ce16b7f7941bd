# SPDX-FileCopyrightText: 2026 cim-harness contributors
# SPDX-FileCopyrightText: Carnegie Mellon University (METEOR 1.5, of which this re-states the behaviour)
# SPDX-License-Identifier: LGPL-2.1-or-later
"""METEOR 1.5's paraphrase table (5.3 million pairs of phrases of up to seven words) as arrays that load at once.

A phrase is a 64-bit hash of its words, a polynomial in their hashes, so that all phrases of a text are looked up in one
call. The table's 2.6 million phrases have distinct hashes, which is checked when it is built; a phrase outside it takes
another's with a chance of 1e-13. Built once, in 20 CPU seconds, from ``paraphrase-en.gz`` of pycocoevalcap 1.2 into
54 MB under ``$XDG_CACHE_HOME`` (``~/.cache``) ``/cim-harness``; deleting that costs time only.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cim_meteor.words import phrase_hash
from harness.errors import CimError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cim_meteor.words import Word

    Integers = NDArray[np.int64]
    Arrays = tuple[NDArray[np.uint64], NDArray[np.int32], NDArray[np.int32]]

FILE = ("data/paraphrase-en.gz", "c147ac7d2c91")  # below the jar's folder, and its sha256
WORDS = 7  # of the longest phrase
_BASE = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(44)  # 2 ** 20 buckets, 2.5 phrases in each
_NAMES = ("phrases", "starts", "pairs")


@dataclass(frozen=True, slots=True)
class Found:
    """Phrases of the table in a text, by place and then by length: their numbers, first words and lengths."""

    numbers: Integers
    places: Integers
    lengths: Integers

    def of(self, numbers: Collection[int]) -> dict[int, list[tuple[int, int]]]:
        """Places and lengths of these phrases."""
        spans: dict[int, list[tuple[int, int]]] = {number: [] for number in numbers}
        rows = zip(self.numbers.tolist(), self.places.tolist(), self.lengths.tolist(), strict=True)
        for number, place, length in rows:
            if number in spans:
                spans[number].append((place, length))
        return spans


@dataclass(frozen=True, slots=True)
class Table:
    """Sorted hashes (p,) of phrases; ``pairs[starts[i]:starts[i + 1]]`` are the paraphrases of phrase i, in file order.

    ``buckets`` say where hashes of the same first bits begin; ``mark`` (p,) is working space, all False between calls.
    """

    phrases: NDArray[np.uint64]
    starts: NDArray[np.int32]
    pairs: NDArray[np.int32]
    buckets: Integers
    mark: NDArray[np.bool_]

    def find(self, words: Sequence[Word]) -> Found:
        """All phrases of a text that the table holds."""
        known = np.array([word.phrase for word in words], dtype=np.uint64)
        value = np.zeros(len(known), dtype=np.uint64)
        hashes: list[NDArray[np.uint64]] = []
        for more in range(min(WORDS, len(known))):
            value = value[: len(known) - more] * _BASE + known[more:]
            hashes.append(value)
        asked = np.concatenate(hashes)
        places = np.concatenate([np.arange(len(part)) for part in hashes])
        lengths = np.repeat(np.arange(1, len(hashes) + 1), [len(part) for part in hashes])
        there, at = self._look_up(asked)
        places, lengths = places[there], lengths[there]
        order = np.lexsort((lengths, places))
        return Found(at[order], places[order], lengths[order])

    def _look_up(self, asked: NDArray[np.uint64]) -> tuple[Integers, Integers]:
        """Which of these hashes are there, and where: steps through a bucket beat halving the table."""
        bucket = (asked >> _SHIFT).astype(np.int64)
        left, at, end = np.arange(len(asked)), self.buckets[bucket], self.buckets[bucket + 1]
        which: list[Integers] = []
        where: list[Integers] = []
        while len(left := left[more := at < end]):
            at, end = at[more], end[more]
            same = self.phrases[at] == asked[left]
            which.append(left[same])
            where.append(at[same])
            left, at, end = left[~same], at[~same] + 1, end[~same]
        return np.concatenate([np.arange(0), *which]), np.concatenate([np.arange(0), *where])

    def matches(self, source: Found, target: Found) -> list[tuple[int, int, int]]:
        """Place and length of each phrase of a text, with the number of a paraphrase that the other text holds."""
        first = self.starts[source.numbers].astype(np.int64)
        counts = self.starts[source.numbers + 1] - first
        whose = np.repeat(np.arange(len(counts)), counts)
        among = np.arange(len(whose)) - np.repeat(np.cumsum(counts) - counts, counts) + first[whose]
        paraphrases = self.pairs[among]
        self.mark[target.numbers] = True
        hits = self.mark[paraphrases].nonzero()[0]
        self.mark[target.numbers] = False
        whose = whose[hits]
        rows = (source.places[whose], source.lengths[whose], paraphrases[hits])
        return list(zip(*(row.tolist() for row in rows), strict=True))


def table(folder: Path) -> Table:
    """The table of the jar in ``folder``: from the cache, else built and, where that can be written, kept there.

    Raises:
        CimError: the file is missing or another version.
    """
    kept = _cache() / f"meteor-paraphrases-{FILE[1]}-1"
    arrays = _kept(kept)
    if arrays is None:
        arrays = _build(folder / FILE[0])
        _keep(arrays, kept)
    phrases = arrays[0]
    sizes = np.bincount((phrases >> _SHIFT).astype(np.int64), minlength=1 << (64 - int(_SHIFT)))
    return Table(*arrays, np.concatenate([[0], np.cumsum(sizes)]), np.zeros(len(phrases), dtype=np.bool_))


def _kept(kept: Path) -> Arrays | None:
    """The stored arrays; None where they are not there, cut off or not of one piece."""
    try:
        phrases, starts, pairs = (np.load(kept / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _NAMES)
    except (OSError, ValueError, EOFError):
        return None
    whole = len(starts) == len(phrases) + 1 and starts[-1] == len(pairs)
    return (np.asarray(phrases), np.asarray(starts), np.asarray(pairs)) if whole else None


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "cim-harness"


def _keep(arrays: Arrays, kept: Path) -> None:
    """Store the arrays under a name that appears when they are whole; without room or rights nothing is kept."""
    folder = None
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(dir=kept.parent)
        for at, label in enumerate(_NAMES):
            np.save(Path(folder) / f"{label}.npy", arrays[at], allow_pickle=False)
        shutil.rmtree(kept, ignore_errors=True)
        Path(folder).rename(kept)
    except OSError:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _build(path: Path) -> Arrays:
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest()[: len(FILE[1])] != FILE[1]:
        raise CimError("is missing or another version", where=str(path), hint="run `make setup` (pycocoevalcap==1.2)")
    lines = gzip.decompress(content).decode().split("\n")
    left, right = lines[1::3], lines[2::3]  # a probability, a phrase, its paraphrase
    numbers = {phrase: number for number, phrase in enumerate(dict.fromkeys(left + right))}
    hashes = _hashes(list(numbers))
    order = np.argsort(hashes)
    place = np.empty(len(order), dtype=np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    of, becomes = (place[np.fromiter(map(numbers.__getitem__, side), np.int32, len(side))] for side in (left, right))
    starts = np.zeros(len(hashes) + 1, dtype=np.int32)
    np.cumsum(np.bincount(of, minlength=len(hashes)), out=starts[1:])
    return hashes[order], starts, becomes[np.argsort(of, kind="stable")]


def _hashes(phrases: list[str]) -> NDArray[np.uint64]:
    words = " ".join(phrases).split(" ")
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
    each = np.fromiter(map(phrase_hash, numbers), np.uint64, len(numbers))
    flat = each[np.fromiter(map(numbers.__getitem__, words), np.int32, len(words))]
    counts = np.fromiter((phrase.count(" ") + 1 for phrase in phrases), np.int64, len(phrases))
    first, hashes = np.cumsum(counts) - counts, np.zeros(len(phrases), dtype=np.uint64)
    for more in range(WORDS):
        longer = counts > more
        hashes[longer] = hashes[longer] * _BASE + flat[first[longer] + more]
    if counts.max() > WORDS or len(np.unique(hashes)) != len(hashes):
        raise CimError("phrases of more than seven words, or two of one hash", where="paraphrase table")
    return hashes
