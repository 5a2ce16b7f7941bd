"""A task made of pictures drawn on the spot, and a command that captions it, for runs that are to be killed.

Run as ``python -m tests.pictures RESULTS PICTURES MODEL ROWS``, MODEL being a folder with model.toml: killed by
SIGKILL once ROWS captions are stored.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from harness import registry, store
from harness.runs import manifest, run
from harness.stages import caption, model
from harness.types import Sample, Task, Track, untracked

T = TypeVar("T")

SIZES = ((64, 64), (96, 64), (64, 128), (120, 90))


def draw(folder: Path, count: int, sizes: tuple[tuple[int, int], ...] = SIZES, suffix: str = "png") -> Path:
    """Write ``count`` pictures of coloured blocks under ``folder/images``; always the same ones."""
    import numpy as np
    from PIL import Image

    (folder / "images").mkdir(parents=True)
    generator = np.random.default_rng(7)
    for number in range(count):
        width, height = sizes[number % len(sizes)]
        blocks = generator.integers(0, 256, (max(2, height // 16), max(2, width // 16), 3), dtype=np.uint8)
        picture = Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC)
        picture.save(folder / "images" / f"p{number:03}.{suffix}")
    return folder


def task(folder: Path) -> Task:
    """The task of a folder's pictures, damaged and missing ones included (``missing.txt`` lists names)."""
    names = {path.name for path in (folder / "images").iterdir()}
    if (folder / "missing.txt").is_file():
        names |= set((folder / "missing.txt").read_text().split())
    samples = [Sample(Path(name).stem, ("a picture",), image=name) for name in sorted(names)]
    return Task(
        name="pictures",
        title="Pictures",
        prompt="Describe what you see.",
        files=(),
        count=len(samples),
        provides=frozenset({"references"}),
        load=lambda _: samples,
        licence="none",
        source="tests",
        folder=folder,
    )


def model_folder(folder: Path, checkpoint: Path, engine: str = "transformers", more: str = "") -> Path:
    """A folder with the model.toml of a checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = "" if "[sampling]" in more else "[sampling]\nmax_tokens = 24\n"
    (folder / "model.toml").write_text(
        f'about = "random weights"\nengine = "{engine}"\ncheckpoint = "{checkpoint}"\ndtype = "float32"\n'
        f'tasks = ["pictures"]\n{more}{settings}',
        encoding="utf-8",
    )
    return folder


def known(folder: Path) -> None:
    """Make the registry of this process know the task; a test restores it with monkeypatch."""
    drawn, task_of, names = task(folder), registry.task, registry.names
    registry.task = lambda name: drawn if name == "pictures" else task_of(name)  # type: ignore[assignment]
    registry.names = lambda kind: [*names(kind), "pictures"] if kind == "tasks" else names(kind)


def captioned(results: Path, place: Path, track: Track = untracked) -> Path:
    """Caption, as ``cim caption`` does, by the model of a folder; the run's folder."""
    (captioner,) = model.resolve(str(place), results)
    planned = run.plan(captioner, registry.task("pictures"), results, limit=None, partial=False, fresh=False)
    with store.writing(planned.folder):
        caption.caption(planned, track)
        manifest.advance(planned.folder, "complete")
    return planned.folder


def main(results: Path, pictures: Path, place: Path, last: int) -> None:
    """Caption four pictures a batch until ``last`` captions are stored."""
    from harness.engines import transformers

    def killed(completions: Iterable[T], *_: object) -> Iterator[T]:
        for number, completion in enumerate(completions):
            if number == last:
                os.kill(os.getpid(), signal.SIGKILL)
            yield completion

    transformers.ROWS = 4
    known(pictures)
    captioned(results, place, killed)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), int(sys.argv[4]))
