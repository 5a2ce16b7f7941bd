"""AMBER's generative part: 1,004 images, the objects in each, and objects that models like to invent for it.

Wang et al., arXiv 2311.07397. The images are on a drive of its authors (its README has the link) and go by hand into
``$CIM_DATA/amber/images``. Run with ``cim eval --model M --task amber``.
"""

from __future__ import annotations

import json
from pathlib import Path

from harness.types import DataFile, Sample, Task

_COMMIT = "534babf6bbfcce2e735c26289dedfb21cef3c939"
_FILE = DataFile(
    name="annotations.json",
    bytes=1_813_301,
    sha256="db22a436c4836fbb295e60b4e80d519573077579fb7032f01b193c1bd022b797",
    url=f"https://raw.githubusercontent.com/junyangwang0410/AMBER/{_COMMIT}/data/annotations.json",
)


def _load(folder: Path) -> list[Sample]:
    """The rest of the file are answers of the discriminative part."""
    rows = json.loads((folder / _FILE.name).read_text(encoding="utf-8"))
    return [
        Sample(
            id=str(row["id"]),
            references=(),
            image=f"AMBER_{row['id']}.jpg",
            objects=tuple(row["truth"]),
            decoys=tuple(row["hallu"]),
        )
        for row in rows
        if row["type"] == "generative"
    ]


TASK = Task(
    name="amber",
    title="AMBER, generative part",
    prompt="Describe this image.",
    files=(_FILE,),
    count=1004,
    provides=frozenset({"objects", "decoys"}),
    load=_load,
    licence="Apache-2.0",
    source=f"github.com/junyangwang0410/AMBER@{_COMMIT[:7]}",
)
