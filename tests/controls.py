"""Weight-free captions made from references: the control predictions of the protocol, by name.

C-1 the reference, C-2 every tenth word dropped, C-3 first half and shuffled words, C-4 the next
image's reference, C-6 empty.
"""

import json
import random
from pathlib import Path

FILES = {"docci500": "test_docci_500_gt.json", "coco_ln500": "test_cocoln_500_gt.json"}


def references(benchmarks: Path, task: str) -> dict[str, str]:
    """Sample id to reference caption, in file order."""
    captions: dict[str, str] = json.loads((benchmarks / task / FILES[task]).read_text(encoding="utf-8"))
    return captions


def perturbed(captions: dict[str, str], kind: str) -> dict[str, str]:
    """The control named ``kind``: reference, drop10, half, shuffled, wrong_image, empty."""
    if kind == "reference":
        return dict(captions)
    if kind == "wrong_image":
        keys = list(captions)
        return {key: captions[keys[(i + 1) % len(keys)]] for i, key in enumerate(keys)}
    return {key: _damaged(text.split(), kind) for key, text in captions.items()}


def _damaged(words: list[str], kind: str) -> str:
    if kind == "drop10":
        return " ".join(word for i, word in enumerate(words) if i % 10 != 9)
    if kind == "half":
        return " ".join(words[: len(words) // 2])
    if kind == "shuffled":
        random.Random(1).shuffle(words)
        return " ".join(words)
    if kind == "empty":
        return ""
    raise ValueError(kind)
