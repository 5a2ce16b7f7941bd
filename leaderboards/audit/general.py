"""All checks of any printed table (docs/audit.md): what its digits allow, exactly, and what is worth a second look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from leaderboards.audit import counts, derived, differences, floors, shape, triples
from leaderboards.audit.record import Check, listed
from leaderboards.printed.finding import IMPOSSIBLE
from leaderboards.printed.kinds import METRICS
from leaderboards.printed.sheet import Sheet

CUT_OFF = 3  # impossible cells that all become possible, from which on a table is taken as cut off, not rounded


def checks(sheet: Sheet) -> list[Check]:
    """The checks that apply to a table.

    Numbers are taken as rounded. Where at least three cells are impossible so, and none is if all were cut off after
    their last digit, they are taken as that, and A-1 says so.
    """
    rounded = _run(sheet)
    wrong = impossible(rounded)
    if wrong < CUT_OFF or impossible(cut := _run(sheet.cut_off())):
        return rounded
    first, *others = cut
    note = f"digits are cut off, not rounded: {wrong} cells are impossible as rounded, none as cut off"
    return [replace(first, found=f"{first.found}; {note}"), *others]


def impossible(done: Sequence[Check]) -> int:
    """How many cells of a table are impossible as printed."""
    return sum(finding.severity == IMPOSSIBLE for check in done for finding in check.findings)


def _run(sheet: Sheet) -> list[Check]:
    possible = [
        shape.ranges(sheet),
        shape.agreement(sheet),
        counts.shares(sheet),
        triples.bounded(sheet),
        triples.gaps(sheet),
        shape.repeated(sheet, triples.suspects(sheet)),
        derived.follows(sheet),
        differences.best(sheet),
        differences.detectable(sheet),
        floors.above(sheet),
        floors.identity(sheet),
    ]
    return [check for check in possible if check is not None]


def as_rows(done: Sequence[Check], name: str) -> list[dict[str, Any]]:
    """Findings as rows for JSON."""
    return [
        {"file": name, "check": check.id, "severity": f.severity, "row": f.row, "column": f.column, "line": f.line}
        | {"printed": f.printed, "arithmetic": f.arithmetic, "explanation": f.explanation}
        for check in done
        for f in check.findings
    ]


def not_run(sheet: Sheet) -> list[str]:
    """What could not be checked, and which key of the header would enable it."""
    silent = [column for column, kind in sheet.columns.items() if kind is None]
    without_n = [c for c in sheet.of_kind(*counts.KINDS) if any(sheet.n(c, row) is None for row in sheet.rows)]
    families = dict[str, set[str]]()
    for kind in sheet.of_kind(*triples.PRF).values():
        families.setdefault(kind.family, set()).add(kind.name)
    incomplete = [family for family, names in families.items() if len(names) < len(triples.PRF)]
    vague = [column for column, kind in sheet.of_kind("f1").items() if not kind.how]
    marked = any(cell.best for row in sheet.rows for cell in row.cells.values())
    means = list(sheet.of_kind("mean", *triples.PRF, *METRICS))
    tasks = listed(sorted({task for task, _ in floors.known()}))
    lines = [
        (silent, "what {} may hold: # column NAME: KIND"),
        (without_n, "whether {} are k/n: # n: N, or # column NAME: share of N"),
        (incomplete, "F1 of {}: columns of precision, recall and F1 are needed"),
        (vague, "both bounds of {}: # column NAME: f1 of G over images, or from P and R"),
        (["the best"] * (not marked), "marks of {}: a * in the cell"),
        (means, "differences of {}: a spread over images would be needed, the format has none"),
        (floors.missing(sheet), f"floors of {{}}: # task: NAME, of {tasks}, or # column NAME: KIND; floor X"),
    ]
    return [text.format(listed(names)) for names, text in lines if names]
