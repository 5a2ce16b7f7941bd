"""A captions file is the model: captions by sample id, in any form of ``_forms.py``, further keys ignored.

The whole file is checked before anything is written, because a file with one bad row is a file its
owner wants to know about. Ids that are not the task's own are matched by ``runs/ids.py``. Run with
``cim eval --model my_captions.jsonl``.
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

from harness.engines import _forms
from harness.engines._forms import Form
from harness.errors import CimError
from harness.parts import Engine
from harness.types import Completion, Model, Request

LONGEST = 100_000  # characters; DOCCI's longest reference has 1,900
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".gz")


@dataclass(frozen=True, slots=True)
class CaptionsFile:
    """Captions by id, in file order, the sha256 of the file's bytes, and what it was read as."""

    sha256: str
    captions: dict[str, str]
    form: Form


def read(path: Path, id_key: str | None = None, caption_key: str | None = None) -> CaptionsFile:
    """Read and check a captions file; one that has not changed is read once a process.

    Args:
        id_key: where ids stand, and ``caption_key`` captions; guessed if None.

    Raises:
        CimError: not there, not UTF-8, not of a form that is read, a missing or non-text field, a repeated id,
            a caption over ``LONGEST`` characters, no row at all; names file and line.
    """
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise CimError("captions file is no regular file", where=str(path), hint=_forms.LINE)
        return _read(path, id_key, caption_key, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise CimError(f"captions file cannot be read ({error.strerror})", where=str(path)) from error


@functools.lru_cache(maxsize=8)
def _read(path: Path, id_key: str | None, caption_key: str | None, _changed: int, _size: int) -> CaptionsFile:
    content = path.read_bytes()
    form, rows = _forms.rows(content, path, id_key, caption_key)
    captions: dict[str, str] = {}
    for row in rows:
        sample_id = str(row.id) if type(row.id) is int else _text(row.id, form.id_key or "id", row.where)
        if sample_id in captions:
            hint = "keep one caption a sample"
            raise CimError(f"{form.id_key or 'id'} {sample_id!r} stands a second time", where=row.where, hint=hint)
        captions[sample_id] = _caption(row.caption, form.caption_key or "caption", row.where)
    if not captions:
        raise CimError("captions file has no rows", where=str(path), hint=_forms.LINE)
    return CaptionsFile(hashlib.sha256(content).hexdigest(), captions, form)


def _text(value: Any, key: str, where: str) -> str:
    if not isinstance(value, str):
        shown = json.dumps(value)[:40]
        raise CimError(f"{key} must be a text in quotes, found {shown}", where=where, hint=_forms.LINE)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise CimError(f"{key} holds half of a surrogate pair at character {error.start + 1}", where=where) from error
    return value


def _caption(value: Any, key: str, where: str) -> str:
    caption = _text(value, key, where)
    if len(caption) > LONGEST:
        hint = f"a caption has at most {LONGEST} characters; is this one caption?"
        raise CimError(f"caption of {len(caption)} characters", where=where, hint=hint)
    return caption


def _file(model: Model) -> CaptionsFile:
    assert model.source is not None
    keys = (model.settings.get(name) for name in ("id_key", "caption_key"))
    return read(model.source, *keys)


def _known(model: Model) -> frozenset[str]:
    return frozenset(_file(model).captions)


def _generate(model: Model, requests: Sequence[Request]) -> Iterator[Completion]:
    captions = _file(model).captions
    for request in requests:
        yield Completion(request.sample_id, captions[model.file_ids.get(request.sample_id, request.sample_id)])


def reading(model: Model) -> str:
    """What a captions file was read as, and how its ids were matched; empty where nothing had to be guessed."""
    if model.engine != "captions":
        return ""
    form, rule = _file(model).form, model.settings.get("ids_matched")
    if form.plain and not rule:
        return ""
    keys = "; other keys: --id-key, --caption-key" if form.id_key and not model.settings.get("id_key") else ""
    return f"{model.source}: read as {form}{f'; ids matched {rule}' if rule else ''}{keys}"


ENGINE = Engine(name="captions", generate=_generate, known=_known)
