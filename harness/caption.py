"""The caption verb: ask the engine for every caption that the run does not hold yet.

Each caption is appended to ``captions.jsonl`` as it arrives, so the same command goes on where a
killed one stopped. Run with ``cim caption --model M --task docci500``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from harness import data, manifest, records, registry, store
from harness.errors import CimError
from harness.run import Run
from harness.types import Request, Track, untracked


def caption(run: Run, track: Track = untracked) -> int:
    """Make the missing captions of a run; returns how many were made now.

    Raises:
        CimError: the stored rows hold a sample that is not of this run.
        OutageError: the engine ended before its last caption; what it gave is kept.
    """
    done = records.read(run.folder)
    if strangers := done.keys() - {sample.id for sample in run.samples}:
        hint = "start over with --fresh"
        raise CimError(f"captions of other samples: {sorted(strangers)[:3]}", where=str(run.folder), hint=hint)
    facts = {
        "prompt": run.task.prompt,
        "files": {file.name: file.sha256 for file in run.task.files},
        "origin": os.fsencode(run.model.source or run.model.name).decode(errors="backslashreplace"),
    }
    if done and manifest.read(run.folder) is None:
        raise CimError("captions without a manifest", where=str(run.folder), hint="start over with --fresh")
    manifest.begin(run.folder, run.settings, facts)
    folder = _image_folder(run)
    requests = [
        Request(sample.id, run.task.prompt, folder / sample.image if sample.image else None)
        for sample in run.samples
        if sample.id not in done
    ]
    if run.task.draw and registry.engine(run.model.engine).known is None:
        _draw(run.task.draw, requests)
    made = records.fill(run.folder, run.model, requests, track)
    manifest.advance(run.folder, "captioned", captions=records.digest(run.folder))
    return made


def _image_folder(run: Run) -> Path:
    """Where the task's images lie: beside its data, or in the cache of results if they are drawn."""
    if run.task.draw is None:
        return data.folder(run.task) / "images"
    return run.folder.parent.parent / ".cache" / "images" / f"{run.task.name}-{data.fingerprint(run.task)}"


def _draw(draw: Callable[[str], bytes], requests: Sequence[Request]) -> None:
    for request in requests:
        if request.image and not request.image.is_file():
            store.write_bytes(request.image, draw(request.sample_id))
