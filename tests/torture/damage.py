"""Damages of a file, each by a seeded draw: bytes, lines, values of JSON, and what is no file at all.

A row that is sealed keeps its checksum under the damages of bytes and lines, which it must give away. Damages of values
leave the checksum out half of the time: such a row passes for one of an older run, and only its form can be checked.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HUGE = 10**400
DEEP = "[" * 100_000


def _bit(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]


def _deleted(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content))
    return content[:at] + content[at + 1 :]


def _truncated(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(1, len(content))] if len(content) > 1 else b""


def _lines(content: bytes) -> list[bytes]:
    return content.split(b"\n")


def _doubled(content: bytes, draw: random.Random) -> bytes:
    lines = _lines(content)
    at = draw.randrange(max(1, len(lines) - 1))
    return b"\n".join([*lines[: at + 1], *lines[at:]])


def _swapped(content: bytes, draw: random.Random) -> bytes:
    lines = _lines(content)
    a, b = (draw.randrange(max(1, len(lines) - 1)) for _ in range(2))
    lines[a], lines[b] = lines[b], lines[a]
    return b"\n".join(lines)


def _line_removed(content: bytes, draw: random.Random) -> bytes:
    lines = _lines(content)
    del lines[draw.randrange(max(1, len(lines) - 1))]
    return b"\n".join(lines)


def _not_utf8(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content))
    return content[:at] + draw.choice((b"\xff", b"\xc3", b"\x00")) + content[at:]


BYTES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "a bit flipped": _bit,
    "a byte deleted": _deleted,
    "truncated": _truncated,
    "emptied": lambda _, __: b"",
    "a line doubled": _doubled,
    "two lines swapped": _swapped,
    "a line removed": _line_removed,
    "not UTF-8": _not_utf8,
}

OTHERS: tuple[Any, ...] = (None, True, 0, -1, 1.5, "", "x", [], {}, [None], {"x": None}, [[]], float("nan"), HUGE)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a JSON value with each of its keys or indexes."""
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        for key in keys:
            yield value, key
            yield from _places(value[key])


def _value(document: Any, draw: random.Random) -> str:
    inside, key = draw.choice(list(_places(document)))
    how = draw.choice(("type", "type", "type", "renamed", "removed", "deep"))
    if how == "deep":
        inside[key] = "\u0000deep"
    elif how == "type" or not isinstance(inside, dict):
        inside[key] = draw.choice([other for other in OTHERS if type(other) is not type(inside[key])])
    else:
        moved = inside.pop(key)
        if how == "renamed":
            inside[f"{key}_"] = moved
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).replace(
        '"\\u0000deep"', DEEP + "]" * len(DEEP)
    )


def values(content: bytes, draw: random.Random) -> tuple[bytes, bool] | None:
    """A value of a JSON file or of one of its rows, changed; and whether its checksum was left out. None: no JSON."""
    try:
        document = json.loads(content)
        if isinstance(document, dict | list) and document:
            return _value(document, draw).encode(), False
    except ValueError:
        pass
    lines = _lines(content)
    try:
        at = draw.randrange(max(1, len(lines) - 1))
        row = json.loads(lines[at])
        if not isinstance(row, dict):
            return None
    except (ValueError, RecursionError):
        return None
    unsealed = draw.random() < 0.5 and "crc" in row
    if unsealed:
        del row["crc"]
    lines[at] = _value(row, draw).encode()
    return b"\n".join(lines), unsealed


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "x").write_bytes(b"x")


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _file_for_folder(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_bytes(b"x")


def _folder_removed(path: Path) -> None:
    shutil.rmtree(path.parent)


PLACES: dict[str, Callable[[Path], object]] = {
    "a folder in its place": _folder,
    "a link to itself": _loop,
    "a pipe in its place": _pipe,
    "removed": Path.unlink,
    "a file in place of its folder": _file_for_folder,
    "its folder removed": _folder_removed,
}
VALUE = "a value changed"
KINDS = (*BYTES, VALUE, *PLACES)


def damage(path: Path, kind: str, draw: random.Random) -> tuple[bool, bool] | None:
    """Damage a file: whether another content may count (no checksum left), whether anything changed; None: no way."""
    if kind in PLACES:
        PLACES[kind](path)
        return False, True
    before = path.read_bytes()
    if kind == VALUE:
        changed = values(before, draw)
        if changed is None:
            return None
        path.write_bytes(changed[0])
        return changed[1], changed[0] != before
    if not before:
        return None
    after = BYTES[kind](before, draw)
    path.write_bytes(after)
    return False, after != before
