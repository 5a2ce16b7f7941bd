"""Scene graphs of miniscenes captions, read by the grammar they are written in; any text can be read.

A value is ``{"objects": [...], "names": {family: [...]}, "attributes": {...}, "relations": [[s, r, o], ...]}``.
Run with ``cim parse --model M --task miniscenes``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

from harness.parts import Parse, Parser, Values
from tasks.miniscenes.reading import read


def _parse(texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    for text in texts:
        yield asdict(read(text))


def _session(_: Values | None = None) -> AbstractContextManager[Parse]:
    return nullcontext(_parse)


PARSER = Parser(
    name="grammar",
    settings=lambda: {"grammar": "miniscenes 2", "relations": "stated, else implied by places"},
    session=_session,
)
