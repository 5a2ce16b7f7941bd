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

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.parts import Records

if TYPE_CHECKING:
    from harness.parts import Array

EPS = 1e-6  # capture_metric==0.1.13:capture.py, in every denominator
SYNONYMS = "synonyms"
SUBSTRING, SYNONYM = 1, 2
TOGETHER = 64  # pairs whose cosines are computed at once

Phrase = str | tuple[str, ...]
Pair = tuple[Sequence[Phrase], Sequence[Phrase]]  # candidates, references
Names = Mapping[str, frozenset[str]]
Find = Callable[
    [Any], tuple[int, int]
]  # place of the first related phrase, which it takes away, and SUBSTRING, SYNONYM; 0


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
    return Match(
        np.array([(len(c), len(r)) for c, r in pairs], dtype=np.float64).reshape(-1, 2),
        np.array(stages, dtype=np.float64).reshape(-1, 3),
        _soft(pairs, found, records, encoder),
    )


def hard(pairs: Sequence[Pair], records: Records) -> list[Hard]:
    """Stages 1 and 2 of every pair; what one metric of a run has matched, no other matches again."""
    keys = [("matched", tuple(candidates), tuple(references)) for candidates, references in pairs]
    known: list[Hard | None] = [records.shared.get(key) for key in keys]
    found = [_exact(*key[1:]) if one is None else one for key, one in zip(keys, known, strict=True)]
    new = [at for at, one in enumerate(known) if one is None]
    left = set[str]()
    for at in new:
        if found[at].candidates and found[at].references:
            _add(left, keys[at][1], found[at].candidates)
            _add(left, keys[at][2], found[at].references)
    phrases = sorted(left)
    names = dict(zip(phrases, map(frozenset, records.parse(SYNONYMS, phrases)), strict=True))
    for at in new:
        found[at] = records.shared[keys[at]] = _related(*keys[at][1:], found[at], names)
    return found


def _add(words: set[str], phrases: Sequence[Phrase], places: Sequence[int]) -> None:
    some: list[Any] = [phrases[at] for at in places]
    words.update(some if isinstance(some[0], str) else chain.from_iterable(some))


def vectors(phrases: Iterable[str], records: Records, encoder: str) -> tuple[Array, Mapping[str, int]]:
    """Unit vectors (u, d) of these phrases, and of others of the run, in the encoder's precision; each phrase's row."""
    assert records.encode is not None
    table, rows = records.shared.get(("vectors", encoder), (None, {}))
    if new := sorted(set(phrases) - rows.keys()):
        made = records.encode(encoder, new)
        table = made if table is None else np.concatenate([table, made])
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
    """The phrases, each with how often it stood before: the first equals the first of the other side, and so on."""
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


def _kin(one: str, other: str, names: Names) -> int:
    """How two phrases are related: SUBSTRING, SYNONYM or 0."""
    if one in other or other in one:
        return SUBSTRING
    return 0 if names[one].isdisjoint(names[other]) else SYNONYM


def _word_finder(others: list[Any], names: Names) -> Find:
    known = [names[other] for other in others]
    every, written = frozenset[str]().union(*known), "\n".join(others)  # of all, those taken away among them

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
    """Of tuples all slots must be related; the stage is the weaker of what they show."""
    firsts = {other[0] for other in others}
    heads = dict[str, dict[str, int]]()  # first slots of candidates, with those they are related to: they repeat

    def find(phrase: Any) -> tuple[int, int]:
        head, *slots = phrase
        if head not in heads:
            heads[head] = {first: kin for first in firsts if (kin := _kin(head, first, names))}
        if near := heads[head]:
            for at, other in enumerate(others):
                if stage := near.get(other[0], 0):
                    for mine, theirs in zip(slots, other[1:], strict=True):
                        kin = _kin(mine, theirs, names)
                        stage = max(stage, kin) if kin else 0
                        if not stage:
                            break
                    else:
                        del others[at]
                        return at, stage
        return 0, 0

    return find


def _soft(pairs: Sequence[Pair], hard: Sequence[Hard], records: Records, encoder: str) -> Array:
    """Sums of row and of column maxima of each pair's cosines (n, 2); pairs of like size are multiplied together."""
    found = np.zeros((len(pairs), 2))
    open_ = [at for at, one in enumerate(hard) if one.candidates and one.references]
    open_.sort(key=lambda at: (len(hard[at].candidates), len(hard[at].references)))
    sides = [
        _Side.of([(pairs[at][side], places) for at, places in zip(open_, left, strict=True)])
        for side, left in enumerate(([hard[at].candidates for at in open_], [hard[at].references for at in open_]))
    ]
    table, rows = vectors(chain.from_iterable(side.phrases for side in sides), records, encoder)
    numbered = [np.fromiter(map(rows.__getitem__, side.phrases), np.intp, len(side.phrases)) for side in sides]
    for start in range(0, len(open_), TOGETHER):
        block = slice(start, start + TOGETHER)
        (ours, here), (theirs, there) = (side.padded(block, of) for side, of in zip(sides, numbered, strict=True))
        cosines = table[ours] @ table[theirs].transpose(0, 2, 1)
        cosines[~np.logical_and(here[:, :, None], there[:, None, :])] = -np.inf
        sums = [
            np.where(here, cosines.max(axis=2), 0.0).sum(axis=1, dtype=np.float64),
            np.where(there, cosines.max(axis=1), 0.0).sum(axis=1, dtype=np.float64),
        ]
        found[open_[block]] = np.stack(sums, axis=1)
    return found


@dataclass(frozen=True, slots=True)
class _Side:
    """Phrases that one side of all pairs has left, one after the other; where each pair's begin and how many."""

    phrases: list[str]
    starts: Any
    sizes: Any

    @classmethod
    def of(cls, left: Sequence[tuple[Sequence[Phrase], Sequence[int]]]) -> _Side:
        """Of the lists of phrases and the places left of each; the slots of a tuple are joined by blanks."""
        sizes = np.array([len(places) for _, places in left], dtype=np.intp)
        phrases = [phrases[at] for phrases, places in left for at in places]
        joined = [phrase if isinstance(phrase, str) else " ".join(phrase) for phrase in phrases]
        return cls(joined, np.cumsum(sizes) - sizes, sizes)

    def padded(self, block: slice, numbers: Any) -> tuple[Any, Any]:
        """Numbers of the phrases of some pairs (b, longest), filled up with any, and which are no filling."""
        starts, sizes = self.starts[block, None], self.sizes[block, None]
        along = np.arange(sizes.max())
        return numbers[np.minimum(starts + along, len(numbers) - 1)], along < sizes
