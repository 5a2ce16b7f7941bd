"""A mock engine that writes one caption every few milliseconds, for killing runs at random moments.

Run as ``python -m tests.slow_engine RESULTS``: captions and scores the demo task with it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness import registry, store
from harness.parts import Engine
from harness.runs import manifest, run
from harness.stages import caption, parse, score
from harness.types import Completion, Model, Request

PAUSE = 0.02
METRICS = ("bleu4_char", "length")


def _generate(_: Model, requests: Sequence[Request]) -> Iterator[Completion]:
    for number, request in enumerate(requests):
        time.sleep(PAUSE)
        if request.sample_id == "demo_05":
            yield Completion(request.sample_id, None, error="the mock engine cannot read this image")
        else:
            yield Completion(request.sample_id, f"mock caption of {request.sample_id}", "stop", 7 + 0 * number, 5)


ENGINE = Engine("mock", _generate)
MODEL = Model("mock", "mock", None, {"engine": "mock", "seed": 0}, tasks=("demo",))


def plan(results: Path, model: Model = MODEL, *, fresh: bool = False) -> run.Run:
    """A run of the mock engine on the demo task."""
    original = registry.engine
    registry.engine = lambda name: ENGINE if name == "mock" else original(name)
    return run.plan(model, "demo", results, limit=None, partial=False, fresh=fresh)


def main(results: Path) -> None:
    """Caption and score, as ``cim eval`` does."""
    planned = plan(results)
    metrics = [registry.metric(name) for name in METRICS]
    with parse.Parses(results) as parses, store.writing(planned.folder):
        print("writing", flush=True)
        caption.caption(planned)
        score.score(planned, metrics, parses, draws=200)
        manifest.advance(planned.folder, "complete")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
