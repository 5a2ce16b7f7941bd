"""The schema of the JSON of a stored run, validated because runs come from other people too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import store
from harness.errors import CimError

NONE = type(None)
NUMBER = (int, float)
MANIFEST = {
    "format": int,
    "status": str,
    "settings": {
        "task": {"name": str, "version": str, "data": str, "prompt": str},
        "model": {"engine": str},
        "samples": {"n": int, "limit": (int, NONE), "ids": str},
    },
}
SCORE = {"metric": str, "values": {}, "ci95": {}, "n": int, "n_failed": int, "signature": (str, NONE), "controls": {}}
DOCUMENT = {"format": int, "captions": str, "interval": {"draws": int, "seed": int}, "scores": [SCORE]}

STEP, VALUE = {"step": int}, {"value": NUMBER, "difference?": NUMBER, "ci95?": [NUMBER]}
TRAINING = {
    "steps.jsonl": {**STEP, "captions?": int, "images?": int, "alarms?": {"*": str}, "loss?": NUMBER, "reward?": {}},
    "validation.jsonl": {**STEP, "images?": int, "reward?": NUMBER, "truth?": NUMBER, "references?": {"*": VALUE}},
    "greedy.jsonl": {**STEP, "image": str, "caption": str},
}


def training_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a file of a training run; CimError names the first that is none."""
    return rows(path, TRAINING.get(path.name, STEP), "train anew with --fresh")


def rows(path: Path, form: Any, hint: str) -> list[dict[str, Any]]:
    """Rows of a file, as ``store.read_rows``, each of a form; CimError names the first that is not."""
    read = store.read_rows(path)
    for number, row in enumerate(read, start=1):
        if faults := list(malformed(row, form, "row")):
            raise CimError("; ".join(faults[:3]), where=f"{path}:{number}", hint=hint)
    return read


def document(path: Path, form: Any, hint: str) -> dict[str, Any] | None:
    """A JSON document, as ``store.read_document``, of a form; CimError says where it is not."""
    content = store.read_document(path)
    if content is not None and (faults := list(malformed(content, form, path.name))):
        raise CimError("; ".join(faults[:3]), where=str(path), hint=hint)
    return content


def malformed(value: Any, form: Any, path: str) -> Iterator[str]:
    """Violations of a schema: a type, several types, a dictionary of schemas, or a list with one schema.

    A name that ends with ``?`` may be absent, or null; ``*`` stands for every name.
    """
    if isinstance(form, dict):
        if not isinstance(value, dict):
            yield f"{path} is no object"
            return
        if "*" in form:
            form = dict.fromkeys(value, form["*"])
        for named, inner in form.items():
            name = named.removesuffix("?")
            if name != named and value.get(name) is None:
                continue
            if name in value:
                yield from malformed(value[name], inner, f"{path}.{name}")
            else:
                yield f"{path} lacks {name}"
    elif isinstance(form, list):
        if not isinstance(value, list):
            yield f"{path} is no list"
            return
        for at, item in enumerate(value):
            yield from malformed(item, form[0], f"{path}[{at}]")
    elif not isinstance(value, form):
        yield f"{path} has the wrong type"
