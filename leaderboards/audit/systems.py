"""A-15: does a published value of a system follow from its captions, that is from the stored run that scored them?

A table in the audit's format (``printed/sheet.py``), whose systems are names of runs and whose columns say their metric
(``bleu4``, or ``...; metric objects.f1``); or a CSV file with the columns ``system,metric,value,source``. A value
agrees if it is ours within half a unit of its last printed digit. CIDEr is compared in the literature's unit, 100 times
the mean. Run with ``cim audit RUN... --published FILE``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from harness import registry
from harness.errors import CimError
from harness.runs import signature
from harness.runs.stored_run import StoredRun
from leaderboards.audit.record import Check, rounded, verdict
from leaderboards.printed import reader

COLUMNS = ("system", "metric", "value", "source")
NUMBER = re.compile(r"-?[0-9]{1,6}(\.[0-9]{1,6})?")
EXACT = Fraction(1, 10**9)  # our values are sums of floats in some order


@dataclass(frozen=True, slots=True)
class Printed:
    """A published value: its system, metric, name of the metric's value, text as printed, and source."""

    system: str
    metric: str
    value: str
    text: str
    source: str

    @property
    def decimals(self) -> int:
        """Digits after the point."""
        return len(self.text.partition(".")[2])


def read(path: Path) -> list[Printed]:
    """The published values of a file, in its order.

    Raises:
        CimError: not there, not a table, an unknown metric, no number; names the line.
    """
    header, rows, name = reader.split(path)
    if rows and set(rows[0][1]) == set(COLUMNS):
        return [_row(*(cells[column] for column in COLUMNS), where=where) for where, cells in rows]
    table = reader.parse(header, rows, name)
    named = {column: kind.metric for column, kind in table.columns.items() if kind and kind.metric}
    if not named:
        raise CimError(
            "holds no published value", where=name, hint=f"columns {','.join(COLUMNS)}, or # column NAME: bleu4, ..."
        )
    return [
        _row(row.system, metric, row.cells[column].text, table.source or table.title, where=f"{name}:{row.line}")
        for row in table.systems
        for column, metric in named.items()
        if column in row.cells
    ]


def _row(system: str, named: str, text: str, source: str, *, where: str) -> Printed:
    if not NUMBER.fullmatch(text):
        raise CimError(f"value is no decimal number: {text[:20]!r}", where=where)
    name, _, value = named.partition(".")
    try:
        names = registry.metric(name).names
    except CimError as error:
        raise CimError(error.what, where=where, hint=error.hint) from error
    if not value and len(names) == 1:
        value = names[0]
    if value not in names:
        hint = "name one as " + " or ".join(f"{name}.{choice}" for choice in names)
        raise CimError(
            f"{name} has no value {value!r}" if value else f"{name} has several values", where=where, hint=hint
        )
    return Printed(system, name, value, text, source)


def checks(runs: Sequence[StoredRun], rows: Sequence[Printed], where: str) -> Iterator[Check]:
    """One check per run over the published values of its system.

    Raises:
        CimError: no row is about one of the runs.
    """
    for run in runs:
        of_run = [row for row in rows if row.system == run.model]
        if not of_run:
            systems = ", ".join(dict.fromkeys(row.system for row in rows))
            raise CimError(f"no row of system {run.model!r}", where=where, hint=f"systems there: {systems or 'none'}")
        yield _check(run, of_run)


def _check(run: StoredRun, rows: Sequence[Printed]) -> Check:
    outcomes = [outcome(row, ours(run, row)) for row in rows]
    agree = outcomes.count("agrees")
    differ = sum(text.startswith("differs") for text in outcomes)
    missing = len(rows) - agree - differ
    left_out = f", {missing} not computed" if missing else ""
    return Check(
        id="A-15",
        what="Published values follow from the captions",
        inputs={"sources": sorted({row.source for row in rows}), "captions": len(run.per_sample)},
        formula="the run's value against the published one; CIDEr times 100",
        tolerance="half a unit in the last printed digit",
        claimed=[f"{row.metric} {row.value} {row.text}" for row in rows],
        recomputed=outcomes,
        verdict=verdict(agree, differ),
        found=f"{agree} of {len(rows)} published values agree, {differ} differ{left_out}",
        details=tuple(f"{row.metric} {row.value}: {text}" for row, text in zip(rows, outcomes, strict=True)),
        run=f"{run.task}/{run.model}",
    )


def ours(run: StoredRun, row: Printed) -> float | None:
    """A run's value in the unit of publications; None where it was not computed."""
    score = run.computed.get(row.metric)
    number = score["values"].get(row.value) if score else None
    if score is None or number is None:
        return None
    # Version 1 of CIDEr's signature stored the mean itself.
    unscaled = row.metric == "cider" and "scale" not in signature.read(score["signature"] or "")
    return float(100 * number if unscaled else number)


def outcome(row: Printed, number: float | None) -> str:
    """``agrees``, ``differs: 8.1 published, 22.26 from its captions`` or ``not computed``."""
    if number is None:
        return "not computed"
    half = Fraction(1, 2 * 10**row.decimals)
    if abs(Fraction(number) - Fraction(Decimal(row.text))) <= half + EXACT:
        return "agrees"
    return f"differs: {row.text} published, {rounded(Fraction(number), row.decimals + 1)} from its captions"
