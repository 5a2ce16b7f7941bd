"""What a benchmark without code is made from: files of texts and annotations, images, a prompt.

``task.toml`` (the task is called as its folder; any other name of a ``.toml`` file is the task's)::

    title = "Our photographs"                 # everything but [references] or [images] may be left out
    prompt = "Describe this image in detail."
    licence = "CC BY 4.0"
    source = "example.org/photographs"
    judge = "qwen3-8b"                        # answers the questions
    gallery = "NAME"                          # where metric cim looks captions up

    [references]
    file = "references.json"                  # any form that captions may have; one or several per image
    id_key = "image_id"                       # guessed where they are left out
    text_key = "caption"
    sha256 = "..."                            # checked where it is given; of any file

    [samples]                                 # in place of references: a file of texts of which only the ids are read
    file = "captions.jsonl"

    [images]
    folder = "images"

    [objects]                                 # {id: [object, ...]}, or rows with an id
    file = "objects.jsonl"
    key = "objects"

    [coco_objects]                            # the same, all of COCO's categories in an image: metric chair
    file = "instances.json"

    [attributes]                              # {id: {object: [word, ...]}}, or rows
    file = "attributes.json"

    [questions]                               # {id: {question: "Yes" or "No"}}, or rows with a list of both
    file = "questions.json"
    key = "checklist"
    answer = "Yes"                            # of all questions, where the file holds no answers

    [judgements]                              # what people think of captions, for `cim validate`; no run reads them
    file = "ratings.csv"
    shape = "ratings"                         # or "labels", "pairs"; guessed, as the keys are
    value_key = "rating"

Paths are relative to the file. What a run was made from is kept as ``results/<task>/task.json``: the same content, with
absolute paths and the sha256 of every file, so that the benchmark is known from then on and a changed file is noticed.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import CimError
from harness.store import regular

TOML, PINNED = "task.toml", "task.json"
JUDGEMENTS = "judgements"
TEXTS = ("title", "prompt", "licence", "source", "judge", "gallery", "version")
FILES: Mapping[str, tuple[str, ...]] = {
    "references": ("file", "id_key", "text_key", "sha256"),
    "samples": ("file", "id_key", "text_key", "sha256"),
    "objects": ("file", "id_key", "key", "sha256"),
    "coco_objects": ("file", "id_key", "key", "sha256"),
    "attributes": ("file", "id_key", "key", "sha256"),
    "questions": ("file", "id_key", "key", "question_key", "answer_key", "answer", "sha256"),
    JUDGEMENTS: (
        *("file", "shape", "id_key", "caption_key", "value_key", "a_key", "b_key"),
        *("system_key", "system_a_key", "system_b_key", "criterion_key", "sha256"),
    ),
}
IMAGES = ("folder", "sha256")
NO_NAME = re.compile(r'^$|^\.|[\\/:*?"<>|\x00-\x1f]')
RESERVED = ("train", "published", "baseline")  # folders of results that are no benchmarks
WHICH = ("references", "samples")  # tables that say which samples there are; without them the images do


@dataclass(frozen=True, slots=True)
class Definition:
    """A checked definition; paths in ``tables`` are absolute."""

    name: str
    texts: Mapping[str, str]
    tables: Mapping[str, Mapping[str, str]]

    def path(self, table: str) -> Path:
        """The file, or folder of images, that a table names."""
        return Path(self.tables[table]["folder" if table == "images" else "file"])

    def pinned(self, sha256: Mapping[str, str]) -> str:
        """JSON of the definition with the hash of each table's file."""
        tables = {name: {**table, "sha256": sha256[name]} for name, table in self.tables.items() if name in sha256}
        return json.dumps({**self.texts, **self.tables, **tables}, indent=1, ensure_ascii=False) + "\n"


def name_of(path: Path) -> str:
    """The name of the task that a file defines."""
    return path.absolute().parent.name if path.name in (TOML, PINNED) else path.stem


def read(path: Path) -> Definition:
    """The definition in a ``task.toml``, or in a pinned ``task.json``.

    Raises:
        CimError: no regular file, not TOML or JSON, an unknown key, a value that is no text, neither references nor
            images.
    """
    try:
        content = regular(path).read_bytes().decode()
        parsed = json.loads(content) if path.suffix == ".json" else tomllib.loads(content)
    except OSError as error:
        raise CimError(f"cannot be read ({error.strerror})", where=str(path)) from error
    except (ValueError, RecursionError) as error:  # json, tomllib and UTF-8 raise ValueError
        raise CimError(f"not {path.suffix[1:].upper()} ({error})", where=str(path)) from error
    return checked(name_of(path), parsed, str(path), path.absolute().parent)


def checked(name: str, content: Any, where: str, root: Path) -> Definition:
    """A definition from parsed content; paths are relative to ``root``.

    Raises:
        CimError: as ``read``.
    """
    if NO_NAME.search(name) or name in RESERVED:
        raise CimError(f"{name!r} cannot be the name of a benchmark", where=where, hint="a folder gets this name")
    if not isinstance(content, dict):
        raise CimError("no table of keys", where=where, hint=f"keys: {', '.join([*FILES, 'images', *TEXTS])}")
    texts, tables = dict[str, str](), dict[str, dict[str, str]]()
    for key, value in content.items():
        if key in TEXTS:
            texts[key] = _text(value, key, where)
        elif key in (*FILES, "images"):
            tables[key] = _table(value, key, where, root)
        else:
            raise CimError(f"unknown key {key!r}", where=where, hint=f"keys: {', '.join([*FILES, 'images', *TEXTS])}")
    if not tables.keys() & {*WHICH, "images"}:
        raise CimError("neither references nor images", where=where, hint="[references] with file = ..., or [images]")
    if tables.keys() >= set(WHICH):
        raise CimError(f"both {' and '.join(WHICH)}", where=where, hint="one of them says which samples there are")
    return Definition(name, texts, tables)


def _table(value: Any, key: str, where: str, root: Path) -> dict[str, str]:
    keys = IMAGES if key == "images" else FILES[key]
    if not isinstance(value, dict):
        raise CimError(f"{key} is no table", where=where, hint=f"[{key}] with {keys[0]} = ...")
    if unknown := value.keys() - set(keys):
        raise CimError(f"unknown key {key}.{min(unknown)}", where=where, hint=f"keys: {', '.join(keys)}")
    if keys[0] not in value:
        raise CimError(f"key {key}.{keys[0]} is missing", where=where)
    table = {name: _text(text, f"{key}.{name}", where) for name, text in value.items()}
    return {**table, keys[0]: str((root / table[keys[0]]).absolute())}


def _text(value: Any, key: str, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise CimError(f"{key} must be a text in quotes, found {json.dumps(value, default=str)[:40]}", where=where)
    return value
