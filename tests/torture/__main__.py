"""``make torture``: everything that can go wrong, many times, drawn by a seed; writes the table of docs/reliability.md.

``ARGS="--parts kills,bits --seed 1 --count 100"``. A case that has been tried with this seed is not tried again: an
interrupted run goes on where it ended. What came out is in results/.torture/, one row per case.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from harness import store
from harness.command.numbers import seed, whole
from tests.conftest import ROOT
from tests.torture import bits, kills, limits, runner, table, trouble, writers
from tests.torture.commands import Command
from tests.torture.workspace import Workspace, place

Case = tuple[str, Callable[[], tuple[str, str]]]
PARTS = ("bits", "kills", "writers", *limits.LIMITS)


def cases(part: str, space: Workspace, number: int, count: int, weights: bool) -> Iterator[Case]:
    """The cases of a part: a name, and what tries it and says what came out and why it is no good."""
    if part == "bits":
        yield from _bits(space, number, count, weights)
        return
    known = dict[str, trouble.Undisturbed]()

    def attempt(command: Command, draw: random.Random) -> tuple[str, str]:
        if command.name not in known:
            known[command.name] = trouble.undisturbed(space, command)
        right = known[command.name]
        if part == "kills":
            return kills.kill(space, command, right, draw)
        if part == "writers":
            return writers.two(space, command, right, draw)
        return limits.lack(space, command, right, draw, part)

    for name, command, draw in trouble.drawn(number, part, count, weights):
        yield name, lambda command=command, draw=draw: attempt(command, draw)


def _bits(space: Workspace, number: int, count: int, weights: bool) -> Iterator[Case]:
    every = list(bits.cases(space, number, 1 + count // 3000, weights))
    random.Random(number).shuffle(every)
    known = dict[str, str]()

    def attempt(case: bits.Case) -> tuple[str, str]:
        if case.command.name not in known:
            known[case.command.name] = bits.undisturbed(space, case.command)
        return bits.outcome(space, case, known[case.command.name])

    for case in every[:count]:
        yield f"bits {case.name}", lambda case=case: attempt(case)


def torture(
    space: Workspace,
    log: Path,
    parts: list[str],
    number: int,
    count: int,
    *,
    weights: bool,
    say: Callable[[str], object],
) -> int:
    """Try every case that the log has not; returns how many came out badly."""
    done, bad, started = {row["name"] for row in store.read_rows(log)}, 0, time.monotonic()
    for part in parts:
        if part == "disk":
            limits.mount(space)
        with store.Appender(log, sync=1) as rows:
            for at, (name, attempt) in enumerate(cases(part, space, number, count, weights), start=1):
                if name in done:
                    continue
                what, detail = attempt()
                rows.append({"name": name, "part": part, "what": what, "detail": detail.replace(str(space.root), "")})
                good = not what or what in (*bits.GOOD, *trouble.GOOD, *writers.GOOD)
                bad += not good
                if not good or at % 20 == 0:
                    clock = f"{time.monotonic() - started:.0f} s"
                    say(f"{part} {at}, {clock}" if good else f"{part} {at}, {clock}: {what}: {name}: {detail}")
        limits.unmount(space)
    return bad


def main(arguments: list[str] | None = None) -> int:
    """Torture, then write the table; 1 where something came out badly."""
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--seed", type=seed, default=1)
    parser.add_argument("--count", type=whole(1, 100_000), default=100, help="cases of each part (default 100)")
    parser.add_argument("--no-weights", action="store_true", help="leave out commands that load torch")
    parser.add_argument("--fresh", action="store_true", help="forget what was tried with this seed")
    parser.add_argument("--no-table", action="store_true", help="leave docs/reliability.md as it is")
    args = parser.parse_args(arguments)
    parts = args.parts.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"no part {unknown[0]!r}: {', '.join(PARTS)}")
    log, space = ROOT / "results" / ".torture" / f"seed-{args.seed}.jsonl", Workspace(place())
    if args.fresh:
        log.unlink(missing_ok=True)
    runner.warm(not args.no_weights)
    with store.writing(log.parent, "the log of make torture"):
        limits.unmount(space)
        space.make(not args.no_weights, print)
        weights = not args.no_weights
        bad = torture(space, log, parts, args.seed, args.count, weights=weights, say=lambda x: print(x, flush=True))
        if not args.no_table:
            table.write(store.read_rows(log), args.seed)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
