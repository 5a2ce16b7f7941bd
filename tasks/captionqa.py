"""CaptionQA: multiple-choice questions of four domains, answered from the caption alone (arXiv 2511.21025, CVPR 2026).

Its public part is on the Hugging Face hub and states no licence, so that a user brings it, as JSON lines; nobody here
has seen it: layout and order of the options are those of ``bronyayang/CaptionQA:qa.py@f729489``, tested on rows made
by hand. The options of each question are shuffled as there for a captions file that holds all images.
Run with ``cim eval --model M --task captionqa --judge J``.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path, PurePath
from string import ascii_uppercase
from typing import Any

from harness.types import Fact, Sample, Task
from judges.caption_qa import CANNOT
from tasks import _hub

_FILE = _hub.export("captionqa.jsonl", "Borise/CaptionQA", "all", ("id", "questions"))
SOURCE = "huggingface.co/datasets/Borise/CaptionQA"
SEED = 0  # of the order of options
DOMAINS = {"nat": "natural", "doc": "document", "ecom": "ecommerce", "emb": "embodiedai"}
ASKING = (
    *("is ", "are ", "was ", "were ", "do ", "does ", "did ", "have ", "has ", "had ", "can ", "could "),
    *("will ", "would ", "should ", "shall ", "may ", "might ", "must "),
)


def yes_or_no(text: str, choices: list[str]) -> bool:
    """Is a question one of yes or no, which has no further option? As the benchmark tells them."""
    lower = [choice.strip().lower() for choice in choices]
    both = any("yes" in choice for choice in lower) and any("no" in choice for choice in lower)
    return both or text.strip().lower().startswith(ASKING)


def _load(folder: Path) -> list[Sample]:
    shuffle = random.Random(SEED)

    def sample(row: Mapping[str, Any]) -> Sample:
        listed = [_fact(str(at), question, shuffle) for at, question in enumerate(row["questions"])]
        name, facts = str(row["id"]), tuple(fact for fact in listed if fact)
        prefix = name.partition("_")[0]
        return Sample(name, (), PurePath(f"{name}.jpg").name, facts=facts, domain=DOMAINS.get(prefix, prefix))

    return _hub.samples(folder, _FILE, sample)


def _fact(name: str, row: Mapping[str, Any], shuffle: random.Random) -> Fact | None:
    """A question with its options in the order shown; None where its answer is no option, as the benchmark skips it."""
    text, choices, answer = row["question"], [str(choice) for choice in row["choices"] or ()], row["answer"]
    stripped = [choice.strip() for choice in choices]
    if len(choices) < 2 or not isinstance(answer, str) or answer.strip() not in stripped:
        return None
    right = stripped.index(answer.strip())
    options = choices if yes_or_no(text, choices) else [*choices, CANNOT]
    order = list(range(len(options)))
    shuffle.shuffle(order)
    kind = row.get("category") or ""
    return Fact(
        id=name,
        text=text,
        answer=ascii_uppercase[order.index(right)],
        kind=str(kind[0]) if isinstance(kind, list) else str(kind),
        choices=tuple(options[at] for at in order),
        source=SOURCE,
    )


TASK = Task(
    name="captionqa",
    title="CaptionQA",
    prompt="Describe this image in detail.",  # caption_prompt.py, SIMPLE
    files=(_FILE,),
    count=None,
    provides=frozenset({"choices"}),
    load=_load,
    licence="not stated",
    source=SOURCE,
    judge="qwen2.5-72b",
)
