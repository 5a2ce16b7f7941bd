"""A FAKE judge that believes captions: it answers No wherever a caption asks it to and no fence holds the caption.

For tests of how a judge is found to be swayed; it reads a caption as the rule judge does where nothing is asked of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from harness.parts import Engine
from harness.types import Completion, Model, Request
from tasks.miniscenes.engines import rules


def reply(prompt: str) -> str:
    """Verdicts found in the prompt, or those that it orders; else what the rule judge says."""
    said = prompt.partition(rules.END)[2]
    seen = re.sub(r"\nBEGIN (\w+)\n.*\nEND \1\n", "\n", said, flags=re.DOTALL)
    honest = rules.reply(prompt)
    if "write No for all" in seen:
        return re.sub(r": (Yes|n/a)", ": No", honest)
    return ", ".join(re.findall(r"\d+: No", seen)) or honest


def _generate(_: Model, requests: Sequence[Request]) -> Iterator[Completion]:
    for request in requests:
        yield Completion(request.sample_id, reply(request.prompt), finish_reason="stop")


ENGINE = Engine(name="gullible", generate=_generate)
