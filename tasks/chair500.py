"""CHAIR on 500 images of COCO val2014: the images that OPERA's and many later papers' CHAIR values are about.

Annotated are all of COCO's 80 categories in an image, by its instances and what its five references name; the
references themselves are not part of the file. Prompt: ``shikiw/OPERA:chair_eval.py@61426ef``. Run with
``cim eval --model M --task chair500``.
"""

from __future__ import annotations

import json
from pathlib import Path

from harness.types import Archive, DataFile, Sample, Task

_SOURCE = "Areebol/vlm-decoding-hal@65602c27385193338be1dfea80dd0315e1b8fa24"
# One JSON object in spite of its name: the captions of LLaVA-1.5 with the words that were counted, and for each image
# the annotated objects, of which alone this task reads.
_FILE = DataFile(
    name="regular_chair.jsonl",
    bytes=1_274_650,
    sha256="375889025cb7ad3aba061ef634fe26414ca737eb73f76973a82056957ff23856",
    url=f"https://raw.githubusercontent.com/{_SOURCE.replace('@', '/')}/re_log/llava-1.5/regular_chair.jsonl",
)


def _load(folder: Path) -> list[Sample]:
    rows = json.loads((folder / _FILE.name).read_text(encoding="utf-8"))["sentences"]
    return [
        Sample(
            id=str(row["image_id"]),
            references=(),
            image=f"COCO_val2014_{row['image_id']:012d}.jpg",
            coco_objects=tuple(sorted(row["mscoco_gt_words"])),
        )
        for row in rows
    ]


TASK = Task(
    name="chair500",
    title="CHAIR, 500 images",
    prompt="Please describe this image in detail.",
    files=(_FILE,),
    count=500,
    provides=frozenset({"coco_objects"}),
    load=_load,
    licence="file MIT, COCO's annotations CC BY 4.0",
    source=_SOURCE,
    # The size as the server reports it; COCO publishes no sum.
    archive=Archive(
        url="http://images.cocodataset.org/zips/val2014.zip",
        bytes=6_645_013_297,
        sha256=None,
        member=lambda sample: f"val2014/{sample.image}",
        licence="the Flickr users' own",
        source="cocodataset.org",
    ),
)
