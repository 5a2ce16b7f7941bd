"""``make torture``: everything that can go wrong, many times, drawn by a seed; writes the table of docs/reliability.md.

``ARGS="--parts kills,bits --seed 1 --count 100"``. A case that has been tried with this seed is not tried again: an
interrupted run goes on where it ended. What came out is in results/.torture/, one row per case.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from harness import store
from harness.command.numbers import seed, whole
from harness.errors import BusyError
from tests.conftest import ROOT
from tests.torture import bits, kills, limits, runner, table, trouble, writers
from tests.torture.commands import MAKING, READING, Command
from tests.torture.workspace import Workspace, place

Case = tuple[str, Callable[[], tuple[str, str]]]
PARTS = ("bits", "kills", "writers", *limits.LIMITS)
QUICK = {"caption", "judge", "label", "audit", "labels"}  # of --small


@dataclass(frozen=True, slots=True)
class Trial:
    """A workspace, the commands that make it and those that read it, the seed, and cases per part.

    ``known`` is what commands do without trouble, by name.
    """

    space: Workspace
    making: Sequence[Command]
    reading: Sequence[Command]
    seed: int
    count: int
    known: dict[str, trouble.Undisturbed] = field(default_factory=dict)

    def cases(self, part: str) -> Iterator[Case]:
        """The cases of a part: a name, and what tries it and says what came out and why it is no good."""
        if part == "bits":
            yield from self._bits()
            return
        for name, command, draw in trouble.drawn(self.seed, part, self.count, self.making):
            yield name, partial(self._attempt, part, command, draw)

    def _attempt(self, part: str, command: Command, draw: random.Random) -> tuple[str, str]:
        if command.name not in self.known:
            self.known[command.name] = trouble.undisturbed(self.space, command)
        right = self.known[command.name]
        if part == "kills":
            return kills.kill(self.space, command, right, draw)
        if part == "writers":
            return writers.two(self.space, command, right, draw)
        return limits.lack(self.space, command, right, draw, part)

    def _bits(self) -> Iterator[Case]:
        rounds, known = 1 + self.count // 3000, dict[str, str]()
        every = list(bits.cases(self.space, self.seed, rounds, self.reading))
        random.Random(self.seed).shuffle(every)

        def attempt(case: bits.Case) -> tuple[str, str]:
            if case.command.name not in known:
                known[case.command.name] = bits.undisturbed(self.space, case.command)
            return bits.outcome(self.space, case, known[case.command.name])

        for case in every[: self.count]:
            yield f"bits {case.name}", partial(attempt, case)


def torture(trial: Trial, log: Path, parts: Sequence[str], say: Callable[[str], object]) -> int:
    """Try every case that the log has not; returns how many came out badly."""
    done, bad, started = {row["name"] for row in store.read_rows(log)}, 0, time.monotonic()
    for part in parts:
        if part == "disk":
            limits.mount(trial.space)
        with store.Appender(log, sync=1) as rows:
            for at, (name, attempt) in enumerate(trial.cases(part), start=1):
                if name in done:
                    continue
                what, detail = attempt()
                detail = detail.replace(str(trial.space.root), "")
                rows.append({"name": name, "part": part, "what": what, "detail": detail})
                good = not what or what in table.GOOD
                bad += not good
                if not good or at % 20 == 0:
                    head = f"{part} {at}, {time.monotonic() - started:.0f} s"
                    say(head if good else f"{head}: {what}: {name}: {detail}")
        limits.unmount(trial.space)
    return bad


def main(arguments: list[str] | None = None) -> int:
    """Torture, then write the table; 1 where something came out badly."""
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--seed", type=seed, default=1)
    parser.add_argument("--count", type=whole(1, 100_000), default=100, help="cases of each part (default 100)")
    parser.add_argument("--no-weights", action="store_true", help="leave out commands that load torch")
    parser.add_argument("--small", action="store_true", help="a few quick commands only, as in the tests")
    parser.add_argument("--fresh", action="store_true", help="forget what was tried with this seed")
    parser.add_argument("--work", type=Path, help="folder of workspace and log; docs/reliability.md stays as it is")
    args = parser.parse_args(arguments)
    parts, weights = args.parts.split(","), not (args.no_weights or args.small)
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"no part {unknown[0]!r}: {', '.join(PARTS)}")

    def chosen(commands: Sequence[Command]) -> list[Command]:
        return [x for x in commands if (weights or not x.weights) and (not args.small or x.name in QUICK)]

    log = (args.work or ROOT / "results" / ".torture") / f"seed-{args.seed}.jsonl"
    trial = Trial(Workspace(place() if args.work is None else args.work / "work"), *map(chosen, (MAKING, READING)),
                  args.seed, args.count)  # fmt: skip
    if args.fresh:
        log.unlink(missing_ok=True)
    runner.warm(weights)
    space = trial.space.root  # in memory it is one for all checkouts, and a run begins by removing it
    with (
        store.writing(log.parent, "the log of make torture"),
        store.writing(space.parent, "the workspace of make torture", f".{space.name}.lock"),
    ):
        limits.unmount(trial.space)
        trial.space.make(trial.making, partial(print, flush=True))
        bad = torture(trial, log, parts, partial(print, flush=True))
        if args.work is None:
            table.write(store.read_rows(log), args.seed)
    return int(bad > 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BusyError as error:
        sys.exit(f"torture: {error}")
