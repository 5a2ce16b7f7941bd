"""Relation questions about a caption: the prompt of the released code, byte for byte, and two readings of a reply.

Prompt ``cim-code``: ``Jia-hn/CIM:eval/eval_qwen_vl.py@870f58f`` (``_build_vqa_prompt``). Reading ``cim-v1`` is its
``_parse_vqa_output`` with all its habits (later hits overwrite, case kept, "1. Yes" unread); ``tolerant`` also
reads "1.", "1)", bold marks, any case and glued answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from harness.parts import Judge
from harness.types import Sample

EXAMPLES = {3: "1: Yes, 2: No, 3: n/a", 4: "1: Yes, 2: No, 3: Yes, 4: n/a"}
EXAMPLE = "1: Yes, 2: No, 3: Yes, 4: n/a, 5: Yes"
CIM_V1 = re.compile(r"(\b(\d+)\s*[:\-]?\s*)(yes|no|n/?a)\b", re.IGNORECASE)
TOLERANT = re.compile(r"(?<!\d)(\d+)\s*[.):\-]{0,2}[\s*_\"']*(yes|no|n/?a)(?![a-z])", re.IGNORECASE)
NORMAL = {"yes": "Yes", "no": "No", "na": "n/a", "n/a": "n/a"}


def prompt(caption: str, questions: Sequence[str]) -> str:
    """The judge's prompt; caption and questions stand in it as they are."""
    n = len(questions)
    block = "".join(f"{number}. {question}" for number, question in enumerate(questions, start=1))
    return (
        f'I will give you a passage of caption. Please answer the following {n} questions with "Yes", "No", or "n/a" '
        f'based on the given caption. Output like this: "{EXAMPLES.get(n, EXAMPLE)}". Don\'t output extra text.\n'
        f'Caption:"{caption}"\n'
        f"Questions:{block}"
    )


def cim_v1(reply: str, n: int) -> list[str | None]:
    """Answers 1 to n as the released code reads them: the matched letters, None where there is none."""
    return _slots(((match[2], match[3]) for match in CIM_V1.finditer(reply)), n)


def tolerant(reply: str, n: int) -> list[str | None]:
    """Answers 1 to n as ``Yes``, ``No`` or ``n/a``, None where there is none."""
    return _slots(((match[1], NORMAL[match[2].lower()]) for match in TOLERANT.finditer(reply)), n)


def _slots(hits: Iterable[tuple[str, str]], n: int) -> list[str | None]:
    slots: list[str | None] = [None] * n
    for number, word in hits:
        if 1 <= int(number) <= n:
            slots[int(number) - 1] = word
    return slots


def _prompts(sample: Sample, caption: str) -> Mapping[str, str]:
    return {"": prompt(caption, [question.text for question in sample.questions])} if sample.questions else {}


JUDGE = Judge(name="relation_qa", prompts=_prompts, signature={"prompt": "cim-code"})
