"""CapMAS coverage: 35,717 multiple-choice questions about 1,000 images of DOCCI and IIW-400 (arXiv 2412.15484).

Adobe Research licence: research that is not commercial, so that a user brings it, as one file made by git from its
repository. Its prompt is under it, too: metric ``caption_qa@together`` asks all questions of an image at once,
as the benchmark does, in other words. Every question has the option that it cannot be answered, as its last. Run with
``cim eval --model M --task capmas --judge J --metrics caption_qa@together``.
"""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path, PurePath
from string import ascii_uppercase

from harness.types import DataFile, Fact, Sample, Task
from judges.caption_qa import CANNOT

COMMIT = "ca2aa00c7135a726aa96197f3e189bcc54f587ca"
SOURCE = f"adobe-research/CapMAS@{COMMIT}"
_FILE = DataFile(
    name="capmas.tar",
    bytes=6_348_800,
    sha256="e23ec0874192d272bc1ae327628ad4663b489a4e82c848b46554b8312a59bbd2",
    by_hand="accept its licence, `git clone https://github.com/adobe-research/CapMAS`, and in it "
    f"`git archive -o capmas.tar {COMMIT} data`",
)
OPTION = re.compile(r"\s*([A-Z])\)\s*(.*?)\s*")


def _load(folder: Path) -> list[Sample]:
    references, facts = dict[str, str](), dict[str, tuple[Fact, ...]]()
    with tarfile.open(folder / _FILE.name, "r:") as archive:
        for entry in archive:
            if not (stream := archive.extractfile(entry)):
                continue
            path, text = PurePath(entry.name), stream.read().decode()
            if path.suffix == ".json":
                content = json.loads(text)
                pairs = zip(content["questions"], content["answers"], strict=True)
                facts[path.stem] = tuple(fact(str(at), *pair) for at, pair in enumerate(pairs))
            elif path.suffix == ".jsonl":
                references = {row["image"]: row["caption"] for row in map(json.loads, text.splitlines())}
    return [Sample(name, (text,), f"{name}.jpg", facts=facts[name]) for name, text in references.items()]


def fact(name: str, question: str, answer: str) -> Fact:
    """A question as it stands; its options are lines of their own, ``B) Blue``, in all but three.

    Those have bare letters as choices.
    """
    options, answer = [match for line in question.split("\n") if (match := OPTION.fullmatch(line))], answer.upper()
    letters = [match[1] for match in options]
    usual = answer in letters and letters == list(ascii_uppercase[: len(letters)])
    choices = [match[2] for match in options] if usual else [*"ABCD"]
    return Fact(name, question, answer, choices=(*choices, CANNOT), source=SOURCE)


TASK = Task(
    name="capmas",
    title="CapMAS coverage",
    prompt="Describe the given image in a very detailed manner.",  # the first of the five in its README
    files=(_FILE,),
    count=1000,
    questions=35_717,
    provides=frozenset({"references", "choices"}),
    load=_load,
    licence="Adobe Research licence, not for commercial use",
    source=SOURCE,
    judge="qwen2.5-72b",
)
