"""A FAKE engine that answers what a JSON file beside its model file says, ``<name>.json``.

The file maps ids of requests (``*`` for all others) to fields of a ``Completion``; an id without an entry gets no
answer. For tests of what a run does with answers that are none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from harness.parts import Engine
from harness.types import Completion, Model, Request


def _generate(model: Model, requests: Sequence[Request]) -> Iterator[Completion]:
    assert model.source is not None
    answers = json.loads(model.source.with_suffix(".json").read_text(encoding="utf-8"))
    for request in requests:
        plain = request.sample_id.rpartition(":")[2]  # of a judge's question without its file
        name = plain if plain in answers else "*"
        if name in answers:
            yield Completion(request.sample_id, **{"text": None, **answers[name]})


ENGINE = Engine(name="scripted", generate=_generate)
