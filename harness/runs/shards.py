"""Shards of a run, for processes that see one file system and nothing else of each other, such as a Slurm array.

``cim caption --shard I/N`` writes the captions of every N-th sample into ``shards/<I>-of-<N>/`` of the run, a folder
with a manifest and a lock of its own. The next command without ``--shard`` moves their rows into the run, and asks for
what a shard that died has not written.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

from harness import store
from harness.errors import CimError
from harness.runs import manifest, records
from harness.runs.records import RowFiles
from harness.runs.run import Run

FOLDER = "shards"


def parsed(text: str) -> tuple[int, int]:
    """Number and count of a shard from ``I/N``, I from 0; CimError for another form."""
    form = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    number, count = (int(form[1]), int(form[2])) if form else (0, 0)
    if number >= count:
        raise CimError(f"{text!r} is no shard", where="--shard", hint="I/N, the first of four is 0/4")
    return number, count


def of(run: Run, number: int, count: int) -> Run:
    """One shard of a run as a run of its own: every ``count``-th sample from ``number`` on, with the run's settings.

    Raises:
        SettingsError: the shard's folder holds captions of other settings.
    """
    files = RowFiles(run.folder / FOLDER / f"{number}-of-{count}")
    manifest.check(files.folder, run.settings, [sample.id for sample in run.samples])
    written = run.captions
    samples = [sample for sample in run.samples[number::count] if sample.id not in written]
    return replace(run, samples=samples, files=files)


def absorb(run: Run) -> int:
    """Move the rows of all shards into the run; returns how many captions that added.

    Raises:
        BusyError: a shard, or the run, is still being written.
        SettingsError: a shard was made with other settings.
    """
    folders = sorted((run.folder / FOLDER).glob("*-of-*"))
    if not folders:
        return 0
    added = 0
    with store.writing(run.folder):
        for folder in folders:
            added += _absorb(run, folder)
    return added


def _absorb(run: Run, folder: Path) -> int:
    with store.writing(folder, f"shard {folder.name} of this run"):
        ids = [sample.id for sample in run.samples]
        manifest.check(folder, run.settings, ids)
        before, names = run.captions, set(ids)
        rows = [row for row in RowFiles(folder).completions().values() if row.sample_id in names]
        new = [row for row in rows if row.sample_id not in before]
        if manifest.read(run.folder) is None and (facts := manifest.read(folder)) is not None:
            store.write_document(run.folder / manifest.NAME, facts)
        manifest.extend(run.folder, run.settings)
        with run.files.appending(records.NAME, "caption") as add:
            for row in new:
                add(records.row(row))
        shutil.rmtree(folder)
    return len(new)
