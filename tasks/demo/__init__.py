"""Demo: twelve hand-written scenes without images, to try the tools on; its numbers mean nothing.

References and the captions of its two models are written by hand for this project. Run with
``cim eval --model demo-detailed``.
"""

import json
from pathlib import Path

from harness.types import DataFile, Sample, Task

_FILE = DataFile(
    name="scenes.jsonl",
    bytes=2928,
    sha256="86f646592f2b77eb00bb4d881b8a972c3a14deae193a1a74c979b4dc7db08c1a",
)


def _load(folder: Path) -> list[Sample]:
    lines = (folder / _FILE.name).read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    return [Sample(id=row["id"], references=tuple(row["references"])) for row in rows]


TASK = Task(
    name="demo",
    title="Demo",
    prompt="Describe the scene.",
    files=(_FILE,),
    count=12,
    provides=frozenset({"references"}),
    load=_load,
    licence="Apache-2.0",
    source="written for this project",
    folder=Path(__file__).parent,
)
