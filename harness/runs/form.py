"""The schema of the JSON of a stored run, validated because runs come from other people too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

NONE = type(None)
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


def malformed(value: Any, form: Any, path: str) -> Iterator[str]:
    """Violations of a schema: a type, several types, a dictionary of schemas, or a list with one schema."""
    if isinstance(form, dict):
        if not isinstance(value, dict):
            yield f"{path} is no object"
            return
        for name, inner in form.items():
            if name in value:
                yield from malformed(value[name], inner, f"{path}.{name}")
            else:
                yield f"{path} lacks {name}"
    elif isinstance(form, list):
        if not isinstance(value, list):
            yield f"{path} is no list"
            return
        for at, one in enumerate(value):
            yield from malformed(one, form[0], f"{path}[{at}]")
    elif not isinstance(value, form):
        yield f"{path} has the wrong type"
