"""One command in a forked process, under limits: its exit code and what it wrote, or that it hung.

The parent has imported the modules that commands need, so a case takes a fraction of a second.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import os
import pkgutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.resources import address_space

HUNG, CRASHED = 124, 70


@dataclass(frozen=True, slots=True)
class Ended:
    """Exit code (negative: the signal), both outputs, and seconds."""

    code: int
    out: str
    err: str
    seconds: float = 0.0


def warm(weights: bool = True) -> None:
    """Import what commands import, once."""
    import harness.command
    import leaderboards

    for package in (harness.command, leaderboards):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    address_space.take()  # else OpenBLAS asks for its buffer in the child, where it may get none
    for name in ("numpy", "rich.table", "nltk", *(("torch", "transformers") if weights else ())):
        importlib.import_module(name)


def fork(
    words: Sequence[str],
    environment: Mapping[str, str],
    *,
    seconds: float = 120,
    before: Callable[[], object] = lambda: None,
    meanwhile: Callable[[int], object] = lambda _: None,
) -> Ended:
    """Run ``cim`` with these words in a forked process that leads a process group of its own.

    Args:
        before: called in the child, before the command: sets limits.
        meanwhile: called in the parent with the child's id, while it runs: may kill it.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        if (child := os.fork()) == 0:
            _child(words, environment, out.fileno(), err.fileno(), before)
        meanwhile(child)
        code = _wait(child, started + seconds)
        _kill(child)  # whatever it left running
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return Ended(code, texts[0], texts[1], time.monotonic() - started)


def _child(
    words: Sequence[str], environment: Mapping[str, str], out: int, err: int, before: Callable[[], object]
) -> None:
    code = CRASHED
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), encoding="utf-8")
        sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", 0, closefd=False), encoding="utf-8", write_through=True)
        os.environ.update(environment)
        gc.freeze()
        before()
        from harness.command import cli

        code = cli.main(list(words))
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    finally:
        if (raised := sys.exc_info()[1]) is not None:  # what no handler catches, shown as Python would show it
            traceback.print_exception(raised)
            code = 1
        sys.stdout.flush()
        os._exit(code)


def _wait(child: int, until: float) -> int:
    pause = 0.002
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(pause)
        pause = min(0.05, pause * 1.3)
    _kill(child)
    os.waitpid(child, 0)
    return HUNG


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
