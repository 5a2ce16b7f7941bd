"""A printed table as a file: CSV or TSV below a header of ``# key: value`` lines; docs/audit.md has the format."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from harness.errors import CimError
from harness.forms import sources, tables
from leaderboards.printed import kinds
from leaderboards.printed.kinds import Kind
from leaderboards.printed.sheet import Cell, Row, Sheet

KEYS = ("title", "source", "note", "n", "unit", "decimals", "group", "task", "column NAME", "row NAME")
ROWS = ("sum", "average")  # what a row of totals is
MISSING = ("", "-", "--", "–", "—", "n/a", "N/A", "/")
NUMBER = re.compile(r"[+-]?([0-9]{1,9}|[0-9]{1,3}(,[0-9]{3}){1,3})(\.[0-9]{1,9})?")
BEST = "*"
MOST = 1000  # rows: every pair of them is compared


@dataclass(frozen=True, slots=True)
class Header:
    """The header's lines by key, each with its place."""

    values: Mapping[str, tuple[str, str]]

    def get(self, key: str) -> str:
        """The text of a key; empty without."""
        return self.values.get(key, ("", ""))[0]

    def named(self, key: str) -> dict[str, tuple[str, str]]:
        """``column NAME`` or ``row NAME``: texts and places by name."""
        start = f"{key} "
        return {k.removeprefix(start): value for k, value in self.values.items() if k.startswith(start)}


def read(path: Path) -> Sheet:
    """A table of a file.

    Raises:
        CimError: not there, no CSV or TSV in UTF-8, or malformed; names the line, and the column.
    """
    return parse(*split(path))


def split(path: Path) -> tuple[Header, list[tuple[str, dict[str, str]]], str]:
    """Header, rows of texts with their places, and the file's name."""
    try:
        source = sources.read(path)
    except OSError as error:
        raise CimError(f"cannot be read ({error.strerror})", where=str(path), hint="a CSV or TSV file") from error
    lines = sources.decoded(source.content, source.name).splitlines(keepends=True)
    head = next((at for at, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    body = "".join(lines[head:])
    if not body.strip():
        raise CimError("no table below the header", where=source.name, hint="a row of column names, then systems")
    text = replace(source, content=body.encode())
    rows = tables.separated(text, head)
    texts = [(where, {column.strip(): str(cell).strip() for column, cell in cells.items()}) for where, cells in rows]
    return _header(lines[:head], source.name), texts, source.name


def _header(lines: Sequence[str], name: str) -> Header:
    values = dict[str, tuple[str, str]]()
    known = {key for key in KEYS if " " not in key}
    for number, line in enumerate(lines, start=1):
        text, where = line.lstrip("#").strip(), f"{name}:{number}"
        if not text:
            continue
        key, colon, value = (part.strip() for part in text.partition(":"))
        if key.startswith(("column ", "row ")):  # a name may hold a colon
            key, colon, value = (part.strip() for part in text.rpartition(": "))
        if not colon or not (key in known or key.startswith(("column ", "row "))):
            raise CimError(f"unknown key {key[:40]!r}", where=where, hint=f"# key: value, of: {', '.join(KEYS)}")
        if key in values and key != "note":
            raise CimError(f"key {key[:40]!r} stands twice", where=where)
        values[key] = value, where
    return Header(values)


def parse(header: Header, rows: Sequence[tuple[str, dict[str, str]]], name: str) -> Sheet:
    """A table from its header and its rows of texts."""
    if not rows:
        raise CimError("no row below the column names", where=name)
    if len(rows) > MOST:
        raise CimError(f"a table of {len(rows)} rows, at most {MOST} are read", where=name, hint="split it")
    columns = [column for column in rows[0][1] if column]
    said = {c: kinds.parse(text, where) for c, (text, where) in header.named("column").items()}
    for column, (_, where) in header.named("column").items():
        absent = [c for c in (column, *said[column].parts) if c not in columns]
        if absent:
            raise CimError(f"no column {absent[0][:40]!r}", where=where, hint=f"columns: {', '.join(columns)}")
    group = header.get("group")
    if group and group not in columns:
        raise CimError(f"no column {group[:40]!r}", where=header.values["group"][1], hint=f"columns: {columns}")
    numeric = [c for c in columns if c != group and _numeric(c, said.get(c), rows)]
    labels = [c for c in columns if c not in numeric and c != group]
    if not numeric or not labels:
        missing = "of numbers" if not numeric else "that names the systems"
        raise CimError(f"no column {missing}", where=name, hint="# column NAME: label, or number")
    hundred, decimals = _unit(header), _decimals(header)
    read_rows = tuple(
        Row(
            ", ".join(cells[c] for c in labels if cells[c]),
            cells[group] if group else "",
            int(where.rpartition(":")[2]),
            {
                c: cell
                for c in numeric
                if (cell := _cell(cells[c], f"{where}, column {c}", decimals, said.get(c))) is not None
            },
        )
        for where, cells in rows
    )
    sheet = Sheet(
        name=name,
        title=header.get("title"),
        source=header.get("source"),
        hundred=hundred,
        counts=kinds.counts(header.get("n"), header.values["n"][1]) if "n" in header.values else {},
        tasks=kinds.by_groups(header.get("task")),
        columns={c: said.get(c) for c in numeric},
        totals=_totals(header, {row.system for row in read_rows}),
        rows=read_rows,
    )
    _checked(sheet, header)
    return sheet


def _checked(sheet: Sheet, header: Header) -> None:
    """Refuse a header that names what is not there."""
    systems, groups = {row.system for row in sheet.rows}, {row.group for row in sheet.rows}
    families = set[tuple[str, str]]()
    for key, named in (("n", sheet.counts), ("task", sheet.tasks)):
        if unknown := [group for group in named if group and group not in groups]:
            raise CimError(f"no group {unknown[0][:40]!r}", where=header.values[key][1], hint="# group: COLUMN")
    for column, kind in sheet.columns.items():
        where = header.values.get(f"column {column}", ("", ""))[1]
        if kind is None:
            continue
        if kind.over and kind.over not in systems:
            raise CimError(f"no row {kind.over[:40]!r}", where=where)
        if unknown := [group for group in kind.counts if group and group not in groups]:
            raise CimError(f"no group {unknown[0][:40]!r}", where=where, hint="# group: COLUMN")
        if kind.family and (kind.name, kind.family) in families:
            raise CimError(f"a second {kind.name} of {kind.family[:40]!r}", where=where)
        families.add((kind.name, kind.family))


def _numeric(column: str, kind: Kind | None, rows: Sequence[tuple[str, dict[str, str]]]) -> bool:
    if kind is not None:
        return kind.name != "label"
    texts = [cells[column].strip(BEST) for _, cells in rows if cells[column] not in MISSING]
    return bool(texts) and all(NUMBER.fullmatch(_plain(text)) for text in texts)


def _plain(text: str) -> str:
    return text.strip().replace("\N{MINUS SIGN}", "-").removesuffix("%").rstrip()


def _cell(text: str, where: str, decimals: int | None, kind: Kind | None) -> Cell | None:
    if text in MISSING:
        return None
    digits = _plain(text.strip(BEST))
    if not NUMBER.fullmatch(digits):
        raise CimError(f"no decimal number: {text[:20]!r}", where=where, hint=f"leave it empty, or {BEST} for the best")
    places = len(digits.partition(".")[2])
    if decimals is not None and places > decimals:
        raise CimError(f"more than {decimals} decimals: {text[:20]!r}", where=where)
    unit = Fraction(1, 10 ** (places if decimals is None else decimals))
    if kind and kind.name == "count":  # exact
        unit = Fraction(0)
    return Cell(digits, Fraction(digits.replace(",", "")), unit, best=BEST in text)


def _unit(header: Header) -> int:
    text = header.get("unit") or "percent"
    if text not in ("percent", "share"):
        raise CimError(
            f"unknown unit {text[:20]!r}", where=header.values["unit"][1], hint="percent (0-100) or share (0-1)"
        )
    return 100 if text == "percent" else 1


def _decimals(header: Header) -> int | None:
    text = header.get("decimals")
    if text and not re.fullmatch("[0-9]", text, re.ASCII):
        raise CimError(f"no number of decimals: {text[:20]!r}", where=header.values["decimals"][1], hint="0 to 9")
    return int(text) if text else None


def _totals(header: Header, systems: set[str]) -> dict[str, str]:
    totals = dict[str, str]()
    for system, (text, where) in header.named("row").items():
        if system not in systems:
            raise CimError(f"no row {system[:40]!r}", where=where)
        if text not in ROWS:
            raise CimError(f"a row of totals is {' or '.join(ROWS)}: {text[:20]!r}", where=where)
        totals[system] = text
    return totals
