"""A captions file is the model: captions by sample id, in any form that ``harness/forms`` reads, further keys ignored.

The whole file is checked before anything is written, because a file with one bad row is a file its
owner wants to know about. Ids that are not the task's own are matched by ``forms/ids.py``. Run with
``cim eval --model my_captions.jsonl``.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np

from harness.errors import CimError
from harness.forms import sources, texts
from harness.forms.texts import Form, Row
from harness.lines import Index, Lines, Numbers, Spool, picked
from harness.parts import Engine
from harness.types import Completion, Model, Request

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".gz", ".parquet", ".xlsx")
KEYS = ("id_key", "caption_key", "system_key")
FEW = 5  # names of systems that are printed


@dataclass(frozen=True, slots=True)
class System:
    """What one system wrote: captions by caption id, in file order.

    Where an image ``x`` has several, their ids are ``x#1``, ``x#2`` ... in file order. ``repeated`` is the first such
    image, and where its second caption stands.
    """

    captions: Mapping[str, str]
    repeated: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class CaptionsFile:
    """The systems of a file by name (``""`` where it has one), the sha256 of its bytes, what it was read as."""

    sha256: str
    form: Form
    systems: Mapping[str, System]


def read(
    path: Path, id_key: str | None = None, caption_key: str | None = None, system_key: str | None = None
) -> CaptionsFile:
    """Read and check a captions file; one that has not changed is read once a process.

    Args:
        id_key: where ids stand, ``caption_key`` captions (several keys with commas: one system each), ``system_key``
            who wrote them; guessed if None.

    Raises:
        CimError: as ``texts.read``; or an id that is also made of another one and its place.
    """
    return _systems(texts.read(path, texts.CAPTIONS, id_key, caption_key, system_key))


@functools.lru_cache(maxsize=8)
def _systems(file: texts.Texts) -> CaptionsFile:
    if file.hashes is not None and isinstance(file.rows, Lines) and not file.form.system_key:
        plain = System(Index(file.rows, file.hashes, lambda row: row.id, lambda row: row.texts[0]))
        return CaptionsFile(file.sha256, file.form, {"": plain})
    numbers = dict[str, Numbers]()
    for at, row in enumerate(file.rows):
        numbers.setdefault(row.system, Numbers()).add(at)
    rows = {name: picked(file.rows, of_system.array()) for name, of_system in numbers.items()}
    systems = {name: _indexed(some) if isinstance(some, Lines) else _system(some) for name, some in rows.items()}
    return CaptionsFile(file.sha256, file.form, systems)


def _indexed(rows: Lines[Row]) -> System:
    """As ``_system``, of rows on the disk."""
    hashes = Numbers()
    for row in rows:
        for _ in row.texts:
            hashes.add(hash(row.id))
    of_text = hashes.array()
    _, inverse, counts = np.unique(of_text, return_inverse=True, return_counts=True)
    places, number, second, spool = np.zeros(len(counts), np.int64), 0, None, Spool()
    for row in rows:
        for text in row.texts:
            of_id, number = inverse[number], number + 1
            places[of_id] += 1
            caption_id = row.id if counts[of_id] == 1 else f"{row.id}#{places[of_id]}"
            second = (row.id, row.where) if places[of_id] == 2 and second is None else second
            spool.add(caption_id, json.dumps([caption_id, text]).encode())
    captions = spool.index(json.loads, itemgetter(0), itemgetter(1))
    if len(captions) < number:
        raise CimError("an id is also a caption of another id and its place", where=rows[0].where.partition(":")[0])
    return System(captions, second)


def _system(rows: Sequence[Row]) -> System:
    count, place, second = Counter[str](), Counter[str](), dict[str, str]()
    for row in rows:
        count[row.id] += len(row.texts)
    captions = dict[str, str]()
    for row in rows:
        for text in row.texts:
            place[row.id] += 1
            caption_id = row.id if count[row.id] == 1 else f"{row.id}#{place[row.id]}"
            if caption_id in captions:
                raise CimError(f"id {caption_id!r} is also a caption of another id", where=row.where)
            captions[caption_id] = text
            if place[row.id] == 2:
                second[row.id] = row.where
    return System(captions, next(iter(second.items()), None))


def _file(model: Model) -> CaptionsFile:
    assert model.source is not None
    return read(model.source, *(model.settings.get(name) for name in KEYS))


def _of(model: Model) -> System:
    return _file(model).systems[model.settings.get("system", "")]


def _known(model: Model) -> Collection[str]:
    return _of(model).captions.keys()


def _generate(model: Model, requests: Sequence[Request]) -> Iterator[Completion]:
    captions = _of(model).captions
    for request in requests:
        yield Completion(request.sample_id, captions[model.file_ids.get(request.sample_id, request.sample_id)])


def refuse_repeated(model: Model) -> None:
    """Refuse a captions file that has several captions of one image.

    Raises:
        CimError: names the first such image and the place of its second caption.
    """
    if model.engine == "captions" and (repeated := _of(model).repeated):
        image, where = repeated
        hint = "keep one caption per image, or score each with --several"
        raise CimError(f"id {image!r} stands a second time", where=where, hint=hint)


def reading(model: Model) -> str:
    """What a captions file was read as, and how its ids were matched; empty where nothing had to be guessed.

    Of a file with several systems the first one says it.
    """
    if model.engine != "captions":
        return ""
    file, rule = _file(model), model.settings.get("ids_matched")
    if (file.form.plain and not rule) or model.settings.get("system", "") not in [*file.systems][:1]:
        return ""
    named = model.settings.get("id_key") or not file.form.id_key
    names = ", ".join([*file.systems][:FEW]) + (", ..." if len(file.systems) > FEW else "")
    systems = f"; {len(file.systems)} systems: {names}" if len(file.systems) > 1 else ""
    keys = "" if named else "; other keys: --id-key, --caption-key, --system-key"
    assert model.source is not None
    return f"{sources.name(model.source)}: read as {file.form}{systems}{f'; ids matched {rule}' if rule else ''}{keys}"


ENGINE = Engine(name="captions", generate=_generate, known=_known)
