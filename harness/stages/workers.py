"""Worker processes, each with the model loaded on a GPU of its own, that share the requests of one command.

The command hands out requests in shares that get smaller towards the end, and alone writes the store, so that there is
nothing to merge and no collective call to hang in. What a worker that dies has not answered goes to the others.
A worker is ``python -m harness.stages.workers``: JSON lines on standard input and output. Run with
``cim eval --model M --workers 4``.
"""

from __future__ import annotations

import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

from harness.cluster import models
from harness.errors import CimError, OutageError
from harness.parts import Generate
from harness.resources import machine
from harness.types import Completion, Model, Request

LARGEST = 1024  # requests of a share: what is read again if its worker dies
PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size")
VISIBLE = "CUDA_VISIBLE_DEVICES"

Say = Callable[[str], None]


def devices(model: Model, count: int) -> list[str | None]:
    """The GPUs of each worker as ``CUDA_VISIBLE_DEVICES`` takes them; None on a machine without one.

    Raises:
        CimError: there are fewer GPUs than the workers take.
    """
    visible = os.environ.get(VISIBLE)
    names = visible.split(",") if visible else [str(number) for number in range(len(machine.gpus()))]
    if not machine.gpus():
        return [None] * count
    options = model.weights.vllm if model.weights and model.engine == "vllm" else {}
    each = int(options.get(PARALLEL[0], 1)) * int(options.get(PARALLEL[1], 1))
    if count * each > len(names):
        what = f"{count} workers of {each} GPU{'s' * (each > 1)} each, and {len(names)} are here"
        raise CimError(what, where="--workers", hint=f"at most --workers {len(names) // each}")
    return [",".join(names[at * each : (at + 1) * each]) for at in range(count)]


@contextmanager
def session(model: Model, count: int, say: Say) -> Iterator[Generate]:
    """Start the workers and yield the function from requests to completions, which may be called again and again."""
    workers = list[Worker]()
    try:
        for places in devices(model, count):
            workers.append(Worker(model, places))
        yield lambda requests: generate(workers, requests, say)
    finally:
        for worker in workers:
            worker.end()


class Worker:
    """One worker process; ``write`` sends it requests and yields its completions as they arrive."""

    def __init__(self, model: Model, places: str | None) -> None:
        environment = {**os.environ, **({} if places is None else {VISIBLE: places})}
        # The worker imports what the command does, also where that was started beside a checkout.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.stages.workers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # Ctrl-C is the command's own; and its helpers end with it
        )
        self.alive = True
        with suppress(BrokenPipeError):  # it has died at once: then reading says so
            self._send(models.model_row(model, "--workers"))

    def write(self, requests: Sequence[Request]) -> Iterator[Completion]:
        """Completions of these requests.

        Raises:
            CimError: the model cannot be loaded.
            OutageError: the engine stopped, or the process died.
        """
        stdout = self.process.stdout
        assert stdout is not None
        try:
            self._send([models.request_row(request) for request in requests])
            for line in stdout:
                answer = json.loads(line)
                if answer is None:
                    return
                if "failed" in answer:
                    raise (OutageError if answer["outage"] else CimError)(answer["failed"])
                yield models.completion(answer)
        except (BrokenPipeError, json.JSONDecodeError):
            pass  # it died, perhaps in the middle of a line
        code = self.process.wait()
        raise OutageError(f"worker {self.process.pid} ended ({_ending(code)})", hint="the same command goes on")

    def end(self) -> None:
        """Let it close its engine and leave; what does not is killed, with its helpers."""
        with suppress(BrokenPipeError):
            self._send(None)
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def _send(self, content: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(content).encode() + b"\n")
        self.process.stdin.flush()


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit {code}"


def generate(workers: Sequence[Worker], requests: Sequence[Request], say: Say) -> Iterator[Completion]:
    """Completions of all requests as they arrive from any worker; ``say`` is told of one that fails.

    Raises:
        CimError: no worker could load the model; the first reason.
        OutageError: the last worker stopped or died; what had arrived before is kept by the caller.
    """
    alive = [worker for worker in workers if worker.alive]
    shares, arrived = Shares(requests, len(alive)), queue.Queue[Completion | None]()

    def feed(worker: Worker) -> None:
        try:
            while share := shares.take():
                unanswered = {request.sample_id: request for request in share}
                try:
                    for completion in worker.write(share):
                        unanswered.pop(completion.sample_id, None)
                        arrived.put(completion)
                except CimError as error:
                    worker.alive = False
                    say(f"{error}; {len(unanswered)} of its requests go to the other workers")
                    shares.give_back(list(unanswered.values()), error)
                    return
                shares.done()
        finally:
            arrived.put(None)

    for worker in alive:
        threading.Thread(target=feed, args=(worker,), daemon=True).start()
    for _ in alive:
        while (completion := arrived.get()) is not None:
            yield completion
    if shares.unanswered:
        reasons = shares.failures or [OutageError("all workers have ended", hint="the same command goes on")]
        raise next((error for error in reasons if not isinstance(error, OutageError)), reasons[0])


class Shares:
    """The requests that nobody has answered yet, handed out in shares of half of an even part of the rest."""

    def __init__(self, requests: Sequence[Request], workers: int) -> None:
        self._todo, self._workers, self._handed_out = deque(requests), workers, 0
        self._changed = threading.Condition()
        self.failures = list[CimError]()

    @property
    def unanswered(self) -> int:
        """Requests that nobody has taken."""
        return len(self._todo)

    def take(self) -> list[Request]:
        """The next share; waits while others may still give something back, and is empty once all is answered."""
        with self._changed:
            while not self._todo and self._handed_out:
                self._changed.wait()
            size = min(LARGEST, math.ceil(len(self._todo) / (2 * max(1, self._workers))))
            share = [self._todo.popleft() for _ in range(size)]
            self._handed_out += bool(share)
            return share

    def done(self) -> None:
        """All of a share is answered."""
        with self._changed:
            self._handed_out -= 1
            self._changed.notify_all()

    def give_back(self, rest: Sequence[Request], error: CimError) -> None:
        """A worker has failed with the rest of its share unanswered."""
        with self._changed:
            self._todo.extendleft(reversed(rest))
            self._handed_out -= 1
            self._workers -= 1
            self.failures.append(error)
            self._changed.notify_all()


def main() -> None:
    """What a worker does: load the model, answer each list of requests, and leave when told to, or with its command."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lines: queue.Queue[Any] = queue.Queue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    start = lines.get()
    try:
        with models.opened(start) as write:
            while (requests := lines.get()) is not None:
                for completion in write([models.request(row) for row in requests]):
                    print(json.dumps(asdict(completion)), file=answers)
                print("null", file=answers)
    except CimError as error:
        print(json.dumps({"failed": str(error), "outage": isinstance(error, OutageError)}), file=answers)


def _read(lines: queue.Queue[Any]) -> None:
    with open(0, "rb", closefd=False) as stdin:  # sys.stdin is closed under a thread that reads it
        for line in stdin:
            lines.put(json.loads(line))
    os.killpg(0, signal.SIGKILL)  # the command has died; the engine may have helpers of its own


if __name__ == "__main__":
    main()
