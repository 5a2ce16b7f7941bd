"""A mock engine of the demo task, and runs of it that kill themselves at every step in turn.

Run as ``python -m tests.mock_engine RESULTS``: captions and scores the demo task in ``RESULTS/whole``; then for each
step n of that run, in ``RESULTS/n``: killed at step n, again at the second step of what is left, then to the end.
Steps are captions that are asked for and files that are about to take their place. Prints one line a kill: n and the
captions that it left.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness import registry, store
from harness.parts import Engine
from harness.runs import manifest, records, run
from harness.stages import caption, parse, score
from harness.types import Completion, Model, Request

METRICS = ("bleu4_char", "length")


def _generate(_: Model, requests: Sequence[Request]) -> Iterator[Completion]:
    for request in requests:
        sys.audit("mock.caption", request.sample_id)
        if request.sample_id == "demo_05":
            yield Completion(request.sample_id, None, error="the mock engine cannot read this image")
        else:
            yield Completion(request.sample_id, f"mock caption of {request.sample_id}", "stop", 7, 5)


ENGINE = Engine("mock", _generate)
MODEL = Model("mock", "mock", None, {"engine": "mock", "seed": 0}, tasks=("demo",))


def plan(results: Path, model: Model = MODEL, *, fresh: bool = False) -> run.Run:
    """A run of the mock engine on the demo task."""
    original = registry.engine
    registry.engine = lambda name: ENGINE if name == "mock" else original(name)
    return run.plan(model, registry.task("demo"), results, limit=None, partial=False, fresh=fresh)


def main(results: Path) -> None:
    """Caption and score, as ``cim eval`` does."""
    planned = plan(results)
    metrics = [registry.metric(name) for name in METRICS]
    with parse.Parses(results) as parses, store.writing(planned.folder):
        caption.caption(planned)
        score.score(planned, metrics, parses, draws=200)
        manifest.advance(planned.folder, "complete")


def _ended(results: Path, last: int | None) -> int:
    """Exit code of a run in a forked process, which gets SIGKILL at its step ``last``."""
    if (child := os.fork()) == 0:
        steps = list[str]()

        def count(event: str, _: object) -> None:
            if event in ("mock.caption", "os.rename"):
                steps.append(event)
                if len(steps) == last:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        main(results)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    everything = Path(sys.argv[1])
    main(everything / "whole")
    for number in itertools.count(1):
        folder = everything / str(number)
        if _ended(folder, number) != -signal.SIGKILL:
            break
        print(number, len(records.read(folder / "demo" / "mock")), flush=True)
        _ended(folder, 2)
        if _ended(folder, None):
            sys.exit(f"step {number}: the run does not go on")
