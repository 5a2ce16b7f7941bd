"""Verdicts in a reply whose JSON is damaged, such as one that was cut off.

``entries`` finds what CAPEval's pattern finds (``PATTERN``), in time that grows with the text and not with its cube: a
model that repeats itself would otherwise hold the reader up for minutes.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

# liuzhipenggg/CAPEval:capeval/score/evaluate.py@40a92dd; a test compares both.
PATTERN = (
    r'\{[^{}]*?"item_index"\s*:\s*(\d+)[^{}]*?"verdict"\s*:\s*"([^"]*)"[^{}]*?"reasoning"\s*:\s*"([^"]*)"[^{}]*?\}'
)
# Its keys from the last to the first, looking ahead, so that keys which share a quotation mark are all found.
KEYS = (
    re.compile(r'(?="reasoning"\s*:\s*"([^"]*)")'),
    re.compile(r'(?="verdict"\s*:\s*"([^"]*)")'),
    re.compile(r'(?="item_index"\s*:\s*(\d+))'),
)
BRACE = re.compile(r"[{}]")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key stands that the keys behind it follow; their values, its own first; where the object ends."""

    start: int
    values: tuple[str, ...]
    end: int


def entries(text: str) -> Iterator[tuple[str, str]]:
    """Index and verdict of every object that names an index, a verdict and a reasoning, in this order."""
    braces = [match.start() for match in BRACE.finditer(text)]
    places = [Place(at, (), at + 1) for at in braces if text[at] == "}"]
    for key in KEYS:
        quoted = key is not KEYS[-1]
        begun = ((match, _next(places, match.end(1) + quoted, braces)) for match in key.finditer(text))
        places = [Place(match.start(), (match[1], *after.values), after.end) for match, after in begun if after]
    done = 0
    for at in braces:
        if text[at] == "{" and at >= done and (first := _next(places, at + 1, braces)):
            yield first.values[0], first.values[1]
            done = first.end


def _next(places: list[Place], start: int, braces: list[int]) -> Place | None:
    """The first of some places from ``start`` on, if no brace stands before it."""
    at, brace = bisect_left(places, start, key=_start), bisect_left(braces, start)
    if at == len(places) or (brace < len(braces) and braces[brace] < places[at].start):
        return None
    return places[at]


def _start(place: Place) -> int:
    return place.start
