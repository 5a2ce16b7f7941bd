"""A FAKE engine with sessions, for tests of workers: one of the processes that run it kills itself.

The first that is asked for its third caption while the folder of the model's checkpoint holds no file ``died`` makes
that file and ends by SIGKILL; with a file ``all`` there, each ends so.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from harness.engines import _weights
from harness.parts import Engine, Generate
from harness.types import Completion, Model, Request


@contextmanager
def _session(model: Model) -> Iterator[Generate]:
    assert model.weights is not None
    folder, asked = Path(model.weights.checkpoint), 0

    def write(requests: Sequence[Request]) -> Iterator[Completion]:
        nonlocal asked
        for request in requests:
            asked += 1
            if asked > 2 and ((folder / "all").exists() or _first(folder / "died")):
                os.kill(os.getpid(), signal.SIGKILL)
            yield Completion(request.sample_id, f"caption of {request.sample_id}", "stop", 3, 4)

    yield write


def _first(mark: Path) -> bool:
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


ENGINE = Engine("mortal", partial(_weights.generate, _session), describe=lambda _: {"name": "mortal"}, session=_session)
