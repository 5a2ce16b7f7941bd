"""What engines wrote for a run: ``captions.jsonl``, ``replies.<judge>.jsonl``; one row a sample, as they arrived.

A row holds what the engine gave: text, finish reason and token counts, or the error that stands in
its place. Written by ``cim caption`` and ``cim judge``, read by everything after them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import registry, store
from harness.errors import CimError, OutageError
from harness.types import Completion, Model, Request, Track

NAME = "captions.jsonl"
SURROGATE = re.compile("[\ud800-\udfff]")


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
        CimError: a row is damaged or an id stands twice; names file and line.
    """
    path, found = folder / name, dict[str, Completion]()
    for number, content in enumerate(store.read_rows(path), start=1):
        made = completion(content, f"{path}:{number}", field)
        if made.sample_id in found:
            hint = "two runs were mixed: make it again with --fresh"
            raise CimError(f"sample_id {made.sample_id!r} stands a second time", where=f"{path}:{number}", hint=hint)
        found[made.sample_id] = made
    return found


def fill(
    folder: Path, model: Model, requests: Sequence[Request], track: Track, name: str = NAME, field: str = "caption"
) -> int:
    """Append the completion of each request as it arrives; returns how many there were.

    Raises:
        OutageError: the engine ended before its last request, or could not answer some; what it gave is kept.
    """
    made, engine, reason = 0, registry.engine(model.engine), ""
    with store.Appender(folder / name) as rows:
        for completed in track(engine.generate(model, requests), field, len(requests)) if requests else ():
            if completed.outage:
                reason = reason or f" ({completed.error})"
                continue
            rows.append(row(completed, field))
            made += 1
    if made < len(requests):
        hint = "the same command goes on"
        raise OutageError(f"engine {engine.name} gave {made} of {len(requests)} {field} texts{reason}", hint=hint)
    return made


def digest(folder: Path) -> str:
    """Twelve hex digits that stand for a run's captions, whatever order they arrived in."""
    stored = read(folder)
    rows = "\n".join(store.dumps(row(stored[name])) for name in sorted(stored))
    return hashlib.sha256(rows.encode()).hexdigest()[:12]
