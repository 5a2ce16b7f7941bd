"""A run on references and captions that are at hand as Python values; only its rows are stored, in a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from harness.resources import data
from harness.runs import reasoning, records
from harness.runs.records import RowFiles
from harness.runs.run import Run
from harness.store import dumps
from harness.types import Completion, DataFile, Model, Sample, Task

TASK = "in_memory"


def in_memory_run(name: str, references: Mapping[str, tuple[str, ...]], images: Mapping[str, str], folder: Path) -> Run:
    """A run on these references; their SHA-256 enters signatures in place of a benchmark's files.

    Args:
        references: by image; of none a text, where metrics are to be had that need none.
        images: the image of each sample.
        folder: where its rows are stored.
    """
    whole = [Sample(image, texts) for image, texts in references.items()]
    samples = [
        Sample(sample_id, references[image], image_id="" if image == sample_id else image)
        for sample_id, image in images.items()
    ]
    content = dumps([[sample.id, *sample.references] for sample in whole]).encode()
    task = Task(
        name=TASK,
        title="References in memory",
        prompt="",
        files=(DataFile("references", len(content), hashlib.sha256(content).hexdigest()),),
        count=len(whole),
        provides=frozenset({"references"} if any(references.values()) else ()),
        load=lambda _: whole,
        licence="",
        source="",
    )
    ids = hashlib.sha256("\n".join(images).encode()).hexdigest()[:8]
    settings = {"task": {"name": TASK, "data": data.fingerprint(task)}, "samples": {"ids": ids}}
    model = Model(name, "captions", None, {})
    return Run(task, model, samples, whole, RowFiles(folder / TASK), folder, settings)


def add_captions(run: Run, captions: Mapping[str, str]) -> None:
    """Store captions by sample id, thoughts split off."""
    with run.files.appending(records.NAME, "caption") as add:
        for sample_id, text in captions.items():
            add(records.row(reasoning.split_off(Completion(sample_id, text))))
