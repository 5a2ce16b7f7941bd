"""Which is the best: marks (A-17), and differences that are too small for any test (A-18)."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

from leaderboards.audit.record import FAILS, HOLDS, LISTED, Check, median, rounded
from leaderboards.printed.finding import IMPOSSIBLE, NOTE, Finding
from leaderboards.printed.sheet import Row, Sheet

FEWEST = 6  # outcomes: 2 * 0.5**5 = 0.0625, 2 * 0.5**6 = 0.03125
Z = 1.959963984540054  # two-sided 5 %


def best(sheet: Sheet) -> Check | None:
    """A-17: a cell marked as best is the highest of its column and group, or the lowest; None without marks."""
    findings, marked = list[Finding](), 0
    for column, rows in sheet.blocks():
        bold = [row for row in rows if row.cells[column].best]
        marked += len(bold)
        if bold:
            findings += _marks(sheet, column, rows, bold)
    if not marked:
        return None
    wrong = sum(finding.severity == IMPOSSIBLE for finding in findings)
    return Check(
        id="A-17",
        what="Marks of the best",
        inputs={"marked": marked},
        formula="the highest of its column and group; the lowest where lower is better; either where that is not said",
        tolerance="none",
        claimed="the marked cells are the best",
        recomputed={"wrong": wrong},
        verdict=FAILS if wrong else HOLDS,
        found=f"{marked - wrong} of {marked} marked cells are the best of their column",
        details=tuple(map(str, findings)),
        findings=tuple(findings),
    )


def _marks(sheet: Sheet, column: str, rows: list[Row], bold: list[Row]) -> Iterator[Finding]:
    kind = sheet.columns[column]
    better = kind.better if kind else None
    values = [row.cells[column].value for row in rows]
    ends = [end for end, ruled_out in ((max(values), better is False), (min(values), better is True)) if not ruled_out]
    for row in bold:
        if row.cells[column].value not in ends:
            others = [f"{r.system} has {r.cells[column].text}" for r in rows if r.cells[column].value in ends]
            yield row.finding(
                IMPOSSIBLE, column, f"marked as best, but {', '.join(others)}", "the mark is of another row"
            )
    for row in rows:
        if row not in bold and row.cells[column].value == bold[0].cells[column].value:
            yield row.finding(NOTE, column, f"equal to {bold[0].system}, which is marked as best")


def detectable(sheet: Sheet) -> Check | None:
    """A-18: is the best ahead by a difference that a test could find at all? None without shares of a known n.

    Two systems on the same n images, k1 > k2 of them right: at least k1 - k2 images are discordant, and the exact
    McNemar test is smallest where they are all and favour the better, 2 * 0.5**(k1 - k2): above 0.05 under 6. A lower
    bound for every paired outcome, so that nothing is assumed of the correlation.
    """
    findings, lines, columns = list[Finding](), list[str](), 0
    for column, rows in sheet.blocks("share"):
        n = sheet.n(column, rows[0])
        if n is None or len(rows) < 2:
            continue
        columns += 1
        lower = (kind := sheet.columns[column]) is not None and kind.better is False
        order = sorted(rows, key=lambda row: row.cells[column].value, reverse=not lower)
        close = [pair for pair in pairwise(order) if _outcomes(sheet, column, pair, n) < FEWEST]
        lines.append(_needed(sheet, column, order, n) + f"; {len(close)} of {len(order) - 1} neighbours are closer")
        if close and close[0][0] is order[0]:
            k, second = _outcomes(sheet, column, close[0], n), order[1]
            arithmetic = f"ahead of {second.system} ({second.cells[column].text}) by at most {k} of {n} outcomes"
            explanation = f"exact McNemar: p >= {min(1.0, 2 * 0.5**k):.3g}, whatever the outcomes"
            findings.append(order[0].finding(NOTE, column, arithmetic, explanation))
    if not columns:
        return None
    return Check(
        id="A-18",
        what="Differences that no test can find",
        inputs={"columns": columns},
        formula="exact McNemar test of k1 against k2 of the same n, two-sided 5 %: p >= 2 * 0.5**(k1 - k2)",
        tolerance="half a unit of the last digit of both cells",
        claimed=None,
        recomputed=lines,
        verdict=LISTED,
        found=f"in {len(findings)} of {columns} columns the best is ahead by less than any paired test can find",
        details=(*map(str, findings), *lines),
        findings=tuple(findings),
    )


def _needed(sheet: Sheet, column: str, rows: list[Row], n: int) -> str:
    """The smallest differences that tests can find, in the table's unit."""
    hundred = sheet.hundred
    least = rounded(Fraction(FEWEST * hundred, n), 2)
    p = float(median([row.cells[column].value for row in rows]) / hundred)
    need = hundred * Z * (2 * max(p * (1 - p), 0.0) / n) ** 0.5
    return (
        f"{rows[0].place(column)}: n = {n}, a paired test needs at least {FEWEST} outcomes or {least}, a z test of "
        f"independent samples at the median value {need:.1f}"
    )


def _outcomes(sheet: Sheet, column: str, pair: tuple[Row, Row], n: int) -> int:
    """By how many outcomes the two can differ at most."""
    first, second = (row.cells[column] for row in pair)
    widest = max(first.high - second.low, second.high - first.low)
    return int(widest * n / sheet.hundred)
