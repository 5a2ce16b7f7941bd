"""Who holds the GPU's memory: one model at a time, so that each finds the whole of it free.

A captioner, parser, encoder or judge model stays loaded until another one is wanted; that one closes it first and gives
its memory back. vLLM starts only where 0.92 of a card is free, which neither another model nor torch's cache may hold.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any, TypeVar

from harness import registry
from harness.cluster import models, pool
from harness.parts import Generate
from harness.stages import workers
from harness.types import Completion, Model, Request

Session = TypeVar("Session")
Say = Callable[[str], None]


def unsaid(_: str) -> None:
    """A message that nobody is shown."""


class Device:
    """The one open session of a command that holds a model in memory; ``say`` receives a line before each load.

    With several ``workers`` captioners and judges with weights are loaded by so many processes (``workers.py``), with a
    ``cluster`` captioners and parsers by its actors (``cluster/pool.py``).
    """

    def __init__(self, say: Say = unsaid, workers: int = 1, cluster: pool.Cluster | None = None) -> None:
        self.say, self.workers, self.cluster = say, workers, cluster
        self._holder: Any = None
        self._session: Any = None
        self._stack = ExitStack()

    def open(
        self, name: str, session: Callable[[], AbstractContextManager[Session]], *, key: Any = None, note: str = ""
    ) -> Session:
        """The session of this name (and ``key``), opened unless it is the one that is open; any other is closed."""
        if self._holder != (name, key):
            self.close()
            self.say(f"{name}: loading{note}")
            self._session = self._stack.enter_context(session())
            self._holder = (name, key)
        opened: Session = self._session
        return opened

    def generate(self, role: str, model: Model, requests: Sequence[Request]) -> Iterable[Completion]:
        """Completions by the model's engine; weights are loaded once for consecutive calls with one model."""
        engine = registry.engine(model.engine)
        if self.cluster is not None:
            return self._on_cluster(self.cluster, model, requests)
        if engine.session is None:
            if model.weights is not None:  # loaded by each call, so nothing may stay open beside it
                self.close()
            return engine.generate(model, requests)
        name = f"{role} {model.name} on engine {engine.name}"
        session: Callable[[], AbstractContextManager[Generate]] = partial(engine.session, model)
        if self.workers > 1:
            name = f"{name}, {self.workers} workers"
            session = partial(workers.session, model, self.workers, self.say)
        return self.open(name, session, key=model, note=engine.start)(requests)

    def _on_cluster(self, cluster: pool.Cluster, model: Model, requests: Sequence[Request]) -> Iterator[Completion]:
        """Completions in the order of one process: shares are the batches that its engine would make."""
        batches = registry.engine(model.engine).batches or partial(_parts, size=workers.LARGEST)
        shares = [[models.request_row(request) for request in batch] for batch in batches(requests)]
        row = models.model_row(model, "--on ray")
        for answers in pool.ordered(cluster, models.answering, (row,), shares, gpu=True):
            yield from map(models.completion, answers)

    def close(self) -> None:
        """Close the open session and give its memory back; nothing happens where none is open."""
        if self._holder is None:
            return
        self._holder = self._session = None
        try:
            self._stack.close()
        finally:
            _give_back()


def _parts(requests: Sequence[Request], size: int) -> Iterator[Sequence[Request]]:
    return (requests[at : at + size] for at in range(0, len(requests), size))


def _give_back() -> None:
    """Models are full of reference cycles, and torch keeps freed memory for itself."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
