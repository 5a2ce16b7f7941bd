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
    """Stages 1 and 2 of every pair; equal pairs of one run are matched once, whichever metric asks."""
    keys = [("matched", tuple(candidates), tuple(references)) for candidates, references in pairs]
    new = {key: _exact(key[1], key[2]) for key in keys if key not in records.shared}
    left = [
        phrases[at]
        for (_, *lists), one in new.items()
        if one.candidates and one.references
        for phrases, places in zip(lists, (one.candidates, one.references), strict=True)
        for at in places
    ]
    whole = {phrase for phrase in left if isinstance(phrase, str)}
    phrases = sorted(whole.union(*{phrase for phrase in left if not isinstance(phrase, str)}))
    names = dict(zip(phrases, map(frozenset, records.parse(SYNONYMS, phrases)), strict=True))
    records.shared.update({key: _related(key[1], key[2], one, names) for key, one in new.items()})
    return [records.shared[key] for key in keys]


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
    if not exact.candidates or not exact.references:
        return exact
    free, left = list(exact.references), list[int]()
    matched, stages = list(exact.matched), [0, 0, 0]
    heads, others = dict[str, dict[str, int]](), [references[j] for j in free]
    for i in exact.candidates:
        phrase = candidates[i]
        found = _word(phrase, others, names) if isinstance(phrase, str) else _tuple(phrase, others, names, heads)
        if found:
            at, stage = found
            matched.append((i, free.pop(at)))
            del others[at]
            stages[stage] += 1
        else:
            left.append(i)
    return Hard(matched, left, free, exact.exact, stages[SUBSTRING], stages[SYNONYM])


def _word(phrase: str, others: Sequence[Any], names: Names) -> tuple[int, int] | None:
    """Place of the first related phrase and how it is related: SUBSTRING or SYNONYM."""
    mine = names[phrase]
    for at, other in enumerate(others):
        if phrase in other or other in phrase:
            return at, SUBSTRING
        if not mine.isdisjoint(names[other]):
            return at, SYNONYM
    return None


def _tuple(
    phrase: tuple[str, ...], others: Sequence[Any], names: Names, heads: dict[str, dict[str, int]]
) -> tuple[int, int] | None:
    """The same of tuples, of which all slots must be related; the weaker of what they show.

    Args:
        heads: first slots of candidates, each with those it is related to among the references; filled here, as
            they repeat.
    """
    head = phrase[0]
    if head not in heads:
        mine = names[head]
        heads[head] = {
            first: SUBSTRING if head in first or first in head else SYNONYM
            for first in {other[0] for other in others}
            if head in first or first in head or not mine.isdisjoint(names[first])
        }
    if near := heads[head]:
        for at, other in enumerate(others):
            if other[0] in near:
                rest = [_word(slot, (theirs,), names) for slot, theirs in zip(phrase[1:], other[1:], strict=True)]
                if all(rest):
                    return at, max(near[other[0]], *(found[1] for found in rest if found))
    return None


def _taken(phrases: Sequence[Phrase], places: Sequence[int]) -> list[str]:
    return [phrase if isinstance(phrase := phrases[at], str) else " ".join(phrase) for at in places]


def _soft(left: Sequence[tuple[list[str], list[str]] | None], records: Records, encoder: str) -> Array:
    """Sums of row and of column maxima of each pair's cosines (n, 2); pairs of like size are multiplied together."""
    found = np.zeros((len(left), 2))
    sized = [(len(pair[0]), len(pair[1]), at, pair) for at, pair in enumerate(left) if pair]
    table, rows = vectors((phrase for *_, pair in sized for side in pair for phrase in side), records, encoder)
    sized.sort(key=lambda one: one[:3])
    for start in range(0, len(sized), TOGETHER):
        block = sized[start : start + TOGETHER]
        (ours, here), (theirs, there) = (_padded([pair[side] for *_, pair in block], rows) for side in (0, 1))
        cosines = table[ours] @ table[theirs].transpose(0, 2, 1)
        cosines[~np.logical_and(here[:, :, None], there[:, None, :])] = -np.inf
        sums = [
            np.where(here, cosines.max(axis=2), 0.0).sum(axis=1, dtype=np.float64),
            np.where(there, cosines.max(axis=1), 0.0).sum(axis=1, dtype=np.float64),
        ]
        found[[at for _, _, at, _ in block]] = np.stack(sums, axis=1)
    return found


def _padded(sides: Sequence[Sequence[str]], rows: Mapping[str, int]) -> tuple[Array, Array]:
    """Rows of phrases (b, longest), filled up with the first row, and where they are not filled up."""
    real = np.arange(max(map(len, sides))) < np.array([len(side) for side in sides])[:, None]
    places = np.zeros(real.shape, dtype=np.intp)
    places[real] = [rows[phrase] for side in sides for phrase in side]
    return places, real  # type: ignore[return-value]
