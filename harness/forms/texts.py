"""Captions or references by id, read and checked from a file, a folder of texts or standard input.

The forms are told apart by content: ``entries.py`` reads JSON lines and whole JSON documents, ``tables.py`` CSV, TSV,
parquet and xlsx, ``sources.py`` the bytes. Keys are named or guessed (``keys.py``).
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import CimError
from harness.forms import entries, sources
from harness.forms.entries import Entry
from harness.forms.keys import ABSENT, CAPTIONS, REFERENCES, Keys, Kind, Named, guess, is_file, is_name, strings, value
from harness.lines import Lines, Numbers, Spool, is_large

if TYPE_CHECKING:
    from harness.lines import Ints

__all__ = ["CAPTIONS", "LONGEST", "REFERENCES", "Form", "Kind", "Row", "Texts", "read"]

LONGEST = 100_000  # characters of a text; DOCCI's longest reference has 1,900
RATINGS = ("rating", "ratings", "score", "human_rating")


@dataclass(frozen=True, slots=True)
class Form:
    """What a file was read as; keys are empty where texts stand under their ids. ``note`` says what else was done."""

    name: str
    id_key: str = ""
    text_key: str = ""
    system_key: str = ""
    kind: str = "caption"
    note: str = ""

    @property
    def plain(self) -> bool:
        """Is it what needs no explanation?"""
        return str(self) == "JSON lines, ids under 'sample_id', captions under 'caption'"

    def __str__(self) -> str:
        keys = {"ids": self.id_key, f"{self.kind}s": self.text_key, "systems": self.system_key}
        under = "".join(f", {what} under {key!r}" for what, key in keys.items() if key)
        return f"{self.name}{under}{f'; {self.note}' if self.note else ''}"


@dataclass(frozen=True, slots=True)
class Row:
    """The texts of one id and where they stand; ``system`` wrote them, ``image`` is the file that the row names."""

    where: str
    id: str
    texts: tuple[str, ...]
    system: str = ""
    image: str = ""


@dataclass(frozen=True, slots=True)
class Texts:
    """A file's rows in its order, what it was read as, and the sha256 of its bytes (a folder's: of names and bytes).

    ``hashes`` (n,) are those of the ids of rows that stay on the disk, where each has one text and an id of its own.
    """

    form: Form
    sha256: str
    rows: Sequence[Row]
    hashes: Ints | None = field(default=None, compare=False)


def read(
    path: Path, kind: Kind, id_key: str | None = None, text_key: str | None = None, system_key: str | None = None
) -> Texts:
    """Read and check a file, a folder of .txt files, or standard input (``-``); read once while it does not change.

    Rows of captions are as they stand in the file; references of one id are brought together.

    Args:
        id_key: where ids stand; ``text_key`` texts; ``system_key`` who wrote them. Guessed if None. ``text_key`` may
            name several keys with commas: of captions each is a system, references are joined.

    Raises:
        CimError: not there, not UTF-8, not of a form that is read, a missing or non-text field, a text over
            ``LONGEST`` characters, no row at all; names file and line.
    """
    try:
        state = sources.state(path, kind.name)
        return _read(path, kind, Named(id_key, text_key, system_key), state)
    except OSError as error:
        where = sources.name(Path(error.filename or path))  # of a folder the file in it
        raise CimError(f"{kind.name}s file cannot be read ({error.strerror})", where=where) from error


@functools.lru_cache(maxsize=8)
def _read(path: Path, kind: Kind, named: Named, _state: object) -> Texts:
    if is_large(path) and (streamed := _stream(path, kind, named)):
        return streamed
    source = sources.read(path)
    form_name, listing = entries.of(source, kind, named)
    if not listing:
        raise CimError(f"{kind.name}s file has no rows", where=source.name, hint=kind.example)
    first = listing[0]
    keys = guess(first.content, kind, named, outside=first.id is not ABSENT)
    keys = keys if named.system or _tells_apart(listing, keys.system) else replace(keys, system="")
    rows = [row for entry in listing for row in _rows(entry, kind, keys)]
    if keys.by_column and (absent := {*keys.texts}.difference(row.system for row in rows)):
        hint = f"its keys: {_shown(first.content)}; name them: {kind.options}"
        raise CimError(f"no row has a {kind.name} under {min(absent)!r}", where=source.name, hint=hint)
    shown = keys if isinstance(first.content, dict) else Keys("", ("",))
    note = _note(listing, rows, keys) if kind is CAPTIONS else ""
    form = Form(form_name, shown.id, ", ".join(shown.texts), shown.system, kind.name, note)
    return Texts(form, source.sha256, tuple(_joined(rows) if kind is REFERENCES else rows))


def _stream(path: Path, kind: Kind, named: Named) -> Texts | None:
    """A large file of JSON lines with one text or list of texts per row, which stays on the disk; None of others."""
    unchanged, placed = sources.Unchanged(path), entries.lines_of(path, kind)
    if (first := next(placed, None)) is None or entries.is_by_id(first[2].content, kind, named):
        return None
    keys = guess(first[2].content, kind, named, outside=False)
    if keys.by_column:
        return None
    starts, sizes, hashes, systems, ratings, texts = Numbers(), Numbers(), Numbers(), set[str | None](), 0, 0
    unnamed = replace(keys, system=named.system or "")
    for start, size, entry in itertools.chain([first], placed):
        for row in _rows(entry, kind, unnamed):
            starts.add(start)
            sizes.add(size)
            hashes.add(hash(row.id))
            texts += len(row.texts)
        name = value(entry.content, keys.system) if keys.system else ABSENT
        systems.add(str(name) if is_name(name) else None)
        ratings += _ratings(entry, keys)
    keys = keys if named.system or (len(systems) > 1 and None not in systems) else unnamed
    where = sources.name(path)

    def parse(line: bytes) -> Row:
        unchanged()
        return next(_rows(Entry(where, json.loads(line)), kind, keys))

    rows = Lines(unchanged.file, starts.array(), sizes.array().astype(np.int32), parse)
    note = f"{ratings} ratings of {texts} captions" if ratings else ""
    form = Form("JSON lines", keys.id, ", ".join(keys.texts), keys.system, kind.name, note)
    ids = hashes.array()
    plain = len(np.unique(ids)) == len(rows) == texts
    listing = _gathered(rows, ids) if kind is REFERENCES else rows
    sha256 = sources.digest(path)
    unchanged.named()
    return Texts(form, sha256, listing, ids if plain else None)


def _gathered(rows: Lines[Row], hashes: Ints) -> Sequence[Row]:
    """As ``_joined``, of rows on the disk."""
    known, first, of_row, counts = np.unique(hashes, return_index=True, return_inverse=True, return_counts=True)
    if len(known) == len(rows):
        return rows
    grouped, ends, spool = np.argsort(of_row, kind="stable"), np.cumsum(counts), Spool()
    for group in np.argsort(first):
        (row,) = _joined(list(rows.picked(grouped[ends[group] - counts[group] : ends[group]])))
        spool.add(row.id, json.dumps([row.where, row.id, row.texts, "", row.image]).encode())
    return spool.index(_spooled, lambda row: row.id).lines


def _spooled(line: bytes) -> Row:
    where, row_id, texts, system, image = json.loads(line)
    return Row(where, row_id, tuple(texts), system, image)


def _note(listing: list[Entry], rows: list[Row], keys: Keys) -> str:
    ratings = sum(_ratings(entry, keys) for entry in listing)
    return f"{ratings} ratings of {sum(len(row.texts) for row in rows)} captions" if ratings else ""


def _tells_apart(listing: list[Entry], key: str) -> bool:
    """Does every row name a system under this key, and is it more than one?"""
    names = [value(entry.content, key) if key else ABSENT for entry in listing]
    return all(map(is_name, names)) and len({*map(str, names)}) > 1


def _rows(entry: Entry, kind: Kind, keys: Keys) -> Iterator[Row]:
    """The rows of an entry: one, or one per system where each has a column."""
    content, where = entry.content, entry.where
    row_id = _id(_field(entry, keys.id, kind) if entry.id is ABSENT else entry.id, keys.id or "id", where, kind)
    if not isinstance(content, dict):
        yield Row(where, row_id, tuple(_texts(content, kind.name, where, kind)))
        return
    there = [key for key in keys.texts if not keys.by_column or value(content, key) not in (None, ABSENT)]
    texts = {key: _texts(_field(entry, key, kind), key, where, kind) for key in there or keys.texts}
    system = _id(_field(entry, keys.system, kind), keys.system, where, kind) if keys.system else ""
    image = value(content, keys.image) if is_file(value(content, keys.image)) else ""
    if keys.by_column:
        yield from (Row(where, row_id, tuple(text), key, image) for key, text in texts.items())
    else:
        yield Row(where, row_id, tuple(text for key in keys.texts for text in texts[key]), system, image)


def _joined(rows: list[Row]) -> Iterator[Row]:
    """One row per id, with the texts of all its rows; place and image are those of the first."""
    first, texts = dict[str, Row](), dict[str, list[str]]()
    for row in rows:
        first.setdefault(row.id, row)
        texts.setdefault(row.id, []).extend(row.texts)
    return (Row(row.where, row.id, tuple(texts[row.id]), "", row.image) for row in first.values())


def _field(entry: Entry, key: str, kind: Kind) -> Any:
    if (field := value(entry.content, key)) is ABSENT:
        there = _shown(entry.content)
        hint = f"its keys: {there}; name them: {kind.options}" if there else kind.example
        raise CimError(f"no {key!r} in this row", where=entry.where, hint=hint)
    return field


def _shown(row: dict[str, Any]) -> str:
    return ", ".join(map(str, row))[:80]


def _texts(field: Any, key: str, where: str, kind: Kind) -> list[str]:
    if kind is REFERENCES and isinstance(field, str):
        field = entries.listed(field)
    if field == []:
        raise CimError(f"no {kind.name} in this row ({key} is an empty list)", where=where)
    texts = [_text(text, key, where, kind) for text in strings(field) or [field]]
    for text in texts:
        if len(text) > LONGEST:
            hint = f"a {kind.name} has at most {LONGEST} characters; is this one {kind.name}?"
            raise CimError(f"{kind.name} of {len(text)} characters", where=where, hint=hint)
    return list(dict.fromkeys(texts)) if _rated(field) else texts


def _rated(field: Any) -> bool:
    """Is it a list of captions with a rating each, where one caption stands as often as it was rated?"""
    return isinstance(field, list) and all(isinstance(text, dict) and text.keys() & RATINGS for text in field)


def _ratings(entry: Entry, keys: Keys) -> int:
    fields = [value(entry.content, key) for key in keys.texts] if isinstance(entry.content, dict) else [entry.content]
    return sum(len(field) for field in fields if isinstance(field, list) and _rated(field))


def _id(name: Any, key: str, where: str, kind: Kind) -> str:
    return str(name) if type(name) is int else _text(name, key, where, kind)


def _text(text: Any, key: str, where: str, kind: Kind) -> str:
    if not isinstance(text, str):
        shown = json.dumps(text, default=str)[:40]
        raise CimError(f"{key} must be a text in quotes, found {shown}", where=where, hint=kind.example)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CimError(f"{key} holds half of a surrogate pair at character {error.start + 1}", where=where) from error
    return text
