"""Lists and dictionaries of texts, checked, as a run in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from harness.errors import CimError
from harness.resources import data
from harness.runs.records import RowFiles
from harness.runs.run import FEW, Run
from harness.store import dumps
from harness.types import DataFile, Model, Sample, Task

TASK = "in_memory"
Text = TypeVar("Text")


def captions_by_id(captions: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """Texts by sample id; those of a list get their place as id, from "0" on.

    Raises:
        CimError: none, a single text, or one that is no text.
    """
    by_id = _by_id(captions, "captions")
    wrong = [name for name, text in by_id.items() if not _is_text(text)]
    if wrong:
        raise CimError(f"{len(wrong)} captions are no Unicode text: {_first(wrong)}", hint="texts (str)")
    return by_id


def references_by_id(
    references: Sequence[str | Sequence[str]] | Mapping[str, str | Sequence[str]], captions: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """References by sample id, for the same ids as captions and in their order.

    Raises:
        CimError: ids or lengths differ, or a sample has no reference; says how many and the first ids.
    """
    by_id = _by_id(references, "references")
    if not isinstance(references, Mapping) and len(by_id) != len(captions):
        raise CimError(f"{len(captions)} captions, {len(by_id)} references", hint="one entry of references per caption")
    for what, names in (
        ("captions have no reference", [name for name in captions if name not in by_id]),
        ("references have no caption", [name for name in by_id if name not in captions]),
    ):
        if names:
            raise CimError(f"{len(names)} {what}: {_first(names)}", hint="the same ids in both")
    lists = {name: _texts(by_id[name]) for name in captions}
    wrong = [name for name, texts in lists.items() if not texts or not all(map(_is_text, texts))]
    if wrong:
        raise CimError(f"references of {len(wrong)} samples are no text or none: {_first(wrong)}", hint="texts (str)")
    return lists


def in_memory_run(name: str, references: Mapping[str, tuple[str, ...]], folder: Path) -> Run:
    """A run on these references; their SHA-256 enters signatures in place of a benchmark's files."""
    samples = [Sample(sample_id, texts) for sample_id, texts in references.items()]
    content = dumps([[sample.id, *sample.references] for sample in samples]).encode()
    task = Task(
        name=TASK,
        title="References in memory",
        prompt="",
        files=(DataFile("references", len(content), hashlib.sha256(content).hexdigest()),),
        count=len(samples),
        provides=frozenset({"references"}),
        load=lambda _: samples,
        licence="",
        source="",
    )
    settings = {"task": {"name": TASK, "data": data.fingerprint(task)}}
    model = Model(name, "captions", None, {})
    return Run(task, model, samples, samples, RowFiles(folder / TASK), folder, settings)


def _by_id(given: Sequence[Text] | Mapping[str, Text], what: str) -> dict[str, Text]:
    if isinstance(given, str) or not isinstance(given, Sequence | Mapping):
        raise CimError(f"{what} are {type(given).__name__}", hint="a list, or a dictionary by sample id")
    if not given:
        raise CimError(f"no {what}", hint="at least one")
    if not isinstance(given, Mapping):
        return {str(at): text for at, text in enumerate(given)}
    if wrong := [name for name in given if not isinstance(name, str)]:
        raise CimError(f"{len(wrong)} sample ids are no text, first {wrong[0]!r}", hint="str keys")
    return dict(given)


def _texts(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) or not isinstance(given, Sequence) else tuple(given)


def _is_text(text: object) -> bool:
    """A string that UTF-8 can hold: no half of a surrogate pair."""
    return isinstance(text, str) and text == text.encode(errors="replace").decode()


def _first(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:60]) for name in names[:FEW]) + (", ..." if len(names) > FEW else "")
