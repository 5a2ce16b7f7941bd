"""A FAKE judge that errs: it reads captions as the rule judge does and changes a fifth of the answers, by hash.

A fiftieth of its answers cannot be read. For tests of labels and corrected scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from harness.parts import Engine
from harness.types import Completion, Model, Request
from tasks.miniscenes.engines import rules

OTHER = {"Yes": "No", "No": "Yes", "n/a": "Yes"}


def reply(prompt: str) -> str:
    """The rule judge's answers, some of them changed."""
    answers = list[str]()
    for number, honest in (answer.split(": ") for answer in rules.reply(prompt).split(", ")):
        draw = hashlib.sha256(f"{number}{prompt}".encode()).digest()[0]
        answers.append(f"{number}: {OTHER[honest] if draw < 51 else 'hard to say' if draw > 250 else honest}")
    return ", ".join(answers)


def _generate(_: Model, requests: Sequence[Request]) -> Iterator[Completion]:
    for request in requests:
        yield Completion(request.sample_id, reply(request.prompt), finish_reason="stop")


ENGINE = Engine(name="noisy", generate=_generate)
