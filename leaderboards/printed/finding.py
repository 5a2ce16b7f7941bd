"""What was found in a printed table."""

from __future__ import annotations

from dataclasses import dataclass

IMPOSSIBLE, IMPROBABLE, NOTE = "impossible", "improbable", "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found in a printed table: how severe it is, the cell, the arithmetic, and what would explain it.

    ``impossible``: no data give these digits by the stated formula. ``improbable``: possible, but not by chance.
    ``note``: a fact to read the cell by.
    """

    severity: str
    row: str
    column: str
    printed: str
    arithmetic: str
    explanation: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = ", ".join(text for text in (self.row, self.column) if text)
        printed = f" {self.printed}" if self.printed else ""
        return f"{self.severity}: {place}{printed}: {self.arithmetic}" + (
            f"; {self.explanation}" * bool(self.explanation)
        )
