# SPDX-FileCopyrightText: 2026 cim-harness contributors
# SPDX-FileCopyrightText: Carnegie Mellon University (METEOR 1.5, of which this re-states the behaviour)
# SPDX-License-Identifier: LGPL-2.1-or-later
"""METEOR 1.5's alignment of a caption with a reference: all matches of four stages, then the best set by beam search.

A path through the reference takes a match or skips a word; paths are ranked by covered words (more), chunks (fewer) and
distance (less), ties by the order they were made in, and 40 go on from each word. Two oddities decide ties and are
kept: a match that is not exact counts half its words, rounded down, so a single stem or synonym counts nothing; and the
distance of a match is added to the path that does not take it. Source: Denkowski and Lavie, WMT 2014; behaviour after
``cmu-mtlab/meteor:src/edu/cmu/meteor/aligner/Aligner.java`` @57a9ec5 and ``javap -c`` of the jar.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

from cim_meteor.paraphrases import Table
from cim_meteor.words import Word

BEAM = 40
EXACT, STEM, SYNONYM, PARAPHRASE = range(4)
OUT = -1  # no match ends right before this word

# First word and number of words in the reference, the same in the caption, stage.
Match = tuple[int, int, int, int, int]
# Rank (less is better), where the last match ended in the caption, its words used so far (bits), the word of the
# reference that comes next, and the matches taken: (match, those before).
Path = tuple[int, int, int, int, Any]
# Bits of its words in the caption, where it begins and ends there, gain in rank, distance, end in the reference.
Choice = tuple[int, int, int, int, int, int, Match]
# A choice as it is open to a path: change of rank, bits, where it begins and ends in the caption, end in the reference.
Option = tuple[int, int, int, int, int, Match]
# The least change of rank, where options begin, the options, and the change of rank without any.
Options = tuple[int, set[int], list[Option], int]
_rank = itemgetter(0)


def align(caption: Sequence[Word], reference: Sequence[Word], table: Table) -> list[Match | None]:
    """The match that begins at each word of the reference, None where none does."""
    taken: list[Match | None] = [None] * len(reference)
    if not caption or not reference:
        return taken
    matches = _matches(caption, reference, table)
    used, closed = _certain(matches, len(caption), taken)
    for match in _search(matches, used, closed, taken):
        taken[match[0]] = match
    return taken


def _matches(caption: Sequence[Word], reference: Sequence[Word], table: Table) -> list[list[Match]]:
    """All matches by their first word in the reference, in the order of the stages; equal texts match exactly only."""
    by_first: list[list[Match]] = [[] for _ in reference]
    keys = [word.key for word in caption]
    equal, stems, synsets = dict[int, list[int]](), dict[int, list[int]](), dict[int, list[int]]()
    for i, word in enumerate(caption):
        equal.setdefault(word.key, []).append(i)
        stems.setdefault(word.stem, []).append(i)
        for synset in word.synsets:
            synsets.setdefault(synset, []).append(i)
    for place, word in enumerate(reference):
        by_first[place] += [(place, 1, i, 1, EXACT) for i in equal.get(word.key, ())]
    if keys == [word.key for word in reference]:
        return by_first
    for place, word in enumerate(reference):
        by_first[place] += [(place, 1, i, 1, STEM) for i in stems.get(word.stem, ()) if keys[i] != word.key]
        shared = {i for synset in word.synsets for i in synsets.get(synset, ())}
        by_first[place] += [(place, 1, i, 1, SYNONYM) for i in sorted(shared) if keys[i] != word.key]
    here, there = table.find(reference), table.find(caption)
    said = table.matches(here, there)
    at_caption = there.of({phrase for _, _, phrase in said})
    for place, count, phrase in said:
        by_first[place] += [(place, count, i, words, PARAPHRASE) for i, words in at_caption[phrase]]
    said = table.matches(there, here)
    at_reference = here.of({phrase for _, _, phrase in said})
    for i, words, phrase in said:
        for place, count in at_reference[phrase]:
            by_first[place].append((place, count, i, words, PARAPHRASE))
    return by_first


def _certain(matches: Sequence[Sequence[Match]], words: int, taken: list[Match | None]) -> tuple[int, list[bool]]:
    """Put matches that compete with none into ``taken``; bits of their words in the caption, those in the reference."""
    here, there = [0] * words, [0] * len(matches)
    for match in (match for several in matches for match in several):
        place, count, i, length, _ = match
        for at in range(place, place + count):
            there[at] += 1
        for at in range(i, i + length):
            here[at] += 1
    used, closed = 0, [False] * len(matches)
    for match in (several[0] for several in matches if len(several) == 1):
        place, count, i, length, _ = match
        if max(there[place : place + count]) == 1 == max(here[i : i + length]):
            taken[place] = match
            closed[place : place + count] = [True] * count
            used |= ((1 << length) - 1) << i
    return used, closed


def _search(
    matches: Sequence[Sequence[Match]], used: int, closed: Sequence[bool], taken: Sequence[Match | None]
) -> Iterator[Match]:
    """Matches of the best path, beside those that are certain."""
    several, chunk = _choices(matches, used, closed)
    # Between two words with a choice all paths soon stand alike: ``common`` is then where their last match ended,
    # and what they gain alike is left out of their ranks.
    paths: list[Path] = [(0, OUT, used, 0, None)]
    common: int | None = OUT
    ordered, reach = True, 0
    for place, choices in enumerate(several):
        if closed[place] and taken[place] is None:
            continue  # inside a certain match
        if not ordered:
            paths, ordered = sorted(paths, key=_rank)[:BEAM], True
        if choices:
            paths, common, ordered = _branch(paths, common, place, choices, chunk), None, False
            reach = max(reach, *(choice[5] for choice in choices))
            continue
        certain = taken[place]
        end = certain[2] + certain[3] if certain else OUT
        if common is None:
            begin = certain[2] if certain else OUT
            inside = [path for path in paths if path[3] > place] if place < reach else []
            paths = [
                path
                if path[3] > place
                else (path[0] if path[1] == OUT or path[1] == begin else path[0] + chunk, end, path[2], 0, path[4])
                for path in paths
            ]
            ordered = False
            common = None if inside else end
        else:
            common = end
    paths = sorted(paths, key=_rank)[:BEAM]
    open_end = common is None
    best = min(paths, key=lambda path: path[0] + chunk * (open_end and path[1] != OUT))
    before = best[4]
    while before:
        match, before = before
        yield match


def _choices(matches: Sequence[Sequence[Match]], used: int, closed: Sequence[bool]) -> tuple[list[list[Choice]], int]:
    """Matches that can still be taken at each word, and what a chunk costs: more than any sum of distances."""
    chunk = 1 + sum(abs(match[0] - match[2]) for several in matches for match in several)
    word, free = chunk * (len(matches) + 3), list[list[Choice]]()
    for place, several in enumerate(matches):
        choices: list[Choice] = []
        for match in () if closed[place] else several:
            _, count, begin, length, stage = match
            bits = ((1 << length) - 1) << begin
            if used & bits or (count > 1 and any(closed[place : place + count])):
                continue
            gain = word * (count + length if stage == EXACT else count // 2 + length // 2)
            choices.append((bits, begin, begin + length, gain, abs(place - begin), place + count, match))
        free.append(choices)
    return free, chunk


def _branch(paths: list[Path], common: int | None, place: int, choices: list[Choice], chunk: int) -> list[Path]:
    """Each path with each match it can take, then without; what cannot be among the best ``BEAM`` is left out."""
    concerned, most = 0, 0
    for bits, _, _, gain, *_ in choices:
        concerned |= bits
        most = max(most, gain)
    open_to = dict[int, Options]()
    extended = list[Path]()
    limit = float("inf")
    for path in paths:
        rank, last, used, following, before = path
        if rank - most >= limit:
            break
        if following > place:
            if rank < limit:
                extended.append(path)
            continue
        hindered = used & concerned
        if hindered not in open_to:
            open_to[hindered] = _options(choices, hindered)
        lowest, begins, options, skipped = open_to[hindered]
        if common is not None:
            last = common
        broken = 0 if last == OUT else chunk
        if rank + lowest + broken >= limit and (rank + lowest >= limit or last not in begins):
            continue
        for change, bits, begin, end, after, match in options:
            new = rank + change if begin == last else rank + change + broken
            if new < limit:
                extended.append((new, end, used | bits, after, (match, before)))
        new = rank + skipped + broken
        if new < limit:
            extended.append((new, OUT, used, 0, before))
        if len(extended) > BEAM + BEAM // 2:
            extended.sort(key=_rank)
            del extended[BEAM:]
            limit = extended[-1][0]
    return extended


def _options(choices: list[Choice], used: int) -> Options:
    """What is open to a path that has used these words."""
    distance, free = 0, list[Option]()
    for bits, begin, end, gain, apart, after, match in choices:
        if not used & bits:
            free.append((distance - gain, bits, begin, end, after, match))
            distance += apart
    lowest = min((option[0] for option in free), default=distance)
    return min(lowest, distance), {option[2] for option in free}, free, distance
