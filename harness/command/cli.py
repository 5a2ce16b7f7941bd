"""The command line: arguments are parsed, one verb is called, errors become one line.

A verb's module is imported when the verb runs, so that help answers at once. Exit 0: done; 1: an engine, parser or
judge stopped, or a check failed; 2: bad input.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence

from harness.command import arguments
from harness.errors import CimError, one_line
from harness.resources import address_space

# What Python and the loader of libraries say where there is no memory for a thread's stack, or for a library.
# The last is what CPython 3.11 says where there is no room for another frame: it returns without an exception set.
NO_MEMORY = ("can't start new thread", "failed to map segment", "error return without exception set")
# New objects between two searches for cycles. Rows and graphs live as long as the command: at Python's 700, searching
# them in vain took a fifth of the time of scoring 500 stored captions.
GARBAGE = 200_000
# Module of ``harness.command`` and function by verb.
VERBS = {
    **dict.fromkeys(arguments.STAGES, "evaluate.evaluate_verb"),
    **dict.fromkeys(arguments.BOARDS, "stored.boards_verb"),
    "meteor": "evaluate.meteor_verb",
    "compare": "stored.compare_verb",
    "plan": "plan.plan_verb",
    "arena": "arena.arena_verb",
    "verify": "stored.verify_verb",
    "validate": "validate.validate_verb",
    "list": "places.list_verb",
    "where": "places.where_verb",
    "doctor": "places.doctor_verb",
    "data": "places.data_verb",
    "model": "places.model_verb",
    "gallery": "gallery.gallery_verb",
    "train": "train.train_verb",
    "watch": "watch.watch_verb",
    "audit-reward": "audit_reward.audit_verb",
    "study": "train.study_verb",
}


def _terminated(number: int, _: object) -> None:
    """End as after an exception, so that processes and temporary folders are not left behind."""
    sys.exit(128 + number)


def _open_streams() -> None:
    """Put the null device in place of standard streams that are closed: no file that is opened takes their numbers."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest free number, as a rule the one that is wanted
            if null != number:
                os.dup2(null, number)
                os.close(null)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _run(words: Sequence[str]) -> int:
    args = arguments.parser(words).parse_args(words, argparse.Namespace(words=tuple(words)))
    import logging  # here: help needs none of it

    log = logging.getLogger("harness")
    log.handlers, log.propagate = [logging.StreamHandler()], False  # standard error, as it is now
    log.setLevel(logging.INFO)
    address_space.check()
    if "results" in args:
        from harness import places
        from harness.resources import paths

        places.remember(paths.results_root(args.results))
    module, _, function = VERBS[args.verb].partition(".")
    code = int(getattr(importlib.import_module(f"harness.command.{module}"), function)(args))
    if sys.stdout:
        sys.stdout.flush()
    return code


def main(given: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    with contextlib.suppress(ValueError):  # not the main thread: signals are the caller's
        signal.signal(signal.SIGTERM, _terminated)
    gc.set_threshold(GARBAGE)
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 shows "?" in place of a traceback
    try:
        return _run(sys.argv[1:] if given is None else list(given))
    except CimError as error:
        print(f"cim: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone, as with `| head`
        return 1
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        line = f"{place}{error.strerror or error}; check the path, its rights and free space"
        print(f"cim: {one_line(line)}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError, ImportError, SystemError) as error:
        if not isinstance(error, MemoryError) and not any(said in str(error) for said in NO_MEMORY):
            raise
        line = one_line(f"no memory left ({error})" if str(error) else "no memory left")
        hint = "fewer --workers, a smaller batch or a larger machine; the same command goes on"
        print(f"cim: {line}; {hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cim: stopped; the same command resumes", file=sys.stderr)
        return 130
