"""What a column of a printed table holds, said in its header: ``share of 500``, ``f1 of objects over images``, ...

``FORMS`` is the whole grammar; docs/audit.md explains each form. Read by ``printed/sheet.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from harness.errors import CimError

# Corpus metrics: highest value as a multiple of the unit (CIDEr's mean is at most 10), None where it has no bound.
METRICS: Mapping[str, int | None] = {
    **{name: 1 for name in ("bleu1", "bleu2", "bleu3", "bleu4", "bleu4_char", "meteor", "meteor_nltk")},
    **{"rouge_l": 1, "spice": 1, "capture": 1, "cider": 10, "clipscore": None},
}
_COUNT = "(?: of (?P<n>.+))?"
FORMS: Mapping[str, str] = {
    "label": "label",
    "number": "number",
    "count": "count",
    "correlation": "correlation",
    "share": f"share{_COUNT}",
    "net share": f"net share{_COUNT}",
    "mean": f"mean{_COUNT}",
    "integers": f"integers{_COUNT}",
    "precision": "precision of (?P<family>.+)",
    "recall": "recall of (?P<family>.+)",
    "f1": "f1 of (?P<family>.+?)(?: (?P<how>over images|from p and r))?",
    "average": "average of (?P<parts>.+)",
    "sum": "sum of (?P<parts>.+)",
    "difference": "difference of (?P<parts>.+ and .+)",
    "gain": "difference of (?P<parts>.+) over (?P<over>.+)",
    "quotient": "quotient of (?P<parts>.+ and .+)",
    **{name: name for name in METRICS},
}
USAGE = (
    "share [of N], net share [of N], mean [of N], integers [of N], count, precision of G, recall of G, "
    "f1 of G [over images | from P and R], average of A, B, sum of A, B, difference of A and B, difference of A over "
    "SYSTEM, quotient of A and B, correlation, number, label, " + ", ".join(METRICS)
)
DERIVED = ("average", "sum", "difference", "gain", "quotient")
_LARGER_IS_BETTER = {*METRICS, "precision", "recall", "f1", "correlation"}


@dataclass(frozen=True, slots=True)
class Kind:
    """What a column holds.

    ``counts``: n by group ("" for all). ``family``: the group of a precision, recall or F1. ``how``: ``over images``
    (mean of each image's F1), ``from p and r`` (of the printed P and R), or unknown. ``parts``: columns it follows
    from; ``over``: the system whose row is subtracted. ``better``: whether larger is better, None if unknown.
    """

    name: str
    counts: Mapping[str, int] = field(default_factory=dict)
    family: str = ""
    how: str = ""
    parts: tuple[str, ...] = ()
    over: str = ""
    better: bool | None = None
    floor: Fraction | None = None
    bounds: tuple[Fraction, Fraction] | None = None
    metric: str = ""

    def n(self, group: str, default: Mapping[str, int]) -> int | None:
        """How many outcomes a cell of this group is a mean of; None if the header does not say it."""
        for counts in (self.counts, default):
            if (n := counts.get(group, counts.get(""))) is not None:
                return n
        return None


def parse(text: str, where: str) -> Kind:
    """A kind with its options, which ``;`` separates.

    Raises:
        CimError: an unknown form or option, a count that is none.
    """
    form, *options = (part.strip() for part in text.split(";"))
    for name in ("gain", *FORMS):
        if match := re.fullmatch(FORMS[name], form, re.IGNORECASE):
            break
    else:
        raise CimError(f"unknown kind {form[:60]!r}", where=where, hint=f"one of: {USAGE}")
    fields = {key: value or "" for key, value in match.groupdict().items()}
    parts = re.split(" and " if name in ("difference", "quotient") else ", *", fields.get("parts", ""))
    kind = Kind(
        name=name,
        counts=counts(fields["n"], where) if fields.get("n") else {},
        family=fields.get("family", "").lower(),
        how=fields.get("how", "").lower(),
        parts=tuple(part.strip() for part in parts if part.strip()),
        over=fields.get("over", "").strip(),
        better=True if name in _LARGER_IS_BETTER else None,
        metric=name if name in METRICS else "",
    )
    for option in options:
        kind = _with(kind, option, where)
    return kind


def _with(kind: Kind, option: str, where: str) -> Kind:
    """The kind with an option."""
    if option in ("higher is better", "lower is better"):
        return replace(kind, better=option.startswith("higher"))
    if match := re.fullmatch(r"floor (-?[0-9.]+)", option):
        return replace(kind, floor=_number(match[1], where))
    if match := re.fullmatch(r"within (-?[0-9.]+?)\.\.(-?[0-9.]+)", option):
        return replace(kind, bounds=(_number(match[1], where), _number(match[2], where)))
    if match := re.fullmatch(r"metric ([\w@.]+)", option):
        return replace(kind, metric=match[1])
    known = "higher is better, lower is better, floor X, within X..Y, metric NAME"
    raise CimError(f"unknown option {option[:40]!r}", where=where, hint=f"one of: {known}")


def counts(text: str, where: str) -> dict[str, int]:
    """``500``, or ``2462 in COCO-LN500, 2481 in DOCCI500``: counts by group."""
    by_group = by_groups(text)
    for count in by_group.values():
        if not re.fullmatch("[1-9][0-9]{0,8}", count, re.ASCII):
            raise CimError(f"no count: {count[:40]!r}", where=where, hint="as 500, or 500 in A, 600 in B")
    return {group: int(count) for group, count in by_group.items()}


def by_groups(text: str) -> dict[str, str]:
    """``X in A, Y in B`` as ``{"A": "X", "B": "Y"}``; one X for all groups has the key ""."""
    parts = (part.strip().partition(" in ") for part in text.split(","))
    return {group.strip(): value.strip() for value, _, group in parts}


def _number(text: str, where: str) -> Fraction:
    try:
        return Fraction(text)
    except ValueError as error:
        raise CimError(f"no number: {text[:20]!r}", where=where) from error
