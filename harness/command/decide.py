"""Command line of ``cim judge --decide``: two runs judged until it is clear which is better."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from harness.errors import CimError, one_line

if TYPE_CHECKING:
    from harness.stages.decide import Decided
    from harness.stages.evaluate import Options, Work
    from harness.stages.parse import Parses


def decide_verb(args: argparse.Namespace, works: Sequence[Work], parses: Parses, options: Options) -> int:
    """Judge two runs of one task in looks and print what was decided, from how many images."""
    from harness import store
    from harness.stages import decide, evaluate, weights

    if len(works) != 2 or works[0].run.task.name != works[1].run.task.name:
        raise CimError("--decide is about two runs of one task", hint="cim judge --model A,B --decide D")
    judged = [metric for metric in works[0].metrics if metric.judge]
    if len(judged) != 1:
        raise CimError(f"--decide takes one judged metric, not {len(judged)}", hint="--metrics M")
    if args.fresh or args.controls or args.sway:
        raise CimError("--decide goes with none of --fresh, --controls and --sway")
    a, b = (work.run for work in works)
    loads = evaluate.to_load(works, ("judge",), options)
    weights.check(loads)
    weights.bring(loads, parses.device.say, offline=options.offline)
    with ExitStack() as locks:
        for run in (a, b):
            locks.enter_context(store.writing(run.folder))
        generate = partial(parses.device.generate, "judge")
        decided = decide.decide(a, b, judged[0], args.decide, options.track, generate)
    if args.json:
        print(
            json.dumps({"run_a": a.model.name, "run_b": b.model.name, "task": a.task.name, **asdict(decided)}, indent=1)
        )
    else:
        print("\n".join(map(one_line, _lines(decided, a.model.name, b.model.name, judged[0].label(decided.value)))))
    return 0


def _lines(decided: Decided, a: str, b: str, label: str) -> list[str]:
    from harness.runs import sequential

    said = {
        sequential.BETTER: f"{b} is better than {a} in {label}",
        sequential.WORSE: f"{b} is worse than {a} in {label}",
        sequential.NO_DIFFERENCE: f"{b} and {a} differ by less than {decided.least:g} in {label}",
        sequential.UNDECIDED: f"undecided between {b} and {a} in {label}",
    }[decided.decision]
    part = f"{decided.judged} of {decided.images} images judged"
    if decided.judged == decided.images:
        return [f"{said}: {part}"]
    numbers = f"{decided.a:.2f} and {decided.b:.2f} on these alone, @{decided.ids}"
    return [
        f"{said}: {part} ({numbers})",
        "not scores of the runs; the same command without --decide judges the others",
    ]
