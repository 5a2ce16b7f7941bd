"""Multiple-choice questions that a language model answers from a caption alone.

``caption_qa`` is CaptionQA's prompt, one per question: ``bronyayang/CaptionQA:qa.py@f729489``; an option of a question
may be that it cannot be answered. ``caption_qa@capmas`` puts all questions in one prompt and allows "I don't know":
``adobe-research/CapMAS:eval_coverage.py@ca2aa00``. A reader model knows the world, so what it answers without a caption
is the floor: ``cim judge --controls``.
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
CAPMAS_SYSTEM = (
    "Your role is to answer the given questions based on the provided caption. I want to measure the amount of "
    "information in the caption. Therefore, if the correct answer to the question cannot be determined from the "
    'caption, you should answer it with "I don\'t know". Do not use your own knowledge in your response. Do not use '
    "information that can be inferred from the question itself. Only use the information provided in the caption. "
    "Answer the question by directly selecting the letter of the corresponding option. Do not repeat the question."
)
CANNOT = "Cannot answer from the caption"  # the option, as CaptionQA words it
NOT_SAID = "n/a"
CAPMAS_TOKENS = 1024  # some ten for each of up to 60 questions
LISTED = re.compile(r"^\s*[A-Z]\)", re.MULTILINE)
LETTER = re.compile(r"\b([A-Z])\b")
NUMBER = re.compile(r"\b([1-9][0-9]?)\b")


def questions(sample: Sample) -> list[Fact]:
    """The facts of a sample that are multiple-choice questions."""
    return [fact for fact in sample.facts if fact.choices]


def prompt(caption: str, fact: Fact) -> str:
    """CaptionQA's prompt of one question."""
    options = "\n".join(f"{letter}. {choice}" for letter, choice in zip(ascii_uppercase, fact.choices, strict=False))
    return f"Caption:\n{caption}\n\nQuestion:\n{fact.text}\n\nOptions:\n{options}\n\nAnswer:"


def together(caption: str, facts: Sequence[Fact]) -> str:
    """CapMAS's prompt of all questions about a caption, numbered from 0.

    A text that lists its options stands as it is; options follow others, without ``CANNOT``, which the system prompt
    puts in words of its own.
    """
    blocks = [fact.text if LISTED.search(fact.text) else fact.text + _options(fact) for fact in facts]
    return f"Caption: {caption}.\nQuestions:\n" + "\n\n".join(f"{at}. {block}" for at, block in enumerate(blocks))


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


def capmas(reply: str, n: int) -> list[str | None]:
    """Letters of n questions, or ``n/a``, as CapMAS reads a reply: every second piece between line ends and ". ".

    None for all where there are not n such pieces; the benchmark asks again up to twice, which greedy judges need not.
    """
    if reply.strip().rstrip(".") == "I don't know":
        return [NOT_SAID] * n
    pieces = [piece.partition(")")[0] for piece in reply.replace("\n\n", "\n").strip().replace(". ", "\n").split("\n")]
    return [_letter(piece.strip()) for piece in pieces[1::2]] if len(pieces[1::2]) == n else [None] * n


def _letter(piece: str) -> str | None:
    if piece.lower().startswith("i don't know"):
        return NOT_SAID
    return piece.upper() if len(piece) == 1 and piece.upper() in ascii_uppercase else None


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
    "capmas": Judge(
        name="caption_qa@capmas",
        prompts=_all,
        signature=_signature("capmas", CAPMAS_SYSTEM + together("<Caption>", [_FACT, _FACT])),
        parsers={"capmas": capmas},
        system=CAPMAS_SYSTEM,
        reply_tokens=CAPMAS_TOKENS,
    )
}
