"""IIW-400: 400 images of DOCCI's test extension with hyper-detailed human descriptions (ImageInWords, EMNLP 2024).

The images are DOCCI's: ``aar_test_*.jpg`` of the archive of AAR images at google.github.io/docci, to be put into
``$CIM_DATA/iiw400/images``. Run with ``cim eval --model M --task iiw400``.
"""

from __future__ import annotations

import json
from pathlib import Path

from harness.types import DataFile, Sample, Task
from tasks import _sc_captioner

COMMIT = "96d393777e2528becd8a7afa1389eb4b65084793"
_FILE = DataFile(
    name="data.jsonl",
    bytes=980_175,
    sha256="88809dde73731208fa98f72430225a9122c8f7e3c4ebcde98e255d62c5f203f2",
    url=f"https://raw.githubusercontent.com/google/imageinwords/{COMMIT}/datasets/IIW-400/data.jsonl",
)


def _load(folder: Path) -> list[Sample]:
    rows = map(json.loads, (folder / _FILE.name).read_text(encoding="utf-8").splitlines())
    return [Sample(id=row["image/key"], references=(row["IIW"],), image=f"{row['image/key']}.jpg") for row in rows]


TASK = Task(
    name="iiw400",
    title="IIW-400",
    prompt=_sc_captioner.PROMPT,
    files=(_FILE,),
    count=400,
    provides=frozenset({"references"}),
    load=_load,
    licence="CC BY 4.0 (Google)",
    source=f"google/imageinwords@{COMMIT}",
)
