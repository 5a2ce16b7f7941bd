"""Annotation files in the form of SC-Captioner, which both paper benchmarks share.

Four files a benchmark, joined by id only (their orders differ); bytes are kept as they are, known
defects included. Source: ``zl2048/SC-Captioner:evaluate_*/@6c35a35bd8ab8682d2ba47cbbf5f62a1fe6e65a4``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.types import DataFile, Question, Sample

SOURCE = "zl2048/SC-Captioner@6c35a35bd8ab8682d2ba47cbbf5f62a1fe6e65a4"
ADDRESS = "https://raw.githubusercontent.com/zl2048/SC-Captioner/6c35a35bd8ab8682d2ba47cbbf5f62a1fe6e65a4"
# arXiv 2603.01696 supplement, Figure 6; the same sentence in Jia-hn/CIM:eval/eval_qwen_vl.py@870f58f.
PROMPT = "Caption this image as accurately as possible, without speculation. Describe what you see."
PROVIDES = frozenset({"references", "objects", "attributes", "questions", "gallery"})
GALLERY = "refinedcaps-densefusion"  # a name for what the paper searches; to be built, docs/cim.md says how


def annotation(directory: str, name: str, size: int, sha256: str) -> DataFile:
    """One annotation file, with its address in the pinned commit."""
    return DataFile(name=name, bytes=size, sha256=sha256, url=f"{ADDRESS}/{directory}/{name}")


def loader(files: tuple[DataFile, ...]) -> Callable[[Path], list[Sample]]:
    """A function from the benchmark's folder to its samples, in the order of the references file.

    ``files`` are references, objects, attributes and questions, in this order.
    """
    references, objects, attributes, questions = (file.name for file in files)

    def load(folder: Path) -> list[Sample]:
        nouns: dict[str, list[str]] = {}
        for line in (folder / objects).read_text(encoding="utf-8").split("\n"):
            if line:
                nouns.update(json.loads(line))
        words, asked = _read(folder / attributes), _read(folder / questions)
        return [
            Sample(
                id=key,
                references=(caption,),
                image=f"{key}.jpg",
                objects=tuple(nouns[key]),
                attributes={owner: tuple(values) for owner, values in words[key].items()},
                questions=tuple(Question(text, answer) for text, answer in asked[key].items()),
            )
            for key, caption in _read(folder / references).items()
        ]

    return load


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
