"""A training run in the terminal, from its files alone: one line per step, validations, alarms and captions.

Another process may be writing them: a torn last line is left out, and nothing is written here. Run with the command
that trains and ``--watch``.
"""

from __future__ import annotations

import fcntl
import os
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import store
from harness.errors import CimError
from harness.runs import manifest
from harness.runs.form import training_rows
from harness.train.log import GREEDY, STEPS, VALIDATION

ENDED = ("complete", "stopped")
WIDTH = 79
SHOWN = 2  # captions of a validation
Row = Mapping[str, Any]


def follow(folder: Path, total: int | None, say: Callable[[str], None], poll: float = 2.0) -> bool:
    """Say what a run has done and does, until it has ended; True where it is complete.

    Args:
        total: steps of the run, for the time that is left; None where that is not known.

    Raises:
        CimError: no such run has begun.
    """
    if manifest.read(folder) is None:
        raise CimError("no run has begun here", where=str(folder), hint="the same command without --watch begins it")
    seen = 0
    while True:
        status = (manifest.read(folder) or {}).get("status")
        alive = status not in ENDED and _written(folder)  # asked before the rows are read: none is missed
        shown = list(lines(folder, total))
        for line in shown[seen:]:
            say(line)
        seen = len(shown)
        if not alive:
            break
        time.sleep(poll)
    alarm = (manifest.read(folder) or {}).get("alarm")
    say(f"ended: {status}{f' by alarm {alarm}' if alarm else ''}" if status in ENDED else _KILLED)
    return bool(status == "complete")


_KILLED = "no process writes this run: it was killed; the same command without --watch goes on"


def lines(folder: Path, total: int | None) -> Iterator[str]:
    """All lines about the rows of a run so far, in the order of its steps."""
    steps, validations = training_rows(folder / STEPS), training_rows(folder / VALIDATION)
    greedy = training_rows(folder / GREEDY)
    due = list(validations)
    for at, row in enumerate(steps):
        while due and due[0]["step"] < row["step"]:
            yield from _validation(due.pop(0), greedy)
        if "reward" in row or "loss" in row:
            yield _step(row, total, steps[max(0, at - 19) : at + 1])
        yield from (f"  alarm {name}: {reason}"[:WIDTH] for name, reason in (row.get("alarms") or {}).items())
    for row in due:
        yield from _validation(row, greedy)


def _step(row: Row, total: int | None, recent: Sequence[Row]) -> str:
    values = {
        "reward": _of(row, "reward", "mean"),
        "QIR": _of(row, "terms", "qir", "mean"),
        "KL": row.get("kl"),
        "tokens": _of(row, "length", "mean"),
        "loss": None if "reward" in row else row.get("loss"),
    }
    cells = [f"{name} {value:.3g}" for name, value in values.items() if isinstance(value, int | float)]
    seconds = [float(taken) for past in recent if (taken := _of(past, "seconds", "total")) is not None]
    if seconds:
        pace = sum(seconds) / len({past["step"] for past in recent})
        cells.append(f"{pace:.1f} s per step")
        cells += [f"{_time(pace * (total - row['step']))} left"] if total and total > row["step"] else []
    head = f"step {row['step']}{f' of {total}' if total else ''}  "
    while len(head + ", ".join(cells)) > WIDTH:
        del cells[-3]  # what is known of the time stays
    return head + ", ".join(cells)


def _validation(row: Row, greedy: Sequence[Row]) -> Iterator[str]:
    cells = [f"reward {row['reward']:.3f}"] if isinstance(row.get("reward"), float) else []
    cells += [f"true statements {row['truth']:.1f} %"] if isinstance(row.get("truth"), float) else []
    for name, values in (row.get("references") or {}).items():
        bounds = values.get("ci95")
        change = f" ({values['difference']:+.1f} [{bounds[0]:.1f}, {bounds[1]:.1f}])" if bounds else ""
        cells.append(f"{name} {values['value']:.1f}{change}")
    yield from textwrap.wrap(f"validation, step {row['step']}: {', '.join(cells)}", WIDTH, subsequent_indent="  ")
    said = [sample for sample in greedy if sample["step"] == row["step"]][:SHOWN]
    for sample in said:
        caption = "".join(letter for letter in str(sample["caption"]) if letter.isprintable())
        yield "  " + textwrap.shorten(f"{sample['image']}: {caption}", WIDTH - 2, placeholder=" ...")


def _of(row: Row, *names: str) -> Any:
    value: Any = row
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _time(seconds: float) -> str:
    if seconds < 7200:
        return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _written(folder: Path) -> bool:
    """Does a process hold the lock of a run's folder?"""
    try:
        lock = os.open(folder / store.LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
