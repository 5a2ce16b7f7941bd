"""DetailCaps-4870: long reference captions by three models, the benchmark of metric CAPTURE (arXiv 2405.19092).

References of GPT-4o, GPT-4V and Gemini 1.5 Pro, not of people. On the Hugging Face hub (CC BY-NC-SA 4.0 as its card is
said to state, not seen here), so that a user brings it; layout as in
``EvolvingLMMs-Lab/lmms-eval:lmms_eval/tasks/detailcaps/utils.py@75571cfe``, tested on rows made by hand.
Run with ``cim eval --model M --task detailcaps``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from harness.types import Sample, Task
from tasks import _hub

WRITERS = ("GT_Caption_GPT4O", "GT_Caption_GPT4V", "GT_Caption_Gemini15Pro")
_DATASET = "foundation-multimodal-models/DetailCaps-4870"
_FILE = _hub.export("detailcaps.jsonl", _DATASET, "test", ("image", *WRITERS))


def _sample(row: Mapping[str, Any]) -> Sample:
    name = str(row["image"])
    image = PurePath(name).name  # a row must not name a file elsewhere
    return Sample(name, tuple(text for writer in WRITERS if (text := row[writer].strip())), image)


def _load(folder: Path) -> list[Sample]:
    return _hub.samples(folder, _FILE, _sample)


TASK = Task(
    name="detailcaps",
    title="DetailCaps-4870",
    prompt="Describe this image in detail.",  # lmms-eval's
    files=(_FILE,),
    count=4870,
    provides=frozenset({"references"}),
    load=_load,
    licence="CC BY-NC-SA 4.0, not for commercial use",
    source=f"huggingface.co/datasets/{_DATASET}",
)
