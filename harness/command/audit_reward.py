"""Command line of ``cim audit-reward``: what a reward pays for, as tables and a verdict."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from harness.command.train import with_names
from harness.errors import CimError, one_line

if TYPE_CHECKING:
    from harness.train.audit_result import Audit, Change, Effect
    from harness.worlds import World


def audit_verb(args: argparse.Namespace) -> int:
    """Audit a reward."""
    from harness import registry, store
    from harness.retrieval import sources
    from harness.retrieval.gallery import open_folder, place
    from harness.train import audit, reward, verdict

    worlds = sources.worlds()
    if args.task not in worlds:
        raise CimError(f"no environment {args.task!r}", where="--task", hint=f"one of {', '.join(worlds)}")
    world, weights = worlds[args.task], reward.weights_of(with_names(args.rewards))
    gallery = open_folder(place(args.gallery or registry.task(world.name).gallery or world.gallery))
    result = audit.audit(world, gallery, weights, args.level, args.n, _say)
    sentences = list(verdict.verdict(result))
    content = {**asdict(result), "verdict": sentences}
    if args.out:
        store.write_document(args.out, content)
    if args.json:
        print(json.dumps(content, indent=1))
    else:
        _show(result, world)
        print("\n".join(map(one_line, sentences)))
    return 0


def _say(line: str) -> None:
    print(one_line(line), file=sys.stderr)


def _show(result: Audit, world: World) -> None:
    from harness.command import terminal
    from harness.train.audit_result import FACT, GROUP

    by_kind = [name for kind in (FACT, *world.kinds) for name in _edits(kind)]
    terms = list(result.rewards) if len(result.rewards) > 1 else []
    rewards = ",".join(f"{name}={weight:g}" for name, weight in result.rewards.items())
    title = f"{rewards}: {result.level} captions of {result.scenes} scenes, gallery {result.gallery}"
    rows = [_row(effect, terms) for effect in result.effects if effect.edit not in by_kind]
    header = ("edit", "n", "true", "false", "reward", "95 % interval", "wins %", "sd", *(f"{t} sd" for t in terms))
    terminal.show(terminal.plain_table(title, header, rows))
    header = ("kind of fact", "true one added", "false one added", "made false", "price of a false one")
    terminal.show(terminal.plain_table("", header, _by_kind(result)))
    print(
        f"changes of the reward; sd: in standard deviations of {GROUP} captions of one scene, which an advantage sees"
    )


def _row(effect: Effect, terms: Sequence[str]) -> list[str]:
    from harness.train.audit_result import TOTAL

    change = effect.changes[TOTAL]
    shown = [f"{effect.true:+.1f}", f"{effect.false:+.1f}", f"{change.mean:+.3f}", _interval(change.ci95)]
    return [
        *(effect.edit, str(effect.n), *shown, f"{100 * change.wins:.0f}"),
        *(_deviations(effect.changes[value]) for value in (TOTAL, *terms)),
    ]


def _edits(kind: str) -> tuple[str, str, str]:
    return f"true {kind} added", f"false {kind} added", f"{kind} made false"


def _by_kind(result: Audit) -> Iterator[list[str]]:
    from harness.train.audit_result import TOTAL

    for price in result.prices:
        effects = [result.effect(edit) for edit in _edits(price.kind)]
        changes = [effect.changes[TOTAL] if effect else None for effect in effects]
        shown = [f"{change.mean:+.3f} {_interval(change.ci95)}" if change else "" for change in changes]
        value = (
            "none" if price.price is None or price.ci95 is None else f"{price.price:+.1f} {_interval(price.ci95, 1)}"
        )
        yield [price.kind, *shown, value]


def _deviations(change: Change) -> str:
    return "-" if change.deviations is None else f"{change.deviations:+.2f}"


def _interval(bounds: tuple[float, float], decimals: int = 3) -> str:
    return f"{bounds[0]:.{decimals}f}..{bounds[1]:.{decimals}f}"
