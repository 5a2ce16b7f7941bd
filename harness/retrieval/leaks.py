"""Contamination: is a benchmark's image in the gallery? By id before encoding, by bytes and cosine before merging.

A gallery with test images, or near-duplicates of them, makes a reward that has seen the test. Ids that are bare
numbers prove nothing between unrelated collections; they are compared for sources that consist of COCO images. Ids
of synthetic environments are compared within their environment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import registry
from harness.errors import CimError
from harness.resources import data
from harness.retrieval.gallery import key, unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.parts import Vectors

NEAR = 0.98  # cosine
OF_COCO = ("refinedcaps", "coco")


def _stem(name: str) -> str:
    return PurePosixPath(name).stem.lower()


def benchmark_ids() -> tuple[dict[str, frozenset[str]], dict[str, str]]:
    """Stems of ids and image names by task (keys for synthetic images), and why the others could not be read."""
    stems_by_task, absent = dict[str, frozenset[str]](), dict[str, str]()
    for name in registry.names("tasks"):
        try:
            samples = data.samples(task := registry.task(name))
        except CimError as error:
            absent[name] = f"not checked: {error.what}"
        else:
            real = task.archive is not None
            stems = (_stem(name) for sample in samples for name in (sample.id, sample.image) if name)
            stems_by_task[name] = frozenset(stems if real else (key(name, sample.id) for sample in samples))
    return stems_by_task, absent


def check_ids(ids: Iterable[tuple[str, str]], benchmarks: Mapping[str, frozenset[str]]) -> None:
    """CimError if one of these (source, image id) belongs to a benchmark."""
    shared = dict[str, list[str]]()
    for source, image in ids:
        stem, name = _stem(image), key(source, image)
        number = stem.isdigit() and source not in OF_COCO
        for task, known in benchmarks.items():
            if name in known or (stem in known and not number):
                shared.setdefault(task, []).append(name)
    for task, names in shared.items():
        hint = "leave them out: a reward must not have seen the test"
        raise CimError(f"{len(names)} images are samples of {task}, first {names[0]!r}", hint=hint)


def by_content(
    hashes: Sequence[str | None], blocks: Iterable[NDArray[Any]], encode: Callable[[Sequence[str]], Vectors]
) -> tuple[dict[str, list[int]], dict[str, str]]:
    """Gallery rows that show a benchmark's image, by task, and what was compared.

    Tasks with image files are compared, a user's own too, where those are on this machine; synthetic images are known
    by their ids.

    Args:
        blocks: the gallery's image embeddings, in order.
    """
    embeddings, findings, rows_by_task = dict[str, Any](), dict[str, str](), dict[str, set[int]]()
    for name in registry.names("tasks"):
        task = registry.task(name)
        if task.draw is not None or data.faults(task):
            continue
        files = [data.images(task) / sample.image for sample in data.samples(task) if sample.image]
        if not files:
            continue
        there = [file for file in files if file.is_file()]
        if not there:
            findings[name] = "images not compared: they are not on this machine"
            continue
        shas = {data.sha256(file) for file in there}
        embeddings[name] = unit(encode([str(file) for file in there]), f"{name} image")
        rows_by_task[name] = {row for row, sha in enumerate(hashes) if sha in shas}
        findings[name] = f"{len(there)} of {len(files)} images compared by sha256 and cosine {NEAR}"
    start = 0
    for block in blocks if embeddings else ():
        part = block.astype(np.float32)
        for name, vectors in embeddings.items():
            rows_by_task[name] |= {start + int(row) for row in np.flatnonzero((part @ vectors.T).max(axis=1) >= NEAR)}
        start += len(block)
    return {name: sorted(rows) for name, rows in rows_by_task.items()}, findings
