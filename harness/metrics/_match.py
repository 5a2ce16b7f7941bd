"""Matching of two ordered lists of phrases in CAPTURE's three stages, for all pairs of a corpus at once.

Candidates c and references r are phrases, or triples of phrases, in code-point order::

    1 exact      each c takes the first free equal r
    2 synonym    each c left takes the first free r with: one a substring of the other, or a WordNet lemma name
                 in common over all senses and parts of speech; triples: in all three slots
    3 soft       only if both sides have some left: cosines of their embeddings (triples joined by blanks);
                 match_c += sum of row maxima, match_r += sum of column maxima

Stages 1 and 2 add 1 to either side. The empty phrase is a substring of everything; negative cosines count. Source:
``capture_metric==0.1.13:capture.py`` ``compute_match``, ``compute_f_score``; it iterates sets, so its greedy stages
depend on the hash seed; here the order is fixed. WordNet's names come from parser ``synonyms``, embeddings from an
encoder: each phrase is looked up, and encoded, once. ``cim eval --metrics capture,objects``
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from harness.parts import Records
from harness.types import Share

if TYPE_CHECKING:
    from harness.parts import Array

EPS = 1e-6  # capture_metric==0.1.13:capture.py, in every denominator
SYNONYMS = "synonyms"
SUBSTRING, SYNONYM = 1, 2
TOGETHER = 64  # pairs whose cosines are computed at once

Phrase = str | tuple[str, ...]
Pair = tuple[Sequence[Phrase], Sequence[Phrase]]  # candidates, references
Names = Mapping[str, frozenset[str]]
# Removes the first related phrase; returns its index and SUBSTRING or SYNONYM, or (0, 0) if none is related.
Find = Callable[[Any], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Hard:
    """Stages 1 and 2 of one pair: matched indices (candidate, reference), unmatched indices, and counts per stage."""

    matched: list[tuple[int, int]]
    candidates: list[int]
    references: list[int]
    exact: int
    substring: int = 0
    synonym: int = 0


@dataclass(frozen=True, slots=True)
class Match:
    """For n pairs: list lengths (n, 2), matches by stage 1 and 2 (n, 3), credit of stage 3 (n, 2).

    Columns of the first and last are candidates and references; of the second exact, substring, synonym.
    """

    sizes: Array
    stages: Array
    soft: Array

    def ratios(self) -> tuple[Array, Array]:
        """Precision (n,) and recall (n,), up to 1: matches over list length + EPS; 0 for an empty list."""
        credit = self.stages.sum(axis=1, keepdims=True) + self.soft
        rates = credit / (self.sizes + EPS)
        return rates[:, 0], rates[:, 1]

    def part(self, chosen: slice) -> Match:
        """Some of the pairs."""
        return Match(self.sizes[chosen], self.stages[chosen], self.soft[chosen])

    def shares(self) -> dict[str, float]:
        """Share of each stage in the credit of both sides, in percent; empty without credit."""
        exact, substring, synonym = 2 * self.stages.sum(axis=0)
        parts = {"exact": exact, "substring": substring, "synonym": synonym, "soft": self.soft.sum()}
        total = sum(parts.values())
        return {f"credit_{name}_percent": Share(100 * part / total, total) for name, part in parts.items() if total}


def f1(precision: Array, recall: Array) -> Array:
    """2 P R / (P + R + EPS), elementwise."""
    return np.asarray(2 * precision * recall / (precision + recall + EPS))


def match(pairs: Sequence[Pair], records: Records, encoder: str) -> Match:
    """All three stages of every pair, with one look-up of names and one of embeddings for all pairs."""
    matched = hard(pairs, records)
    stages = [(pair.exact, pair.substring, pair.synonym) for pair in matched]
    return Match(
        np.array([(len(c), len(r)) for c, r in pairs], dtype=np.float64).reshape(-1, 2),
        np.array(stages, dtype=np.float64).reshape(-1, 3),
        _soft(pairs, matched, records, encoder),
    )


def hard(pairs: Sequence[Pair], records: Records) -> list[Hard]:
    """Stages 1 and 2 of every pair, memoised across the metrics of a run."""
    keys = [("matched", tuple(candidates), tuple(references)) for candidates, references in pairs]
    known: list[Hard | None] = [records.shared.get(key) for key in keys]
    results = [_exact(*key[1:]) if result is None else result for key, result in zip(keys, known, strict=True)]
    new = [at for at, result in enumerate(known) if result is None]
    left = set[str]()
    for at in new:
        if results[at].candidates and results[at].references:
            _add(left, keys[at][1], results[at].candidates)
            _add(left, keys[at][2], results[at].references)
    phrases = sorted(left)
    names = dict(zip(phrases, map(frozenset, records.parse(SYNONYMS, phrases)), strict=True))
    for at in new:
        results[at] = records.shared[keys[at]] = _related(*keys[at][1:], results[at], names)
    return results


def _add(words: set[str], phrases: Sequence[Phrase], places: Sequence[int]) -> None:
    some: list[Any] = [phrases[at] for at in places]
    words.update(some if isinstance(some[0], str) else chain.from_iterable(some))


def vectors(phrases: Iterable[str], records: Records, encoder: str) -> tuple[Array, Mapping[str, int]]:
    """L2-normalised embeddings (u, d) of all phrases of the run so far, these included, and the row of each phrase."""
    assert records.encode is not None
    table, rows = records.shared.get(("vectors", encoder), (None, {}))
    if new := sorted(set(phrases) - rows.keys()):
        encoded = records.encode(encoder, new)
        table = encoded if table is None else np.concatenate([table, encoded])
        rows = rows | {phrase: len(rows) + at for at, phrase in enumerate(new)}
        records.shared["vectors", encoder] = table, rows
    return table, rows


def _exact(candidates: Sequence[Phrase], references: Sequence[Phrase]) -> Hard:
    free = dict(zip(references, range(len(references)), strict=True))
    if len(free) < len(references):
        candidates, references = _numbered(candidates), _numbered(references)
        free = dict(zip(references, range(len(references)), strict=True))
    places = [free.pop(candidate, None) for candidate in candidates]
    matched = [(i, j) for i, j in enumerate(places) if j is not None]
    left = [i for i, j in enumerate(places) if j is None]
    return Hard(matched, left, list(free.values()), len(matched))


def _numbered(phrases: Sequence[Phrase]) -> list[Any]:
    """Each phrase with its count of earlier occurrences, so that the k-th of one side equals the k-th of the other."""
    seen, numbered = Counter[Phrase](), list[Any]()
    for phrase in phrases:
        numbered.append((phrase, seen[phrase]))
        seen[phrase] += 1
    return numbered


def _related(candidates: Sequence[Phrase], references: Sequence[Phrase], exact: Hard, names: Names) -> Hard:
    if not exact.candidates or not exact.references:
        return exact
    free, left = list(exact.references), list[int]()
    matched, stages = list(exact.matched), [0, 0, 0]
    others = [references[j] for j in free]
    find = _word_finder(others, names) if isinstance(others[0], str) else _tuple_finder(others, names)
    for i in exact.candidates:
        at, stage = find(candidates[i])
        if stage:
            matched.append((i, free.pop(at)))
            stages[stage] += 1
        else:
            left.append(i)
    return Hard(matched, left, free, exact.exact, stages[SUBSTRING], stages[SYNONYM])


def _kin(first: str, second: str, names: Names) -> int:
    """How two phrases are related: SUBSTRING, SYNONYM or 0."""
    if first in second or second in first:
        return SUBSTRING
    return 0 if names[first].isdisjoint(names[second]) else SYNONYM


def _word_finder(others: list[Any], names: Names) -> Find:
    known = [names[other] for other in others]
    every, written = frozenset[str]().union(*known), "\n".join(others)  # of all, also the removed ones

    def find(phrase: Any) -> tuple[int, int]:
        mine = names[phrase]
        if mine.isdisjoint(every) and phrase not in written and not any(map(phrase.__contains__, others)):
            return 0, 0
        for at, other in enumerate(others):
            if phrase in other or other in phrase:
                stage = SUBSTRING
            elif mine.isdisjoint(known[at]):
                continue
            else:
                stage = SYNONYM
            del others[at], known[at]
            return at, stage
        return 0, 0

    return find


def _tuple_finder(others: list[Any], names: Names) -> Find:
    """All slots of a tuple must be related; the stage is the weakest of theirs."""
    firsts = {other[0] for other in others}
    heads = dict[str, dict[str, int]]()  # memo: first slots repeat across tuples

    def find(phrase: Any) -> tuple[int, int]:
        head, *slots = phrase
        if head not in heads:
            heads[head] = {first: kin for first in firsts if (kin := _kin(head, first, names))}
        if near := heads[head]:
            for at, other in enumerate(others):
                if stage := near.get(other[0], 0):
                    for mine, slot in zip(slots, other[1:], strict=True):
                        kin = _kin(mine, slot, names)
                        stage = max(stage, kin) if kin else 0
                        if not stage:
                            break
                    else:
                        del others[at]
                        return at, stage
        return 0, 0

    return find


def _soft(pairs: Sequence[Pair], hard: Sequence[Hard], records: Records, encoder: str) -> Array:
    """Sums of row and of column maxima of each pair's cosines (n, 2); pairs of similar size share a batch."""
    credit = np.zeros((len(pairs), 2))
    open_ = [at for at, pair in enumerate(hard) if pair.candidates and pair.references]
    open_.sort(key=lambda at: (len(hard[at].candidates), len(hard[at].references)))
    sides = [
        _Side.of([(pairs[at][side], places) for at, places in zip(open_, left, strict=True)])
        for side, left in enumerate(([hard[at].candidates for at in open_], [hard[at].references for at in open_]))
    ]
    table, rows = vectors(chain.from_iterable(side.phrases for side in sides), records, encoder)
    numbered = [np.fromiter(map(rows.__getitem__, side.phrases), np.intp, len(side.phrases)) for side in sides]
    with threadpool_limits(1, user_api="blas"):  # threads cost more than such small products, on two cores fourfold
        for start in range(0, len(open_), TOGETHER):
            block = slice(start, start + TOGETHER)
            (c_rows, c_mask), (r_rows, r_mask) = (
                side.padded(block, of) for side, of in zip(sides, numbered, strict=True)
            )
            cosines = table[c_rows] @ table[r_rows].transpose(0, 2, 1)
            cosines[~np.logical_and(c_mask[:, :, None], r_mask[:, None, :])] = -np.inf
            sums = [
                np.where(c_mask, cosines.max(axis=2), 0.0).sum(axis=1, dtype=np.float64),
                np.where(r_mask, cosines.max(axis=1), 0.0).sum(axis=1, dtype=np.float64),
            ]
            credit[open_[block]] = np.stack(sums, axis=1)
    return credit


@dataclass(frozen=True, slots=True)
class _Side:
    """Concatenated unmatched phrases of one side of all pairs, with start and length per pair."""

    phrases: list[str]
    starts: Any
    sizes: Any

    @classmethod
    def of(cls, left: Sequence[tuple[Sequence[Phrase], Sequence[int]]]) -> _Side:
        """From lists of phrases with their unmatched indices; the slots of a tuple are joined by blanks."""
        sizes = np.array([len(places) for _, places in left], dtype=np.intp)
        phrases = [phrases[at] for phrases, places in left for at in places]
        joined = [phrase if isinstance(phrase, str) else " ".join(phrase) for phrase in phrases]
        return cls(joined, np.cumsum(sizes) - sizes, sizes)

    def padded(self, block: slice, numbers: Any) -> tuple[Any, Any]:
        """Padded matrix (b, longest) of the ``numbers`` of a block's phrases, and its mask."""
        starts, sizes = self.starts[block, None], self.sizes[block, None]
        along = np.arange(sizes.max())
        return numbers[np.minimum(starts + along, len(numbers) - 1)], along < sizes
