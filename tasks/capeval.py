"""CAPEval: 300 images of four domains with 14,965 statements, each of which a caption says right, wrong or not at all.

Checklists, references and images are in its repository, Apache-2.0; arXiv 2608.02589. The prompt is the benchmark's.
Run with ``cim eval --model M --task capeval --judge J``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.types import Archive, DataFile, Fact, Sample, Task

COMMIT = "40a92dd0fc5d9513e3772c0005ab1e7435b7992a"
SOURCE = f"liuzhipenggg/CAPEval@{COMMIT}"
_ADDRESS = f"https://raw.githubusercontent.com/liuzhipenggg/CAPEval/{COMMIT}/data"
_FILES = tuple(
    DataFile(name, size, sha256, f"{_ADDRESS}/{name}")
    for name, size, sha256 in (
        ("checklist.jsonl", 1_621_701, "dba184d9bf7957abac8d342951231a093d3a913ca3fc2a88bf462c2a3f8fb547"),
        ("gt_caption.jsonl", 672_836, "1a37ec266dd6ddeb09d8ff0a6c649d2e9054ba6c6c2112e7e4c1502b0e698e9b"),
    )
)
KINDS = ("instance", "attribute", "relation", "image", "text", "human", "ui", "world_knowledge")  # capeval/schema.py


def _load(folder: Path) -> list[Sample]:
    checklists, references = (_rows(folder / file.name) for file in _FILES)
    return [
        Sample(
            id=Path(image).stem,
            references=(references[image]["gt_caption"],),
            image=image,
            facts=tuple(_facts(row)),
            domain=image[:2],
        )
        for image, row in checklists.items()
    ]


def _rows(path: Path) -> dict[str, dict[str, Any]]:
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {row["img_path"]: row for row in rows}


def _facts(row: Mapping[str, Any]) -> list[Fact]:
    """Statements in the order of the benchmark's prompt; all are true of the image."""
    listed = [(kind, entry) for kind in KINDS for entry in row[f"{kind}_checklist"]]
    return [
        Fact(str(at), entry["Question"].strip(), "yes", kind, entry["Tags"], source=SOURCE)
        for at, (kind, entry) in enumerate(listed)
    ]


TASK = Task(
    name="capeval",
    title="CAPEval",
    prompt="Analyze the image in a comprehensive and detailed manner.",  # capeval/prompts.py
    files=_FILES,
    count=300,
    questions=14_965,
    provides=frozenset({"references", "checklist"}),
    load=_load,
    licence="Apache-2.0",
    source=SOURCE,
    judge="qwen2.5-72b",
    # GitHub makes this archive when it is asked, so that its bytes may change while its files do not.
    archive=Archive(
        url=f"https://codeload.github.com/liuzhipenggg/CAPEval/tar.gz/{COMMIT}",
        bytes=109_000_000,
        sha256=None,
        member=lambda sample: f"CAPEval-{COMMIT}/data/image/{sample.image}",
        licence="Apache-2.0 as the repository says; the photographs are other people's",
        source=SOURCE,
        kept=1.0,
    ),
)
