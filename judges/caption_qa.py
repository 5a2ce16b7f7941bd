"""Multiple-choice questions that a language model answers from a caption alone.

``caption_qa`` is CaptionQA's prompt, one per question, which is also in
``EvolvingLMMs-Lab/lmms-eval:lmms_eval/tasks/captionqa/utils.py@75571cfe``; the reply is read as in
``bronyayang/CaptionQA:qa.py@f729489``. An option may be that a question cannot be answered. ``caption_qa@together`` is
ours: all questions of an image in one prompt, as CapMAS asks (arXiv 2412.15484; its own words are under its licence). A
reader model knows the world, so what it answers without a caption is a control: ``cim judge --controls``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from string import ascii_uppercase

from harness.parts import Judge
from harness.types import Fact, Sample

SYSTEM = (
    "You are given a caption describing an image, and a question about the image. Answer with a SINGLE LETTER "
    "(A, B, C, ...), no explanation."
)
TOGETHER_SYSTEM = (
    "You read the caption of an image and answer multiple-choice questions about the image from the caption alone, not "
    "from what you know or from what a question suggests. Answer every question on a line of its own: its number, a "
    'full stop and the letter of the option, such as "0. B". Write n/a in place of the letter where the caption does '
    "not say."
)
CANNOT = "Cannot answer from the caption"  # the option, as CaptionQA words it
NOT_SAID = "n/a"
TOGETHER_TOKENS = 1024  # some ten for each of up to 60 questions
LISTED = re.compile(r"^\s*[A-Z]\)", re.MULTILINE)
LETTER = re.compile(r"\b([A-Z])\b")
ANSWERED = re.compile(r"(?<!\d)(\d{1,4})\s*[.):]\s*\(?(n/?a|[a-z])\b", re.IGNORECASE)
NUMBER = re.compile(r"\b([1-9][0-9]?)\b")


def questions(sample: Sample) -> list[Fact]:
    """The facts of a sample that are multiple-choice questions."""
    return [fact for fact in sample.facts if fact.choices]


def prompt(caption: str, fact: Fact) -> str:
    """CaptionQA's prompt of one question."""
    options = "\n".join(f"{letter}. {choice}" for letter, choice in zip(ascii_uppercase, fact.choices, strict=False))
    return f"Caption:\n{caption}\n\nQuestion:\n{fact.text}\n\nOptions:\n{options}\n\nAnswer:"


def together(caption: str, facts: Sequence[Fact]) -> str:
    """The prompt of all questions about a caption, numbered from 0.

    A text that lists its options stands as it is; options follow others, without ``CANNOT``, for which there is n/a.
    """
    blocks = [fact.text if LISTED.search(fact.text) else fact.text + _options(fact) for fact in facts]
    return f"Caption:\n{caption}\n\nQuestions:\n\n" + "\n\n".join(f"{at}. {block}" for at, block in enumerate(blocks))


def _options(fact: Fact) -> str:
    lettered = zip(ascii_uppercase, fact.choices, strict=False)
    return "".join(f"\n{letter}) {choice}" for letter, choice in lettered if choice != CANNOT)


def captionqa(reply: str, n: int) -> list[str | None]:
    """The letter of one of n options as CaptionQA reads a reply: the first single letter, else a number from 1 to n."""
    reply = reply.partition("</think>")[2] if "</think>" in reply else reply
    reply = reply.partition("Answer: ")[2] if "Answer: " in reply else reply
    reply = reply.partition("\n")[2] if "\n" in reply else reply
    if (match := LETTER.search(reply.upper())) and match[1] in ascii_uppercase[:n]:
        return [match[1]]
    match = NUMBER.search(reply)
    return [ascii_uppercase[int(match[1]) - 1] if match and int(match[1]) <= min(n, len(ascii_uppercase)) else None]


def numbered(reply: str, n: int) -> list[str | None]:
    """Letters of questions 0 to n - 1, or ``n/a``; the first answer to each counts, None where there is none."""
    answers = dict[int, str]()
    for match in ANSWERED.finditer(reply):
        answers.setdefault(int(match[1]), match[2].upper() if len(match[2]) == 1 else NOT_SAID)
    return [answers.get(at) for at in range(n)]


def _single(sample: Sample, caption: str) -> Mapping[str, str]:
    return {fact.id: prompt(caption, fact) for fact in questions(sample)}


def _all(sample: Sample, caption: str) -> Mapping[str, str]:
    return {"": together(caption, facts)} if (facts := questions(sample)) else {}


def _signature(known_as: str, template: str) -> Mapping[str, str]:
    return {"prompt": f"{known_as}@{hashlib.sha256(template.encode()).hexdigest()[:8]}"}


_FACT = Fact("0", "<Question>", "A", choices=("<Choice>", "<Choice>"))
JUDGE = Judge(
    name="caption_qa",
    prompts=_single,
    signature=_signature("captionqa", SYSTEM + prompt("<Caption>", _FACT)),
    parsers={"captionqa": captionqa},
    system=SYSTEM,
)
VARIANTS = {
    "together": Judge(
        name="caption_qa@together",
        prompts=_all,
        signature=_signature("together", TOGETHER_SYSTEM + together("<Caption>", [_FACT, _FACT])),
        parsers={"numbered": numbered},
        system=TOGETHER_SYSTEM,
        reply_tokens=TOGETHER_TOKENS,
    )
}
