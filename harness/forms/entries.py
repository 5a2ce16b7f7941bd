"""The entries of a file, whatever its form: JSON lines, a JSON document of many shapes, a table, a folder of texts.

Shapes of JSON documents: an array of rows (COCO's results); an object, or an array of objects with one key each, of
texts by id (``{id: text}``, ``{id: [texts]}``, ``{id: {...}}``); rows under ``data`` and the like; COCO's annotations
(``images`` and ``annotations``, cocodataset/cocoapi:PythonAPI/pycocotools/coco.py); Karpathy's splits (``images`` with
``sentences``).
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from harness.errors import CimError
from harness.forms import sources, tables
from harness.forms.keys import ABSENT, IDS, ROW_NUMBERS, Kind, Named, strings, value
from harness.forms.sources import Source, decoded

BOM = b"\xef\xbb\xbf"
LONGEST_LIST = 1_000_000  # characters
WRAPPERS = ("data", "results", "annotations", "predictions", "samples", "rows")


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands at one place of a file: a row with keys, or texts; ``id`` where that stands outside."""

    where: str
    content: Any
    id: Any = ABSENT


def of(source: Source, kind: Kind, named: Named) -> tuple[str, list[Entry]]:
    """The form of a file and its entries, in file order.

    Raises:
        CimError: not UTF-8, of no form that is read, damaged; names file and line or entry.
    """
    if source.files is not None:
        files = {name: decoded(content, f"{source.name}/{name}") for name, content in source.files.items()}
        texts = (
            Entry(f"{source.name}/{name}", text.strip("\ufeff\r\n"), PurePath(name).stem)
            for name, text in files.items()
        )
        return "folder of texts", list(texts)
    if form := tables.form(source):
        return form, [Entry(where, row) for where, row in tables.rows(source, form)]
    start = source.content.lstrip()[:1]
    if start == b"[":
        return _array(_json(source.content, source.name), source.name, kind, named)
    if start == b"{" and (whole := _document(source, kind)) is not None:
        return _object(whole, source, kind, named)
    return _lines(source, kind, named)


def lines_of(path: Path, kind: Kind) -> Iterator[tuple[int, int, Entry]]:
    """Where each object of a file of JSON lines begins, its bytes, and the object; none of a file of another form.

    Raises:
        CimError: as ``of``.
    """
    with path.open("rb") as file:
        start, first = 0, True
        for number, line in enumerate(file, start=1):
            size, text, begin = len(line), line.strip(b" \t\r\n"), start
            start += size
            if number == 1:
                sources.refuse_other_format(line, str(path))
                begin, text = begin + len(line) - len(line.removeprefix(BOM)), text.removeprefix(BOM)
            if not text:
                continue
            if first and (not _is_object(text) or not file.peek(1)):
                return
            first, where = False, f"{path}:{number}"
            entry = _checked(Entry(where, _row(text, where, kind, last=not line.endswith(b"\n"))), kind)
            yield begin, start - begin, entry


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def listed(text: str) -> Any:
    """A list that was written as text, by JSON or by Python, as lmms-eval does with targets; else the text itself.

    EvolvingLMMs-Lab/lmms-eval:lmms_eval/loggers/evaluation_tracker.py@75571cfe (``str(sample["target"])``);
    open-compass/VLMEvalKit:vlmeval/dataset/image_caption.py@e8e78f05 evaluates ``line['answer']``. Literals only.
    """
    if not (text.startswith("[") and text.endswith("]") and len(text) <= LONGEST_LIST):
        return text
    for parsed in (json.loads, ast.literal_eval):
        try:
            texts = parsed(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        if isinstance(texts, list) and texts and all(isinstance(part, str) for part in texts):
            return texts
    return text


def _document(source: Source, kind: Kind) -> Any:
    """A JSON object that is the whole file, or None where each line is one (or was meant to be)."""
    lines = source.content.lstrip().split(b"\n", 1)
    alone = len(lines) == 1 or not lines[1].strip()
    first = _is_object(lines[0])
    if (first and not alone) or (not first and (alone or source.suffix == ".jsonl")):
        return None
    return _row(lines[0], f"{source.name}:1", kind, last=True) if alone else _json(source.content, source.name)


def _object(whole: dict[str, Any], source: Source, kind: Kind, named: Named) -> tuple[str, list[Entry]]:
    images, annotations = (_list(whole, key) for key in ("images", "annotations"))
    if _has(images, "sentences"):
        return "Karpathy's split", _rows(images, source.name, "image", kind)
    if _has(annotations, "image_id", "caption"):
        files = {str(value(image, "id")): value(image, "file_name") for image in images}
        rows = _rows(annotations, source.name, "annotation", kind)
        named_files = [files.get(str(row.content.get("image_id")), "") for row in rows]
        return "COCO annotations", [
            replace(row, content={**row.content, "file_name": file})
            for row, file in zip(rows, named_files, strict=True)
        ]
    if is_by_id(whole, kind, named):
        return f"{kind.name}s by id", [Entry(f"{source.name}: {name!r}", text, name) for name, text in whole.items()]
    if not whole.keys() & {*IDS}:
        for key in WRAPPERS:
            if isinstance(whole.get(key), list):
                form, entries = _array(whole[key], source.name, kind, named)
                return f"{form} under {key!r}", entries
    return "JSON lines" if b"\n" not in source.content.strip() else "JSON object", [Entry(f"{source.name}:1", whole)]


def _array(rows: list[Any], where: str, kind: Kind, named: Named) -> tuple[str, list[Entry]]:
    if rows and all(isinstance(row, dict) and len(row) == 1 and is_by_id(row, kind, named) for row in rows):
        return f"array of {kind.name}s by id", _outside(_rows(rows, where, "entry", kind))
    return "JSON array", _rows(rows, where, "entry", kind)


def _lines(source: Source, kind: Kind, named: Named) -> tuple[str, list[Entry]]:
    lines = source.content.split(b"\n")
    placed = [(f"{source.name}:{number}", line, number) for number, line in enumerate(lines, start=1) if line.strip()]
    entries = [
        _checked(Entry(where, _row(line, where, kind, last=number == len(lines))), kind)
        for where, line, number in placed
    ]
    if entries and all(len(entry.content) == 1 and is_by_id(entry.content, kind, named) for entry in entries):
        return f"lines of {kind.name}s by id", _outside(entries)
    return "JSON lines", entries


def _rows(rows: list[Any], where: str, what: str, kind: Kind) -> list[Entry]:
    """The objects of a list as entries; CimError for one that is no object."""
    return [_checked(Entry(f"{where}: {what} {number}", row), kind) for number, row in enumerate(rows, start=1)]


def _outside(entries: list[Entry]) -> list[Entry]:
    """Objects with one key each as entries whose id that key is."""
    return [Entry(entry.where, text, name) for entry in entries for name, text in entry.content.items()]


def is_by_id(content: dict[str, Any], kind: Kind, named: Named) -> bool:
    """Is every entry of an object a text, texts or an object with texts under its id, and none a usual key of a row?"""
    if not content or named.id or content.keys() & {*IDS, *ROW_NUMBERS, *kind.texts}:
        return False
    texts = list(content.values())
    if all(isinstance(text, dict) for text in texts):
        return any(strings(value(texts[0], key)) for key in (named.texts or "").split(",") + list(kind.texts))
    return all(strings(text) and all(isinstance(part, str) for part in strings(text)) for text in texts)


def _list(whole: dict[str, Any], key: str) -> list[Any]:
    return whole[key] if isinstance(whole.get(key), list) else []


def _has(rows: list[Any], *keys: str) -> bool:
    return bool(rows) and isinstance(rows[0], dict) and all(key in rows[0] for key in keys)


def _checked(entry: Entry, kind: Kind) -> Entry:
    if not isinstance(entry.content, dict):
        what = f"a JSON {type(entry.content).__name__}, not an object"
        raise CimError(what, where=entry.where, hint=kind.example)
    return entry


def _json(content: bytes, where: str) -> Any:
    try:
        return json.loads(decoded(content, where), object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise CimError(f"not JSON ({error.msg}, column {error.colno})", where=f"{where}:{error.lineno}") from error
    except RecursionError as error:
        raise CimError("JSON nested too deeply", where=where) from error
    except ValueError as error:  # a number of more digits than Python reads, or a key that stands twice
        raise CimError(f"not usable JSON ({error})", where=where) from error


def _row(line: bytes, where: str, kind: Kind, *, last: bool) -> Any:
    try:
        return json.loads(decoded(line, where), object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        cut = "the last line is cut off or " if last else ""
        raise CimError(f"{cut}not JSON ({error.msg}, column {error.colno})", where=where, hint=kind.example) from error
    except RecursionError as error:
        raise CimError("JSON nested too deeply", where=where, hint=kind.example) from error
    except ValueError as error:
        raise CimError(f"not usable JSON ({error})", where=where, hint=kind.example) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; duplicate keys are rejected, because it is ambiguous which text was meant."""
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = next(key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number]))
        raise ValueError(f"a key stands twice in one object: {twice[:40]!r}")
    return content
