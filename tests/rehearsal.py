"""``cim`` with both benchmarks cut down to five images and a GPU's memory budget enforced, as a process of its own.

Everything else is what a user has: names, TOML files, engines, metrics. Run as
``python -m tests.rehearsal FOLDER ADDRESS VERB ...``: FOLDER receives ``loads.txt``, ADDRESS serves the benchmarks.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from harness import registry
from harness.types import Archive, DataFile, Task
from tasks import _sc_captioner

COUNT = 5
NAMES = ("coco_ln500", "docci500")
SCENES = (
    ("the red dog on a table", "dog", "red"),
    ("the old cat under a tree", "cat", "old"),
    ("the blue car beside a wall", "car", "blue"),
    ("the small cup on a table", "cup", "small"),
    ("the black bus beside a tree", "bus", "black"),
)


def files(task: str) -> dict[str, bytes]:
    """Annotation files and images of a benchmark, by name."""
    from PIL import Image

    ids = [f"{task}_{number}" for number in range(COUNT)]
    scenes = dict(zip(ids, SCENES, strict=True))
    images = io.BytesIO()
    with tarfile.open(fileobj=images, mode="w") as archive:
        for number, name in enumerate(ids):
            picture = io.BytesIO()
            Image.new("RGB", (64, 56 + 28 * (number % 2)), (40 * number, 90, 200)).save(picture, "JPEG")
            entry = tarfile.TarInfo(f"{name}.jpg")
            entry.size = picture.tell()
            archive.addfile(entry, io.BytesIO(picture.getvalue()))
    content = {
        "gt.json": {name: f"{text.capitalize()}. A man is near." for name, (text, _, _) in scenes.items()},
        "attributes.json": {name: {thing: [word]} for name, (_, thing, word) in scenes.items()},
        "questions.json": {
            name: {f"Is there a {thing}?": "Yes", f"Is the {thing} green?": "No"}
            for name, (_, thing, _) in scenes.items()
        },
    }
    written = {name: json.dumps(value).encode() for name, value in content.items()}
    written["objects.jsonl"] = "".join(json.dumps({name: [scene[1]]}) + "\n" for name, scene in scenes.items()).encode()
    return {f"{task}/{name}": value for name, value in (written | {"images.tar": images.getvalue()}).items()}


def small(task: Task, address: str) -> Task:
    """A benchmark under its own name, with five images that are served at an address."""
    paths = files(task.name)
    names = ("gt.json", "objects.jsonl", "attributes.json", "questions.json")
    sums = {name: hashlib.sha256(paths[f"{task.name}/{name}"]).hexdigest() for name in (*names, "images.tar")}
    pinned = tuple(
        DataFile(name, len(paths[f"{task.name}/{name}"]), sums[name], f"{address}/{task.name}/{name}") for name in names
    )
    url, size = f"{address}/{task.name}/images.tar", len(paths[f"{task.name}/images.tar"])
    archive = Archive(url, size, sums["images.tar"], lambda sample: sample.image, "CC0", "a test", kept=1.0)
    load = _sc_captioner.loader(pinned)
    return replace(task, files=pinned, count=COUNT, questions=2 * COUNT, load=load, archive=archive)


def main(folder: Path, address: str, words: list[str]) -> int:
    """Run one command."""
    from harness.command import cli
    from harness.resources import pretrained
    from harness.stages import weights
    from tests.budget import Budget

    task_of = registry.task
    tasks = {name: small(task_of(name), address) for name in NAMES}
    registry.task = lambda name: tasks[name] if name in tasks else task_of(name)  # type: ignore[assignment]
    # The hub here serves small random weights under the real names, whose sums they do not have.
    object.__setattr__(pretrained.MPNET, "sums", {})
    bring = weights.bring

    def bring_then_watch(loads: Sequence[weights.Load], say: Callable[[str], None], *, offline: bool = False) -> None:
        bring(loads, say, offline=offline)
        Budget(folder / "loads.txt").enforce()

    weights.bring = bring_then_watch
    return cli.main(words)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
