"""The published numbers: Tables 6, 7 and 8 of the paper's supplement, as printed.

They are in ``results/published/``, with source, licence and SHA-256: data with a source, not ground truth. Cells are
kept as printed text and compared as decimals. Read by ``cim tables`` and ``cim audit``.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from harness import store
from harness.errors import CimError
from harness.resources import data, paths

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
TRIPLES = {"objects": ("obj_p", "obj_r", "obj_f1"), "attributes": ("attr_p", "attr_r", "attr_f1")}
TASKS = {"COCO-LN500": "coco_ln500", "DOCCI500": "docci500"}
NUMBER = re.compile(r"-?[0-9]{1,4}(\.[0-9]{1,2})?")
# Table 6 names systems without their arm; its base and its SFT + Ours are those of Qwen2-VL-7B in Table 8.
SYSTEMS_6 = {"Qwen2-VL-7B": "Qwen2-VL-7B Base", "SFT + Ours": "Qwen2-VL-7B SFT + Ours"}

Place = tuple[str, str, str, Decimal]
"""A cell, identified across tables: system, benchmark, column, value."""


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

    def place(self, column: str) -> Place:
        """Identity of a cell, the same in every table that repeats it."""
        return self.system, self.benchmark, column, Decimal(self.printed[column])


def read(path: Path | None = None) -> list[PaperRow]:
    """Rows of the published tables, or of another file in the same format, in file order.

    Raises:
        CimError: the file is missing, is not the pinned one, or is malformed; names the line.
    """
    place = path or FOLDER / f"{NAME}.csv"
    if not place.is_file():
        raise CimError(
            "no such file", where=str(place), hint="it is part of the project: `git checkout results/published`"
        )
    if path is None and data.sha256(place) != (pinned := source()["sha256"]):
        hint = "`git checkout results/published` brings it back; another file is read by `audit --tables FILE`"
        raise CimError(f"is not the published file (sha256 {pinned[:16]}...)", where=str(place), hint=hint)
    try:
        lines = list(csv.reader(io.StringIO(place.read_text(encoding="utf-8"), newline=""), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise CimError(f"is not CSV in UTF-8 ({error})", where=str(place)) from error
    if not lines or tuple(lines[0]) != (*KEYS, *COLUMNS):
        raise CimError("has another header", where=f"{place}:1", hint=f"expected: {','.join((*KEYS, *COLUMNS))}")
    return [_row(cells, f"{place}:{number}") for number, cells in enumerate(lines[1:], start=2)]


def source() -> dict[str, Any]:
    """Where the numbers come from, their licence and sha256, and what the columns are."""
    document = store.read_document(FOLDER / f"{NAME}.json")
    if document is None:
        raise CimError("no such file", where=str(FOLDER / f"{NAME}.json"), hint="`git checkout results/published`")
    return document


def _row(cells: Sequence[str], where: str) -> PaperRow:
    if len(cells) != len(KEYS) + len(COLUMNS):
        raise CimError(f"has {len(cells)} cells, {len(KEYS) + len(COLUMNS)} expected", where=where)
    table, base, benchmark, method = cells[: len(KEYS)]
    if table not in ("6", "7", "8") or benchmark not in TASKS or not base:
        raise CimError(f"no row of Tables 6 to 8: {', '.join(cells[: len(KEYS)])}", where=where)
    printed = {column: text for column, text in zip(COLUMNS, cells[len(KEYS) :], strict=True) if text}
    for column, text in printed.items():
        if not NUMBER.fullmatch(text):
            raise CimError(f"{column} is no number with at most two decimals: {text!r}", where=where)
    return PaperRow(int(table), base, benchmark, method, printed)
