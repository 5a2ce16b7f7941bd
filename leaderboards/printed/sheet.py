"""A printed table: its rows, its columns and what they hold. Read by ``printed/reader.py``.

A number stands for an interval, that of all numbers which round to its digits: half a unit
of the last digit to both sides, which covers rounding half up and half to even; or, cut off, a whole unit to one side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from leaderboards.printed.finding import Finding
from leaderboards.printed.kinds import Kind


@dataclass(frozen=True, slots=True)
class Cell:
    """A printed number: text, value, the unit of its last digit (0: exact), whether marked as best, whether cut off."""

    text: str
    value: Fraction
    unit: Fraction
    best: bool = False
    cut_off: bool = False

    @property
    def low(self) -> Fraction:
        """The lowest number that is printed like this."""
        if self.cut_off:
            return self.value if self.value >= 0 else self.value - self.unit
        return self.value - self.unit / 2

    @property
    def high(self) -> Fraction:
        """The highest number that is printed like this."""
        return self.low + self.unit

    @property
    def places(self) -> int:
        """Digits after the point."""
        return len(str(self.unit.denominator)) - 1


@dataclass(frozen=True, slots=True)
class Row:
    """A row: the system that it is about, its group ("" without), the table's line, its numbers by column."""

    system: str
    group: str
    line: int
    cells: Mapping[str, Cell]

    @property
    def label(self) -> str:
        """``DOCCI500, Qwen2-VL-7B``."""
        return f"{self.group}, {self.system}" if self.group else self.system

    def place(self, column: str) -> str:
        """``DOCCI500, rel_qa``."""
        return f"{self.group}, {column}" if self.group else column

    def finding(self, severity: str, column: str, arithmetic: str, explanation: str = "") -> Finding:
        """A finding in one of its cells."""
        return Finding(severity, self.label, column, self.cells[column].text, arithmetic, explanation, self.line)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table: what its header says, its columns of numbers (None where it says nothing of one), its rows."""

    name: str
    title: str
    source: str
    hundred: int
    counts: Mapping[str, int]
    tasks: Mapping[str, str]
    columns: Mapping[str, Kind | None]
    totals: Mapping[str, str]
    rows: tuple[Row, ...]

    def of_kind(self, *names: str) -> dict[str, Kind]:
        """The columns of these kinds."""
        return {column: kind for column, kind in self.columns.items() if kind and kind.name in names}

    def n(self, column: str, row: Row) -> int | None:
        """How many outcomes a cell is a mean of; None if the header does not say it."""
        kind = self.columns[column]
        return kind.n(row.group, self.counts) if kind else None

    def blocks(self, *names: str) -> Iterator[tuple[str, list[Row]]]:
        """Each column (of these kinds) with the systems of one group that have it."""
        columns = self.of_kind(*names) if names else self.columns
        for column in columns:
            for group in dict.fromkeys(row.group for row in self.rows):
                if rows := [row for row in self.systems if row.group == group and column in row.cells]:
                    yield column, rows

    @property
    def systems(self) -> list[Row]:
        """The rows that are no totals."""
        return [row for row in self.rows if row.system not in self.totals]

    def cut_off(self) -> Sheet:
        """The same table, its numbers taken as cut off after their last digit."""
        rows = (
            replace(row, cells={c: replace(cell, cut_off=True) for c, cell in row.cells.items()}) for row in self.rows
        )
        return replace(self, rows=tuple(rows))
