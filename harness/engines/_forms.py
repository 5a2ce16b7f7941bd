"""Captions in the forms that people have them in, told apart by content: rows with the place each was read from.

JSON lines; a JSON array of objects (COCO's results among them); an array of objects with one entry each, or one
object, of captions by id; CSV and TSV with a header; each also compressed by gzip. Keys may be paths with dots, as in
the output of OpenAI's Batch API.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import CimError

LINE = 'one JSON object a line: {"sample_id": "...", "caption": "..."}'
LARGEST = 1 << 30  # bytes that a compressed file may hold
IDS = (
    "sample_id",
    "image_id",
    "id",
    "img_id",
    "image",
    "image_path",
    "file_name",
    "filename",
    "image_name",
    "custom_id",
)
CAPTIONS = (
    "caption",
    "prediction",
    "pred",
    "generated_text",
    "text",
    "answer",
    "output",
    "response",
    "completion",
    "response.body.choices.0.message.content",
)


@dataclass(frozen=True, slots=True)
class Row:
    """An id and a caption as they stand in a file, not yet checked, and where."""

    where: str
    id: Any
    caption: Any


@dataclass(frozen=True, slots=True)
class Form:
    """What a file was read as; the keys of ids and captions are empty where captions stand under their ids."""

    name: str
    id_key: str = ""
    caption_key: str = ""

    @property
    def plain(self) -> bool:
        """Is it what needs no explanation?"""
        return (self.name, self.id_key, self.caption_key) == ("JSON lines", "sample_id", "caption")

    def __str__(self) -> str:
        keys = f", ids under {self.id_key!r}, captions under {self.caption_key!r}" if self.id_key else ""
        return self.name + keys


def rows(content: bytes, path: Path, id_key: str | None, caption_key: str | None) -> tuple[Form, Iterator[Row]]:
    """The rows of a captions file; keys that are None are guessed from its first row.

    Raises:
        CimError: not UTF-8, not of any form, damaged; names file and line or entry. Also from the iterator.
    """
    content = _unpacked(content, path).removeprefix(b"\xef\xbb\xbf")
    start = content.lstrip()[:4]
    if start == b"PAR1":
        raise CimError("a parquet file", where=str(path), hint="save it as CSV or JSON lines")
    if start.startswith(b"["):
        return _array(_json(content, path), path, id_key, caption_key)
    if start.startswith(b"{"):
        whole = _object(content)
        if whole is not None and _captions_by_id(whole):
            return Form("captions by id"), (
                Row(f"{path}: {name!r}", name, _single(text)) for name, text in whole.items()
            )
    elif path.suffixes and path.suffixes[-1 - (path.suffix == ".gz")].lower() in (".csv", ".tsv"):
        return _table(content, path, id_key, caption_key)
    return _lines(content, path, id_key, caption_key)


def _unpacked(content: bytes, path: Path) -> bytes:
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        with gzip.open(io.BytesIO(content)) as stream:
            plain = stream.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise CimError(f"damaged gzip file ({error})", where=str(path)) from error
    if len(plain) > LARGEST:
        raise CimError(f"more than {LARGEST} bytes once unpacked", where=str(path), hint="unpack and split it")
    return plain


def _lines(content: bytes, path: Path, id_key: str | None, caption_key: str | None) -> tuple[Form, Iterator[Row]]:
    lines = [(number, line) for number, line in enumerate(content.split(b"\n"), start=1) if line.strip()]
    last = len(content.split(b"\n"))

    def objects() -> Iterator[tuple[str, dict[str, Any]]]:
        for number, line in lines:
            where = f"{path}:{number}"
            yield where, _checked(_row(line, where, last=number == last), where)

    first = (_object(lines[0][1]) if lines else None) or {}
    keys = _keys(first, id_key, caption_key)
    return Form("JSON lines", *keys), (
        Row(where, value(row, keys[0]), value(row, keys[1])) for where, row in _with(objects(), keys)
    )


def _with(objects: Iterator[tuple[str, dict[str, Any]]], keys: tuple[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows as they come; CimError for one that lacks a key."""
    for where, row in objects:
        for key in keys:
            if value(row, key) is ABSENT:
                hint = f"its keys: {', '.join(map(str, row))[:80]}; name them: --id-key, --caption-key" if row else LINE
                raise CimError(f"no {key!r} in this row", where=where, hint=hint)
        yield where, row


def _array(entries: Any, path: Path, id_key: str | None, caption_key: str | None) -> tuple[Form, Iterator[Row]]:
    placed = [(f"{path}: entry {number}", entry) for number, entry in enumerate(entries, start=1)]
    if placed and all(isinstance(entry, dict) and len(entry) == 1 and _captions_by_id(entry) for _, entry in placed):
        pairs = ((where, *next(iter(entry.items()))) for where, entry in placed)
        return Form("array of captions by id"), (Row(where, name, _single(text)) for where, name, text in pairs)
    first = placed[0][1] if placed and isinstance(placed[0][1], dict) else {}
    keys = _keys(first, id_key, caption_key)
    objects = ((where, _checked(entry, where)) for where, entry in placed)
    return Form("JSON array", *keys), (
        Row(where, value(row, keys[0]), value(row, keys[1])) for where, row in _with(objects, keys)
    )


def _table(content: bytes, path: Path, id_key: str | None, caption_key: str | None) -> tuple[Form, Iterator[Row]]:
    text = _decoded(content, str(path))
    tab = "\t" in text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if tab else ",", strict=True)

    def objects() -> Iterator[tuple[str, dict[str, Any]]]:
        try:
            for row in reader:
                where = f"{path}:{reader.line_num}"
                if None in row or None in row.values():
                    raise CimError(
                        "another number of columns than the header", where=where, hint="quote texts with commas"
                    )
                yield where, row
        except csv.Error as error:
            raise CimError(f"not a table ({error})", where=f"{path}:{reader.line_num}") from error

    try:
        header = dict.fromkeys(reader.fieldnames or (), "")
    except csv.Error as error:
        raise CimError(f"not a table ({error})", where=f"{path}:1") from error
    keys = _keys(header, id_key, caption_key)
    return Form("TSV" if tab else "CSV", *keys), (
        Row(where, value(row, keys[0]), value(row, keys[1])) for where, row in _with(objects(), keys)
    )


def _keys(first: dict[str, Any], id_key: str | None, caption_key: str | None) -> tuple[str, str]:
    """The keys that were named, else the first usual ones that a row has, of those with a text if there are some."""

    def guess(names: Sequence[str]) -> str:
        there = [name for name in names if value(first, name) is not ABSENT]
        return next((name for name in there if isinstance(value(first, name), str)), [*there, names[0]][0])

    return id_key or guess(IDS), caption_key or guess(CAPTIONS)


ABSENT = object()


def value(row: Any, key: str) -> Any:
    """What stands under a key, or under a path of keys and numbers with dots; ``ABSENT`` where nothing does."""
    if isinstance(row, dict) and key in row:
        return row[key]
    for part in key.split(".") if "." in key else ("",):
        if isinstance(row, dict) and part in row:
            row = row[part]
        elif isinstance(row, list) and part.isdecimal() and int(part) < len(row):
            row = row[int(part)]
        else:
            return ABSENT
    return row


def _captions_by_id(content: dict[str, Any]) -> bool:
    """Is every entry of an object a caption under its id, and none a usual key of a row?"""
    texts = all(isinstance(_single(text), str) for text in content.values())
    return bool(content) and texts and not {*IDS, *CAPTIONS} & content.keys()


def _single(text: Any) -> Any:
    return text[0] if isinstance(text, list) and len(text) == 1 else text


def _checked(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise CimError(f"a JSON {type(row).__name__}, not an object", where=where, hint=LINE)
    return row


def _object(content: bytes) -> dict[str, Any] | None:
    """A JSON object without doubled keys, or None where it is none."""
    try:
        whole = json.loads(content, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None
    return whole if isinstance(whole, dict) else None


def _json(content: bytes, path: Path) -> Any:
    try:
        return json.loads(_decoded(content, str(path)), object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise CimError(f"not JSON ({error.msg}, column {error.colno})", where=f"{path}:{error.lineno}") from error
    except (ValueError, RecursionError) as error:
        raise CimError(f"not usable JSON ({error})", where=str(path)) from error


def _row(line: bytes, where: str, *, last: bool) -> Any:
    try:
        return json.loads(_decoded(line, where), object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        cut = "the last line is cut off or " if last else ""
        raise CimError(f"{cut}not JSON ({error.msg}, column {error.colno})", where=where, hint=LINE) from error
    except RecursionError as error:
        raise CimError("JSON nested too deeply", where=where, hint=LINE) from error
    except ValueError as error:  # a number of more digits than Python reads, or a key that stands twice
        raise CimError(f"not usable JSON ({error})", where=where, hint=LINE) from error


def _decoded(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        hint = "save the file as UTF-8"
        raise CimError(f"invalid UTF-8 at byte {error.start + 1}", where=where, hint=hint) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; duplicate keys are rejected, because it is ambiguous which caption was meant."""
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return content
