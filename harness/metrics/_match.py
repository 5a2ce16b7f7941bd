"""Matching of two ordered lists of phrases in CAPTURE's three stages, for all pairs of a corpus at once.

Candidates c and references r are phrases, or triples of phrases, in code-point order::

    1 exact      each c takes the first free equal r
    2 synonym    each c left takes the first free r with: one a substring of the other, or a WordNet lemma name
                 in common over all senses and parts of speech; triples: in all three slots
    3 soft       only if both sides have some left: cosines of their vectors (triples joined by blanks);
                 match_c += sum of row maxima, match_r += sum of column maxima

Stages 1 and 2 add 1 to either side. The empty phrase is a substring of everything; negative cosines count. Source:
``capture_metric==0.1.13:capture.py`` ``compute_match``, ``compute_f_score``; it iterates sets, so its greedy stages
depend on the hash seed, ours on nothing. WordNet's names come from parser ``synonyms``, vectors from an encoder: each
phrase is looked up, and encoded, once. ``cim eval --metrics capture,objects``
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.parts import Records

if TYPE_CHECKING:
    from harness.parts import Array

EPS = 1e-6  # capture_metric==0.1.13:capture.py, in every denominator
SYNONYMS = "synonyms"
SUBSTRING, SYNONYM = 1, 2

Phrase = str | tuple[str, ...]
Pair = tuple[Sequence[Phrase], Sequence[Phrase]]  # candidates, references
Names = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Hard:
    """Stages 1 and 2 of one pair: places matched (candidate, reference), places left, and how many by stage."""

    matched: list[tuple[int, int]]
    candidates: list[int]
    references: list[int]
    exact: int
    substring: int = 0
    synonym: int = 0


@dataclass(frozen=True, slots=True)
class Match:
    """Of n pairs: list lengths (n, 2), matches by stage 1 and 2 (n, 3), credit of stage 3 (n, 2).

    Columns of the first and last are candidates and references, of the second exact, substring, synonym.
    """

    sizes: Array
    stages: Array
    soft: Array

    def ratios(self) -> tuple[Array, Array]:
        """Precision (n,) and recall (n,), up to 1: matches over list length + EPS; 0 of an empty list."""
        credit = self.stages.sum(axis=1, keepdims=True) + self.soft
        found = credit / (self.sizes + EPS)
        return found[:, 0], found[:, 1]

    def part(self, chosen: slice) -> Match:
        """Some of the pairs."""
        return Match(self.sizes[chosen], self.stages[chosen], self.soft[chosen])

    def shares(self) -> dict[str, float]:
        """Percent of all credit, both sides added, that each stage gave; none where there is no credit."""
        exact, substring, synonym = 2 * self.stages.sum(axis=0)
        parts = {"exact": exact, "substring": substring, "synonym": synonym, "soft": self.soft.sum()}
        total = sum(parts.values())
        return {f"credit_{name}_percent": float(100 * part / total) for name, part in parts.items() if total}


def f1(precision: Array, recall: Array) -> Array:
    """2 P R / (P + R + EPS), of one shape."""
    return np.asarray(2 * precision * recall / (precision + recall + EPS))


def match(pairs: Sequence[Pair], records: Records, encoder: str) -> Match:
    """All three stages of every pair; one look-up of names and one of vectors for all of them."""
    found = hard(pairs, records)
    stages = [(one.exact, one.substring, one.synonym) for one in found]
    left = [
        (_taken(candidates, one.candidates), _taken(references, one.references))
        if one.candidates and one.references
        else None
        for (candidates, references), one in zip(pairs, found, strict=True)
    ]
    return Match(
        np.array([(len(c), len(r)) for c, r in pairs], dtype=np.float64).reshape(-1, 2),
        np.array(stages, dtype=np.float64).reshape(-1, 3),
        _soft(left, records, encoder),
    )


def hard(pairs: Sequence[Pair], records: Records) -> list[Hard]:
    """Stages 1 and 2 of every pair."""
    found = [_exact(*pair) for pair in pairs]
    wanted = dict[str, None]()
    for (candidates, references), one in zip(pairs, found, strict=True):
        if one.candidates and one.references:
            for phrase in (*(candidates[i] for i in one.candidates), *(references[j] for j in one.references)):
                wanted.update(dict.fromkeys((phrase,) if isinstance(phrase, str) else phrase))
    phrases = sorted(wanted)
    names = dict(zip(phrases, map(frozenset, records.parse(SYNONYMS, phrases)), strict=True))
    return [_related(*pair, one, names) for pair, one in zip(pairs, found, strict=True)]


def vectors(phrases: Iterable[str], records: Records, encoder: str) -> tuple[Array, dict[str, int]]:
    """Unit vectors (u, d) of the unique phrases in the encoder's precision, and the row of each phrase."""
    assert records.encode is not None
    unique = sorted(set(phrases))
    return records.encode(encoder, unique), {phrase: row for row, phrase in enumerate(unique)}  # type: ignore[return-value]


def _exact(candidates: Sequence[Phrase], references: Sequence[Phrase]) -> Hard:
    places = dict[Phrase, list[int]]()
    for j in reversed(range(len(references))):
        places.setdefault(references[j], []).append(j)
    matched, left = list[tuple[int, int]](), list[int]()
    for i, candidate in enumerate(candidates):
        if free := places.get(candidate):
            matched.append((i, free.pop()))
        else:
            left.append(i)
    return Hard(matched, left, sorted(j for free in places.values() for j in free), len(matched))


def _related(candidates: Sequence[Phrase], references: Sequence[Phrase], exact: Hard, names: Names) -> Hard:
    free, left = list(exact.references), list[int]()
    matched, stages = list(exact.matched), [0, 0, 0]
    for i in exact.candidates:
        for at, j in enumerate(free):
            if stage := relation(candidates[i], references[j], names):
                matched.append((i, j))
                stages[stage] += 1
                del free[at]
                break
        else:
            left.append(i)
    return Hard(matched, left, free, exact.exact, stages[SUBSTRING], stages[SYNONYM])


def relation(one: Phrase, other: Phrase, names: Names) -> int:
    """0, SUBSTRING or SYNONYM; of triples the weaker of what their slots show, 0 where one slot shows none."""
    if isinstance(one, str) and isinstance(other, str):
        if one in other or other in one:
            return SUBSTRING
        return 0 if names[one].isdisjoint(names[other]) else SYNONYM
    found = SUBSTRING
    for mine, theirs in zip(one, other, strict=True):
        if mine in theirs or theirs in mine:
            continue
        if names[mine].isdisjoint(names[theirs]):
            return 0
        found = SYNONYM
    return found


def _taken(phrases: Sequence[Phrase], places: Sequence[int]) -> list[str]:
    return [phrase if isinstance(phrase := phrases[at], str) else " ".join(phrase) for at in places]


def _soft(left: Sequence[tuple[list[str], list[str]] | None], records: Records, encoder: str) -> Array:
    """Sums of row and of column maxima of each pair's cosines (n, 2)."""
    found = np.zeros((len(left), 2))
    table, rows = vectors((phrase for pair in left if pair for side in pair for phrase in side), records, encoder)
    for at, pair in enumerate(left):
        if pair:
            ours, theirs = (table[[rows[phrase] for phrase in side]] for side in pair)
            cosines = ours @ theirs.T
            found[at] = cosines.max(axis=1).sum(dtype=np.float64), cosines.max(axis=0).sum(dtype=np.float64)
    return found
