"""A rule judge, not a language model: answers questions about miniscenes captions by reading the caption's graph.

It reads the same prompts a model would get (the last ``Questions:`` block, or the taxonomy question) and
writes the same kind of reply, so prompts, parsers and metrics are exercised in full without weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from harness.parsers import grammar
from harness.parts import Engine
from harness.types import Completion, Model, Request, SceneGraph


def reply(prompt: str) -> str:
    """The reply to a relation or taxonomy prompt of ``judges/``; empty when the prompt is neither."""
    block = re.fullmatch(r'.*?\nCaption:"(.*)"\nQuestions:(.*)', prompt, flags=re.DOTALL)
    if block:
        asked = re.split(r"(?:^|(?<=\?))\d+\. ", block[2])[1:]
        stated = _graph(block[1])
        return ", ".join(f"{number}: {grammar.answer(text, stated)}" for number, text in enumerate(asked, start=1))
    mention = re.fullmatch(
        r"Caption: (.*)\n\nCheck if the caption explicitly mentions (.*)\.\n\nAnswer.*", prompt, re.DOTALL
    )
    return ("yes" if _mentions(_graph(mention[1]), mention[2]) else "no") if mention else ""


def _graph(caption: str) -> SceneGraph:
    return grammar.read(caption)


def _mentions(stated: SceneGraph, what: str) -> bool:
    """``any circle`` or ``the circle breed ring``."""
    words = what.split()
    return words[-1] in stated.names.values() if "breed" in words else words[-1] in stated.objects


def _generate(_: Model, requests: Sequence[Request]) -> Iterator[Completion]:
    for request in requests:
        yield Completion(request.sample_id, reply(request.prompt), finish_reason="stop")


ENGINE = Engine(name="rules", generate=_generate)
