"""Whose caption is it? Ids of a captions file that are not written as a task writes them, matched by a rule."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import PurePosixPath


def _number(name: str) -> str:
    """The number that ends a name, without leading zeros; the name itself where it has none."""
    digits = re.search(r"\d+$", name)
    return digits[0].lstrip("0") or "0" if digits else name


def _stem(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).stem


def _words(name: str) -> str:
    """What stands before the number that ends a name."""
    return re.sub(r"\d+$", "", _stem(name))


STEM = "without folder and suffix"
# Ways to compare ids, strictest first: what is compared in place of each.
RULES: Mapping[str, Callable[[str], str]] = {
    STEM: _stem,
    "by their last number": lambda name: _number(_stem(name)),
}


def matched(known: Collection[str], samples: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The rule by which ids of a file are those of samples, and the file's id by sample id.

    A rule holds only where it is one to one: no two ids of the file, and no two of the task, may come to the same. Last
    numbers are compared only where what stands before them cannot contradict: one side are numbers alone, or both have
    the same words before them (val_7 and test_7 are different images). Empty where ids match as they are, or by no
    rule.
    """
    if set(known) & set(samples):
        return "", {}
    words = [{_words(name) for name in side} for side in (known, samples)]
    rules = dict(RULES) if {""} in words or words[0] == words[1] else {STEM: RULES[STEM]}
    for rule, short in rules.items():
        ours, theirs = Counter(map(short, samples)), Counter(map(short, known))
        if max(ours.values(), default=0) == max(theirs.values(), default=0) == 1 and ours.keys() & theirs.keys():
            file_ids = {short(name): name for name in known}
            return rule, {name: file_ids[short(name)] for name in samples if short(name) in file_ids}
    return "", {}
