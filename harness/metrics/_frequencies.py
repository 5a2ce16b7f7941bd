"""Document frequencies of n-grams over more samples than memory holds: in how many samples' references each stands.

N-grams are 64-bit hashes of their words (two of 10^8 are the same with a probability of 3 in 10,000). Each block's
counts are appended to a file without a name, sorted; at the end they are merged range by range. Those that stand in one
sample are left out: they weigh as much as n-grams that stand in none.
"""

from __future__ import annotations

import functools
import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.metrics._ngrams import ORDERS, Counts

if TYPE_CHECKING:
    from harness.metrics._ngrams import Ints

Hashes = NDArray[np.uint64]
RANGES = 64
BOUNDS = np.arange(1, RANGES, dtype=np.uint64) << np.uint64(58)  # between ranges of the first six bits
FACTORS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9))  # odd, of splitmix64 (Steele et al. 2014)
ROW = np.dtype([("gram", np.uint64), ("samples", np.int32)])


@functools.lru_cache(maxsize=1 << 18)
def word_hash(word: str) -> int:
    """64 bits of a word, the same in every process."""
    return int.from_bytes(hashlib.blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest(), "little")


def hashed(vocabulary: Iterable[str]) -> Hashes:
    """The hash of each word (v,)."""
    return np.fromiter(map(word_hash, vocabulary), np.uint64)


def count(numbered: Sequence[Ints], words: Hashes) -> Iterator[tuple[Counts, Hashes]]:
    """As ``_ngrams.count``, numbers of one order under that of its distinct n-grams, with the hash of each of these."""
    lengths = np.array([len(tokens) for tokens in numbered], dtype=np.int64)
    tokens = words[np.concatenate([*numbered, np.empty(0, np.int64)])]
    text = np.repeat(np.arange(len(numbered)), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(tokens))  # tokens from here to the end of the text
    gram = np.zeros(len(tokens), np.uint64)
    for order in range(1, ORDERS + 1):
        n = max(0, len(tokens) - order + 1)
        gram = gram[:n] * FACTORS[0] + tokens[len(tokens) - n :]
        gram = (gram ^ (gram >> np.uint64(29))) * FACTORS[1]
        whole = left[:n] >= order
        distinct, number = np.unique(gram[whole], return_inverse=True)
        size = max(1, len(distinct))
        keys, counts = np.unique(text[:n][whole] * size + number, return_counts=True)
        texts = keys // size
        yield Counts(texts, keys - texts * size, counts.astype(np.int64), size), distinct


@dataclass(frozen=True, slots=True)
class Frequencies:
    """N-grams of each order that stand in two samples or more, ascending, in how many, and of how many samples."""

    orders: Sequence[tuple[Hashes, NDArray[np.int32]]]
    n: int

    def of(self, order: int, grams: Hashes) -> Ints:
        """In how many samples' references n-grams of an order stand, at least 1."""
        known, samples = self.orders[order]
        if not len(known):
            return np.ones(len(grams), np.int64)
        at = np.minimum(np.searchsorted(known, grams), len(known) - 1)
        return np.where(known[at] == grams, samples[at], 1).astype(np.int64)


class Gathering:
    """Collects the frequencies of blocks of samples."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - outlives this call
        self._parts: list[list[tuple[int, Ints]]] = [[] for _ in range(ORDERS)]  # of orders: start, ends of ranges
        self._n = 0

    def add(self, references: Sequence[Sequence[Ints]], words: Hashes) -> None:
        """Add the references of samples."""
        sample_of = np.repeat(np.arange(len(references)), [len(group) for group in references])
        flat = [text for group in references for text in group]
        for order, (counts, distinct) in enumerate(count(flat, words)):
            in_samples = np.unique(sample_of[counts.texts] * counts.size + counts.grams) % counts.size
            rows = np.empty(len(distinct), ROW)
            rows["gram"], rows["samples"] = distinct, np.bincount(in_samples, minlength=len(distinct))
            ends = np.append(np.searchsorted(distinct, BOUNDS), len(distinct))
            self._parts[order].append((self._file.tell(), ends))
            self._file.write(rows.tobytes())
        self._n += len(references)

    def frequencies(self) -> Frequencies:
        """All together; nothing can be added any more."""
        merged = [[self._merged(order, at) for at in range(RANGES)] for order in range(ORDERS)]
        columns = [(np.concatenate([g for g, _ in some]), np.concatenate([s for _, s in some])) for some in merged]
        return Frequencies(columns, self._n)

    def _merged(self, order: int, at: int) -> tuple[Hashes, NDArray[np.int32]]:
        pieces = [np.empty(0, ROW)]
        for start, ends in self._parts[order]:
            first = int(ends[at - 1]) if at else 0
            self._file.seek(start + first * ROW.itemsize)
            pieces.append(np.frombuffer(self._file.read((int(ends[at]) - first) * ROW.itemsize), ROW))
        rows = np.concatenate(pieces)
        grams, number = np.unique(rows["gram"], return_inverse=True)
        samples = np.bincount(number, weights=rows["samples"], minlength=len(grams)).astype(np.int32)
        return grams[samples > 1], samples[samples > 1]
