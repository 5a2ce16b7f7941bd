"""A captions file is the model: JSON lines with ``sample_id`` and ``caption``, further keys ignored.

The whole file is checked before anything is written, because a file with one bad row is a file its
owner wants to know about. Run with ``cim eval --model my_captions.jsonl``.
"""

from __future__ import annotations

import functools
import hashlib
import json
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import CimError
from harness.parts import Engine
from harness.types import Completion, Model, Request

FORM = 'one JSON object a line: {"sample_id": "...", "caption": "..."}'
LONGEST = 100_000  # characters; DOCCI's longest reference has 1,900


@dataclass(frozen=True, slots=True)
class CaptionsFile:
    """Captions by sample id, in file order, and the sha256 of the file's bytes."""

    sha256: str
    captions: dict[str, str]


def read(path: Path) -> CaptionsFile:
    """Read and check a captions file; one that has not changed is read once a process.

    Raises:
        CimError: not there, not UTF-8, not JSON lines, a missing or non-text field, a repeated id,
            a caption over ``LONGEST`` characters, no row at all; names file and line.
    """
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise CimError("captions file is no regular file", where=str(path), hint=FORM)
        return _read(path, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise CimError(f"captions file cannot be read ({error.strerror})", where=str(path)) from error


@functools.lru_cache(maxsize=8)
def _read(path: Path, _changed: int, _size: int) -> CaptionsFile:
    content = path.read_bytes()
    if content.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
        raise CimError("a JSON array, not JSON lines", where=f"{path}:1", hint=FORM)
    captions: dict[str, str] = {}
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        sample_id, caption = _row(line, where=f"{path}:{number}", last=number == len(lines))
        if sample_id in captions:
            hint = "keep one caption a sample"
            raise CimError(f"sample_id {sample_id!r} stands a second time", where=f"{path}:{number}", hint=hint)
        captions[sample_id] = caption
    if not captions:
        raise CimError("captions file has no rows", where=str(path), hint=FORM)
    return CaptionsFile(hashlib.sha256(content).hexdigest(), captions)


def _row(line: bytes, *, where: str, last: bool) -> tuple[str, str]:
    try:
        row = json.loads(line.decode("utf-8"), object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise CimError(
            f"invalid UTF-8 at byte {error.start + 1}", where=where, hint="save the file as UTF-8"
        ) from error
    except json.JSONDecodeError as error:
        cut = "the last line is cut off or " if last else ""
        raise CimError(f"{cut}not JSON ({error.msg}, column {error.colno})", where=where, hint=FORM) from error
    except RecursionError as error:
        raise CimError("JSON nested too deeply", where=where, hint=FORM) from error
    except ValueError as error:  # a number of more digits than Python reads, or a key that stands twice
        raise CimError(f"not usable JSON ({error})", where=where, hint=FORM) from error
    if not isinstance(row, dict):
        raise CimError(f"a JSON {type(row).__name__}, not an object", where=where, hint=FORM)
    return _text(row, "sample_id", where), _caption(row, where)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; duplicate keys are rejected, because it is ambiguous which caption was meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _text(row: dict[str, Any], key: str, where: str) -> str:
    if key not in row:
        raise CimError(f"no {key!r} in this row", where=where, hint=FORM)
    value = row[key]
    if not isinstance(value, str):
        shown = json.dumps(value)[:40]
        raise CimError(f"{key} must be a text in quotes, found {shown}", where=where, hint=FORM)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise CimError(f"{key} holds half of a surrogate pair at character {error.start + 1}", where=where) from error
    return value


def _caption(row: dict[str, Any], where: str) -> str:
    caption = _text(row, "caption", where)
    if len(caption) > LONGEST:
        hint = f"a caption has at most {LONGEST} characters; is this one caption?"
        raise CimError(f"caption of {len(caption)} characters", where=where, hint=hint)
    return caption


def _file(model: Model) -> CaptionsFile:
    assert model.source is not None
    return read(model.source)


def _known(model: Model) -> frozenset[str]:
    return frozenset(_file(model).captions)


def _generate(model: Model, requests: Sequence[Request]) -> Iterator[Completion]:
    captions = _file(model).captions
    for request in requests:
        yield Completion(request.sample_id, captions[request.sample_id])


ENGINE = Engine(name="captions", generate=_generate, known=_known)
