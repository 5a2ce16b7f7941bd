"""Counts of n-grams over a whole corpus at once, for the metrics made of them.

Every token (a word or a character) gets a number; an n-gram is the number whose digits are its tokens'
numbers, so that one sort of machine words per order counts all texts together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
ORDERS = 4
LARGEST = 1 << 62


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of the n-grams of one order per text: parallel arrays sorted by (text, gram).

    n-gram numbers lie under ``size``, with gaps; ``keys`` (text * size + gram) are unique and ascending.
    """

    texts: Ints
    grams: Ints
    counts: Ints
    size: int

    @property
    def keys(self) -> Ints:
        return self.texts * self.size + self.grams

    def rows(self, start: int, stop: int) -> Counts:
        """The texts from start to stop, numbered from 0."""
        low, high = np.searchsorted(self.texts, [start, stop])
        return Counts(self.texts[low:high] - start, self.grams[low:high], self.counts[low:high], self.size)


def word_numbers(texts: Sequence[Sequence[str]], vocabulary: dict[str, int]) -> list[Ints]:
    """Each text's words as numbers of one vocabulary, to which new words are added."""
    return [
        np.fromiter((vocabulary.setdefault(word, len(vocabulary)) for word in words), np.int64, len(words))
        for words in texts
    ]


def character_numbers(texts: Sequence[str]) -> list[Ints]:
    """Each text's characters as code points."""
    return [np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.int64) for text in texts]


def count(numbered: Sequence[Ints]) -> Iterator[Counts]:
    """Counts of orders 1 to ``ORDERS`` over texts of token numbers."""
    lengths = np.array([len(tokens) for tokens in numbered], dtype=np.int64)
    tokens = _renumbered(np.concatenate([*numbered, np.empty(0, np.int64)]))
    text = np.repeat(np.arange(len(numbered)), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(tokens))  # tokens from here to the end of the text
    base, size, gram = int(tokens.max(initial=0)) + 1, 1, np.zeros(len(tokens), np.int64)
    for order in range(1, ORDERS + 1):
        n = max(0, len(tokens) - order + 1)  # includes n-grams across texts, which are dropped when counting
        gram, size = gram[:n] * base + tokens[len(tokens) - n :], size * base
        if size * base * max(1, len(numbered)) > LARGEST:  # the next order's keys would not fit
            distinct, gram = np.unique(gram, return_inverse=True)
            size = max(1, len(distinct))
        keys, counts = np.unique((text[:n] * size + gram)[left[:n] >= order], return_counts=True)
        texts = keys // size
        yield Counts(texts, keys - texts * size, counts.astype(np.int64), size)


def _renumbered(tokens: Ints) -> Ints:
    """Tokens numbered without gaps, so that whole n-grams fit one machine word as often as possible."""
    present = np.bincount(tokens) > 0
    return np.asarray(np.cumsum(present)[tokens] - 1)


def matches(candidates: Counts, references: Counts, sample_of: Ints, n: int) -> Ints:
    """Clipped matches (n,): each n-gram counts at most as often as in one reference of its sample.

    ``sample_of`` is the sample of each reference text; candidate text s belongs to sample s.
    """
    distinct, most = sample_of[references.texts] * references.size + references.grams, references.counts
    if (np.diff(sample_of) <= 0).any():  # several references of one sample: take the maximum over them
        order = np.argsort(distinct, kind="stable")
        distinct, starts = np.unique(distinct[order], return_index=True)
        most = np.maximum.reduceat(most[order], starts) if len(starts) else most
    if not len(distinct):
        return np.zeros(n, dtype=np.int64)
    keys = candidates.keys
    place = np.minimum(np.searchsorted(distinct, keys), len(distinct) - 1)
    shared = np.minimum(candidates.counts, most[place]) * (distinct[place] == keys)
    return np.bincount(candidates.texts, weights=shared, minlength=n).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Overlap:
    """Statistics of BLEU per sample: lengths (n,), closest reference lengths (n,), matches and totals (n, 4)."""

    length: Ints
    closest: Ints
    matched: Ints
    total: Ints


def overlap(candidates: Sequence[Ints], references: Sequence[Sequence[Ints]]) -> Overlap:
    """n-gram overlap of each candidate with its references; ties of length go to the shorter reference."""
    n = len(candidates)
    length = np.array([len(tokens) for tokens in candidates], dtype=np.int64)
    closest = np.array(
        [min((abs(len(r) - words), len(r)) for r in texts)[1] for words, texts in zip(length, references, strict=True)],
        dtype=np.int64,
    )
    sample_of = np.repeat(np.arange(n), [len(texts) for texts in references])
    flat = [tokens for texts in references for tokens in texts]
    matched = [
        matches(counts.rows(0, n), counts.rows(n, n + len(flat)), sample_of, n)
        for counts in count([*candidates, *flat])
    ]
    total = np.maximum(0, length[:, None] - np.arange(ORDERS)[None, :])
    return Overlap(length, closest, np.stack(matched, axis=1), total)
