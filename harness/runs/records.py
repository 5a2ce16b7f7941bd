"""What engines wrote for a run: ``captions.jsonl``, ``replies.<judge>.jsonl``; one row per request, as they arrived.

A row holds the engine's text, finish reason and token counts, or the error that stands in their place. Written by
``cim caption`` and ``cim judge``, read by everything after them. ``RowFiles`` parses each file once per command.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import registry, store
from harness.errors import CimError, OutageError
from harness.runs import served
from harness.types import Completion, Model, Request, Track

NAME = "captions.jsonl"
SURROGATE = re.compile("[\ud800-\udfff]")

Add = Callable[[Mapping[str, Any]], None]
"""Appends one row."""


def completion(row: dict[str, Any], where: str, field: str = "caption") -> Completion:
    """The completion of a stored row; CimError when it has no sample id, or neither text nor error."""
    sample_id, text, error = row.get("sample_id"), row.get(field), row.get("error")
    if not isinstance(sample_id, str) or not isinstance(text if error is None else error, str):
        raise CimError(f"a row without sample_id or {field}", where=where, hint="make the run again with --fresh")
    if SURROGATE.search(f"{sample_id}{text}"):
        raise CimError("half of a surrogate pair", where=where, hint="make the run again with --fresh")
    counts = (row.get("finish_reason"), row.get("prompt_tokens"), row.get("completion_tokens"))
    return Completion(sample_id, None if error is not None else text, *counts, error=error)


def row(completion: Completion, field: str = "caption") -> dict[str, Any]:
    """The stored row of a completion, its text under ``field``."""
    return {
        "sample_id": completion.sample_id,
        field: completion.text,
        "finish_reason": completion.finish_reason,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
        "error": completion.error,
    }


def read(folder: Path, name: str = NAME, field: str = "caption") -> dict[str, Completion]:
    """Stored completions by sample id, in the order they arrived.

    Raises:
        CimError: a row is damaged or an id is repeated; names file and line.
    """
    path, completions = folder / name, dict[str, Completion]()
    for number, content in enumerate(store.read_rows(path), start=1):
        completed = completion(content, f"{path}:{number}", field)
        if completed.sample_id in completions:
            hint = "two runs were mixed: make it again with --fresh"
            raise CimError(
                f"sample_id {completed.sample_id!r} stands a second time", where=f"{path}:{number}", hint=hint
            )
        completions[completed.sample_id] = completed
    return completions


class RowFiles:
    """The row files of one run's folder: each is parsed once, and again only after another process has changed it.

    Size, time and inode of a file say whether it is still the one that was parsed. What this process appends is added
    to the parsed rows. Callers must not change what they are given.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parsed: dict[str, tuple[Any, dict[str, Any]]] = {}

    def completions(self, name: str = NAME, field: str = "caption") -> dict[str, Completion]:
        """Stored completions by sample id, as ``read``."""
        return self._once(name, lambda: read(self.folder, name, field))

    def rows(self, name: str) -> dict[str, dict[str, Any]]:
        """Rows of any file by sample id, of two with one id the later."""
        return self._once(name, lambda: {str(row.get("sample_id")): row for row in store.read_rows(self.folder / name)})

    def _once(self, name: str, parse: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        state = self._state(name)  # taken before the file is read: a row that arrives meanwhile is read next time
        if name not in self._parsed or self._parsed[name][0] != state:
            self._parsed[name] = state, parse()
        return self._parsed[name][1]

    def _state(self, name: str) -> tuple[int, int, int] | None:
        try:
            found = (self.folder / name).stat()
        except FileNotFoundError:
            return None
        return found.st_size, found.st_mtime_ns, found.st_ino

    @contextmanager
    def appending(self, name: str, field: str | None = None) -> Iterator[Add]:
        """A function that appends a row; after an exception the file is parsed again.

        Args:
            field: where the text of completions stands; None for rows of another form.
        """
        before = self.completions(name, field) if field else self.rows(name)
        added, count = dict[str, Any](), 0
        with store.Appender(self.folder / name) as file:

            def add(content: Mapping[str, Any]) -> None:
                nonlocal count
                file.append(content)
                row = dict(content)
                added[row["sample_id"]] = completion(row, f"{self.folder / name}", field) if field else row
                count += 1

            yield add
        if len(all_rows := before | added) == len(before) + count:  # else an id stands twice, which parsing judges
            self._parsed[name] = self._state(name), all_rows


def fill(files: RowFiles, model: Model, requests: Sequence[Request], track: Track) -> int:
    """Append the caption of each request as it arrives; returns how many there were.

    Raises:
        OutageError: the engine stopped before the last request, or failed on some; finished rows are kept.
    """
    count, engine, reason = 0, registry.engine(model.engine), ""
    answers = engine.generate(model, requests) if requests else ()
    answers = served.watched(files.folder, served.CAPTIONS, answers, stored=bool(files.completions()))
    with files.appending(NAME, "caption") as add:
        for completed in track(answers, "caption", len(requests)) if requests else ():
            if completed.outage:
                reason = reason or f" ({completed.error})"
                continue
            add(row(completed))
            count += 1
    if count < len(requests):
        hint = "the same command goes on"
        raise OutageError(f"engine {engine.name} gave {count} of {len(requests)} caption texts{reason}", hint=hint)
    return count


def digest(captions: Mapping[str, Completion]) -> str:
    """Twelve hex digits that identify a run's captions, independent of their order."""
    rows = "\n".join(store.dumps(row(captions[name])) for name in sorted(captions))
    return hashlib.sha256(rows.encode()).hexdigest()[:12]
