"""A rule judge, not a language model: answers questions about miniscenes captions by reading the caption's graph.

It reads the same prompts a model would get (caption and last ``Questions:`` block, or the taxonomy question) and
writes the same kind of reply, so prompts, parsers and metrics are exercised in full without weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from harness.parts import Engine
from harness.types import Completion, Model, Request, SceneGraph
from tasks.miniscenes import reading

END = "Don't output extra text."
# What follows END in the prompts cim-code, cim-figure6 and fenced; a caption ends at the last mark that can end it.
FORMS = [
    re.compile(form + r"Questions:(?P<asked>.*)", re.DOTALL)
    for form in (
        r'\nCaption:"(?P<caption>.*)"\n',
        r"\n\nCaption: (?P<caption>.*)\n\n",
        r"\nThe caption is [^\n]*\nBEGIN (\w+)\n(?P<caption>.*)\nEND \1\n",
    )
]


def reply(prompt: str) -> str:
    """The reply to a relation or taxonomy prompt of ``judges/``; empty when the prompt is neither."""
    mention = re.fullmatch(
        r"Caption: (.*)\n\nCheck if the caption explicitly mentions (.*)\.\n\nAnswer.*", prompt, re.DOTALL
    )
    if mention:
        return "yes" if _mentions(reading.read(mention[1]), mention[2]) else "no"
    rest = prompt.partition(END)[2]
    block = next((match for form in FORMS if (match := form.fullmatch(rest))), None)
    if block is None:
        return ""
    asked = re.split(r"(?:^|(?<=\?))\d+\. ", block["asked"])[1:]
    stated = reading.read(block["caption"])
    return ", ".join(f"{number}: {reading.answer(text, stated)}" for number, text in enumerate(asked, start=1))


def _mentions(stated: SceneGraph, what: str) -> bool:
    """``any circle`` or ``the circle breed ring``."""
    *kind, word = what.split()
    names = {name for names in stated.names.values() for name in names}
    return word in (names if "breed" in kind else stated.objects)


def _generate(_: Model, requests: Sequence[Request]) -> Iterator[Completion]:
    for request in requests:
        yield Completion(request.sample_id, reply(request.prompt), finish_reason="stop")


ENGINE = Engine(name="rules", generate=_generate)
