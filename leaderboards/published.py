"""The published numbers: Tables 6, 7 and 8 of the paper's supplement, as printed.

They are in ``results/published/``, in the format of every audited table (``printed/reader.py``), with source, licence
and SHA-256: data with a source, not ground truth. Cells are kept as printed text and compared as decimals. Read by
``cim tables`` and ``cim audit``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from harness import store
from harness.errors import CimError
from harness.resources import data, paths
from leaderboards.printed import reader
from leaderboards.printed.reader import Header
from leaderboards.printed.sheet import Sheet

FOLDER = paths.HOME / "results" / "published"
NAME = "tables_6_7_8"
KEYS = ("table", "base", "benchmark", "method")
COLUMNS = ("bleu4", "meteor", "capture", "obj_p", "obj_r", "obj_f1", "attr_p", "attr_r", "attr_f1", "rel_qa")
TITLES = {
    "bleu4": "BLEU-4",
    "meteor": "METEOR",
    "capture": "CAPTURE",
    "obj_p": "Objects P",
    "obj_r": "Objects R",
    "obj_f1": "Objects F1",
    "attr_p": "Attributes P",
    "attr_r": "Attributes R",
    "attr_f1": "Attributes F1",
    "rel_qa": "Relations QA",
}
TASKS = {"COCO-LN500": "coco_ln500", "DOCCI500": "docci500"}
# Table 6 names systems without their arm; its base and its SFT + Ours are those of Qwen2-VL-7B in Table 8.
SYSTEMS_6 = {"Qwen2-VL-7B": "Qwen2-VL-7B Base", "SFT + Ours": "Qwen2-VL-7B SFT + Ours"}


@dataclass(frozen=True, slots=True)
class PaperRow:
    """One printed row; ``printed`` maps columns to the text of their cells, without empty ones."""

    table: int
    base: str
    benchmark: str
    method: str
    printed: Mapping[str, str]

    @property
    def values(self) -> dict[str, Decimal]:
        """Its numbers by column."""
        return {column: Decimal(text) for column, text in self.printed.items()}

    @property
    def system(self) -> str:
        """Name of the evaluated system, the same in all three tables: ``Qwen2-VL-7B Base``."""
        if self.table == 6:
            return SYSTEMS_6.get(self.base, self.base)
        size, dash, arm = self.method.partition("-")
        return f"{self.base}-{size} {arm}" if self.table == 7 and dash else f"{self.base} {self.method}"

    @property
    def label(self) -> str:
        """Table, benchmark and system: ``Table 7, DOCCI500, Qwen2-VL-7B Base``."""
        return f"Table {self.table}, {self.benchmark}, {self.system}"


def sheet() -> Sheet:
    """The published tables for the audit: each row named by its system, so that tables which repeat it agree.

    Raises:
        CimError: as ``read``.
    """
    header, texts, name = _texts()
    printed = reader.parse(header, texts, name)
    rows = (replace(row, system=paper.system) for row, paper in zip(printed.rows, read(), strict=True))
    return replace(printed, rows=tuple(rows))


def read() -> list[PaperRow]:
    """Rows of the published tables, in file order.

    Raises:
        CimError: the file is missing, is not the pinned one, or is malformed; names the line.
    """
    return [_row(cells, where) for where, cells in _texts()[1]]


def _texts() -> tuple[Header, list[tuple[str, dict[str, str]]], str]:
    place = FOLDER / f"{NAME}.csv"
    hint = "it is part of the project: `git checkout results/published`"
    if not place.is_file():
        raise CimError("no such file", where=str(place), hint=hint)
    if data.sha256(place) != (pinned := source()["sha256"]):
        raise CimError(f"is not the published file (sha256 {pinned[:16]}...)", where=str(place), hint=hint)
    return reader.split(place)


def source() -> dict[str, Any]:
    """Where the numbers come from, their licence and sha256, and what the columns are."""
    document = store.read_document(FOLDER / f"{NAME}.json")
    if document is None:
        raise CimError("no such file", where=str(FOLDER / f"{NAME}.json"), hint="`git checkout results/published`")
    return document


def _row(cells: Mapping[str, str], where: str) -> PaperRow:
    table, base, benchmark, method = (cells[key] for key in KEYS)
    if table not in ("6", "7", "8") or benchmark not in TASKS or not base:
        raise CimError(f"no row of Tables 6 to 8: {table}, {base}, {benchmark}, {method}", where=where)
    return PaperRow(int(table), base, benchmark, method, {column: cells[column] for column in COLUMNS if cells[column]})
