"""Writes the training rows of verl or ms-swift from any source that galleries are built from.

Each row has the caption prompt, the image's path and its gallery key, by which the reward server knows it. Run with
``python recipes/prepare.py verl rows.jsonl refinedcaps train_coco6k_sft.json coco/train2017``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import registry
from harness.errors import CimError
from harness.retrieval import sources
from harness.retrieval.gallery import key

Row = dict[str, Any]


def verl(prompt: str, image: str, source_id: str, number: int) -> Row:
    """As ``verl/utils/dataset/rl_dataset.py`` reads it; extra columns lie in ``extra_info``."""
    return {
        "data_source": "cim",
        "prompt": [{"role": "user", "content": f"<image>{prompt}"}],
        "images": [{"image": image}],
        "reward_model": {"style": "rule", "ground_truth": ""},
        "extra_info": {"index": number, "source_id": source_id},
    }


def swift(prompt: str, image: str, source_id: str, _: int) -> Row:
    """As ms-swift's custom data sets; a further column reaches the reward by its name."""
    return {
        "messages": [{"role": "user", "content": f"<image>{prompt}"}],
        "images": [image],
        "source_id": source_id,
    }


FORMS: dict[str, Callable[[str, str, str, int], Row]] = {"verl": verl, "swift": swift}


def main(given: list[str] | None = None) -> int:
    """Write the rows; 2 where the source cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("form", choices=FORMS)
    parser.add_argument("out", type=Path)
    parser.add_argument("kind", help="refinedcaps, densefusion, docci, jsonl or folder")
    parser.add_argument("file", type=Path)
    parser.add_argument("images", type=Path, nargs="?")
    args = parser.parse_args(given)
    prompt, rows = registry.training("cim_rl").prompt, list[Row]()
    try:
        for number, pair in enumerate(sources.read(args.kind, args.file, args.images)):
            if not isinstance(pair.image, Path):
                raise CimError("images inside an archive have no path", where=str(args.file), hint="unpack it")
            name = key(pair.source, pair.image_id)
            rows.append(FORMS[args.form](prompt, str(pair.image.absolute()), name, number))
    except CimError as error:
        sys.stderr.write(f"prepare: {error}\n")
        return 2
    args.out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    sys.stderr.write(f"prepare: {len(rows)} rows in {args.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
