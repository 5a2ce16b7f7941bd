"""What a value is worth: is it above its floor (A-19), and is the column the metric that it is said to be (A-20)?

Floors by task and metric are what the reference of another image scores (``floors.csv``, measured with this project); a
column's own floor, such as that of a constant answer, is said in its header.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from leaderboards.audit.record import HOLDS, LISTED, Check, median, rounded
from leaderboards.printed.finding import IMPROBABLE, NOTE, Finding
from leaderboards.printed.kinds import METRICS
from leaderboards.printed.reader import read
from leaderboards.printed.sheet import Sheet

NAMESAKES = {"bleu4": "bleu4_char", "meteor": "meteor_nltk"}  # a metric, and another that is printed under its name
FAR = 3  # times its floor, from which on a column reads as the namesake, if that one is within a factor of 2
UNIT = ("share", "mean", "precision", "recall", "f1", *(name for name, most in METRICS.items() if most == 1))


@functools.cache
def known() -> dict[tuple[str, str], Fraction]:
    """What the reference of another image scores, in percent, by task and metric."""
    table = read(Path(__file__).with_name("floors.csv"))
    return {(row.system, metric): cell.value for row in table.rows for metric, cell in row.cells.items()}


def _measured(sheet: Sheet, group: str, metric: str) -> Fraction | None:
    task = sheet.tasks.get(group, sheet.tasks.get("", ""))
    floor = known().get((task, metric))
    return None if floor is None else floor * sheet.hundred / 100


def missing(sheet: Sheet) -> list[str]:
    """Columns of metrics without a floor."""
    columns = ((column, rows[0].group, sheet.columns[column]) for column, rows in sheet.blocks(*METRICS))
    without = (c for c, group, k in columns if k and k.floor is None and _measured(sheet, group, k.metric) is None)
    return list(dict.fromkeys(without))


def above(sheet: Sheet) -> Check | None:
    """A-19: is a value no better than one that never looked at the image? None where no floor is known."""
    findings, cells = list[Finding](), 0
    for column, rows in sheet.blocks():
        kind = sheet.columns[column]
        if kind is None or kind.better is False:
            continue
        said = kind.floor is not None
        floor = kind.floor if said else _measured(sheet, rows[0].group, kind.metric)
        if floor is None:
            continue
        cells += len(rows)
        whose = "the floor that the header states" if said else f"what another image's reference scores ({kind.metric})"
        why = "a constant answer does as well" if said else "captions much shorter than references, or another metric"
        findings += [
            row.finding(IMPROBABLE if said else NOTE, column, f"no more than {rounded(floor, 2)}, {whose}", why)
            for row in rows
            if row.cells[column].high <= floor
        ]
    if not cells:
        return None
    return Check(
        id="A-19",
        what="Values above their floor",
        inputs={"cells": cells},
        formula="value > floor",
        tolerance="half a unit of the last digit",
        claimed=None,
        recomputed=list(map(str, findings)),
        verdict=LISTED,
        found=f"{len(findings)} of {cells} cells are no better than their floor",
        details=tuple(map(str, findings)),
        findings=tuple(findings),
    )


def identity(sheet: Sheet) -> Check | None:
    """A-20: is a column what it is said to be? None without columns of metrics."""
    columns = len(sheet.of_kind(*UNIT))
    if not columns:
        return None
    findings = (*_units(sheet), *_bleu_order(sheet), *_namesakes(sheet))
    return Check(
        id="A-20",
        what="Columns are the metrics that they are said to be",
        inputs={"columns": columns},
        formula="percentages above 1; BLEU-1 >= ... >= BLEU-4; the median over the floors of metric and namesake",
        tolerance="half a unit of the last digit",
        claimed=None,
        recomputed=list(map(str, findings)),
        verdict=LISTED if findings else HOLDS,
        found=f"{len(findings)} columns or cells read as something else"
        if findings
        else "nothing reads as something else",
        details=tuple(map(str, findings)),
        findings=findings,
    )


def _units(sheet: Sheet) -> Iterator[Finding]:
    """Percentages none of which is above 1."""
    for column in sheet.of_kind(*UNIT):
        largest = max((row.cells[column].value for row in sheet.systems if column in row.cells), default=Fraction(0))
        if 0 < largest <= 1 < sheet.hundred:
            arithmetic = f"no value is above {float(largest):g}"
            yield Finding(NOTE, "", column, "", arithmetic, "they are shares of 1: # unit: share")


def _bleu_order(sheet: Sheet) -> Iterator[Finding]:
    order = [column for name in ("bleu1", "bleu2", "bleu3", "bleu4") for column in sheet.of_kind(name)]
    for row in sheet.systems:
        for larger, smaller in pairwise([column for column in order if column in row.cells]):
            if row.cells[smaller].low > row.cells[larger].high:
                arithmetic = f"above {larger} {row.cells[larger].text}: longer n-grams match less often"
                yield row.finding(IMPROBABLE, smaller, arithmetic, "columns or cells swapped")


def _namesakes(sheet: Sheet) -> Iterator[Finding]:
    for column, rows in sheet.blocks(*NAMESAKES):
        names = (kind.name, NAMESAKES[kind.name]) if (kind := sheet.columns[column]) else ("", "")
        floor, other = (_measured(sheet, rows[0].group, name) for name in names)
        if not floor or not other:
            continue
        middle = median([row.cells[column].value for row in rows])
        if middle >= FAR * floor and other <= 2 * middle <= 4 * other:
            times = (
                f"{rounded(middle / x, 1)} times the floor of {name} ({rounded(x, 2)})"
                for name, x in zip(names, (floor, other), strict=True)
            )
            arithmetic = f"the median {rounded(middle, 2)} is {' and '.join(times)}"
            yield Finding(NOTE, rows[0].group, column, "", arithmetic, f"it reads as {names[1]}")
