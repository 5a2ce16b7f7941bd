"""A stored run is the model: its captions are read again from its folder, failed ones included.

Run with ``cim eval --model results/docci500/my-model --results elsewhere``; a run named by its name
is scored where it stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.parts import Engine
from harness.runs import records
from harness.types import Completion, Model, Request


def _known(model: Model) -> frozenset[str]:
    assert model.source is not None
    return frozenset(records.read(model.source))


def _generate(model: Model, requests: Sequence[Request]) -> Iterator[Completion]:
    assert model.source is not None
    stored = records.read(model.source)
    for request in requests:
        yield stored[request.sample_id]


ENGINE = Engine(name="replay", generate=_generate, known=_known)
