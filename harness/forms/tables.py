"""Rows of tables: CSV and TSV with a header, parquet (pyarrow), xlsx (openpyxl). Both packages are optional."""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from xml.etree.ElementTree import ParseError

from harness.errors import CimError
from harness.forms.keys import IDS
from harness.forms.sources import LARGEST, Source, decoded

TEXT_TYPES = ("STRING", "JSON", "ENUM")  # of a parquet column of bytes
DAMAGE = (  # what zipfile and openpyxl raise on damaged files, by changing and cutting the bytes of one
    zipfile.BadZipFile, zlib.error, ParseError, LookupError, ValueError, TypeError, RuntimeError, OSError, EOFError
)  # fmt: skip


def form(source: Source) -> str:
    """``CSV``, ``TSV``, ``parquet``, ``xlsx``, or nothing: by the first bytes, CSV and TSV also by the suffix."""
    content = source.content
    if content.startswith(b"PAR1"):
        return "parquet"
    if content.startswith(b"PK\x03\x04"):
        return "xlsx"
    if content.lstrip()[:1] in (b"{", b"[", b""):
        return ""
    first = content.partition(b"\n")[0].decode(errors="replace")
    delimiter = _delimiter(first)
    columns = {column.strip('" \r') for column in first.split(delimiter)}
    if source.suffix in (".csv", ".tsv") or (len(columns) > 1 and columns & {*IDS}):
        return "TSV" if delimiter == "\t" else "CSV"
    return ""


def rows(source: Source, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a table by their columns, each with its place.

    Raises:
        CimError: damaged, more than ``LARGEST`` bytes once unpacked, a column that stands twice, a row of another
            length than the header, or the package that reads it is not there.
    """
    return {"parquet": _parquet, "xlsx": _xlsx}.get(name, separated)(source)


def separated(source: Source, above: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of CSV or TSV; places count the lines ``above`` it in its file. Errors as ``rows``."""
    text = decoded(source.content, source.name)
    delimiter = _delimiter(text.partition("\n")[0])
    csv.field_size_limit(LARGEST)  # a column of pictures in base64 is passed over
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = _header(next(reader, []), source.name)
        for row in reader:
            where = f"{source.name}:{reader.line_num + above}"
            if row and len(row) != len(header):
                hint = "quote texts with commas"
                raise CimError("another number of columns than the header", where=where, hint=hint)
            if row:
                yield where, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise CimError(f"not a table ({error})", where=f"{source.name}:{max(reader.line_num, 1) + above}") from error


def _delimiter(header: str) -> str:
    """Tab, comma, or semicolon, which Excel writes where the comma is a decimal mark."""
    return next((mark for mark in "\t,;" if mark in header), ",")


def _header(columns: Sequence[Any], where: str) -> list[str]:
    names = [str(column) if column is not None else "" for column in columns]
    if twice := [name for name, count in Counter(name for name in names if name).items() if count > 1]:
        raise CimError(f"column {twice[0][:40]!r} stands twice", where=where)
    return names


def _xlsx(source: Source) -> Iterator[tuple[str, dict[str, Any]]]:
    """The first sheet of a workbook; formulas as their stored values, nothing is computed."""
    try:
        with zipfile.ZipFile(io.BytesIO(source.content)) as archive:
            unpacked, names = sum(member.file_size for member in archive.infolist()), archive.namelist()
    except DAMAGE as error:
        raise CimError(f"damaged xlsx or zip file ({error})", where=source.name) from error
    if "xl/workbook.xml" not in names:
        raise CimError("a zip archive", where=source.name, hint="unpack it")
    if unpacked > LARGEST:
        raise CimError(f"more than {LARGEST} bytes once unpacked", where=source.name, hint="save it as CSV")
    try:
        import openpyxl
    except ImportError as error:
        raise CimError(
            "xlsx is read with openpyxl, which is not there", where=source.name, hint="pip install openpyxl"
        ) from error
    try:
        book = openpyxl.load_workbook(io.BytesIO(source.content), read_only=True, data_only=True)
        sheet = book.worksheets[0]
        sheet.reset_dimensions()  # those that a file states may be wrong
        cells = [list(row) for row in sheet.iter_rows(values_only=True)]
    except DAMAGE as error:
        raise CimError(f"damaged xlsx file ({type(error).__name__}: {error})", where=source.name) from error
    header = _header(cells[0] if cells else [], source.name)
    for number, row in enumerate(cells[1:], start=2):
        if any(cell is not None for cell in row):
            padded = [*row, *[None] * (len(header) - len(row))]
            yield f"{source.name}: row {number}", {key: cell for key, cell in zip(header, padded, strict=False) if key}


def _parquet(source: Source) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a parquet file, its pictures left out: of a column of the Hub's images only ``path`` is read."""
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise CimError(
            "parquet is read with pyarrow, which is not there", where=source.name, hint="pip install pyarrow"
        ) from error
    try:
        file = parquet.ParquetFile(io.BytesIO(source.content))
        _header(file.schema_arrow.names, source.name)
        leaves = [file.schema.column(number) for number in range(len(file.schema))]
        read = [leaf.path for leaf in leaves if not _picture(leaf)]
        unpacked, columns = 0, list[dict[str, Any]]()
        for batch in file.iter_batches(batch_size=1024, columns=read):  # one text may stand in the file for millions
            unpacked += batch.nbytes
            if unpacked > LARGEST:
                raise CimError(f"more than {LARGEST} bytes once unpacked", where=source.name, hint="split it")
            columns.extend(batch.to_pylist())
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise CimError(f"damaged parquet file ({error})", where=source.name) from error
    for number, row in enumerate(columns, start=1):
        yield f"{source.name}: row {number}", row


def _picture(leaf: Any) -> bool:
    """Does a column of a parquet file hold bytes that are not text?"""
    return leaf.physical_type in ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY") and leaf.logical_type.type not in TEXT_TYPES
