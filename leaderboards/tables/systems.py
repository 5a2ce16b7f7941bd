"""Which run fills which row of the paper's tables, and the command that produces a missing one.

The mapping is ``systems.toml`` in this folder; ``--row "SYSTEM=RUN"`` overrides a row.
"""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import CimError

FILE = Path(__file__).parent / "systems.toml"


@dataclass(frozen=True, slots=True)
class System:
    """A system of the paper: the run that fills its rows, which is that of the model of this name, if there is one."""

    run: str


def read(overrides: Sequence[str] = ()) -> dict[str, System]:
    """The mapping by the paper's names, with overrides ``SYSTEM=RUN`` of the command line.

    Raises:
        CimError: a row that the tables do not have.
    """
    systems = {name: System(**row) for name, row in tomllib.loads(FILE.read_text(encoding="utf-8")).items()}
    for text in overrides:
        name, _, run = text.rpartition("=")
        if name not in systems or not run:
            hint = f"SYSTEM=RUN with one of: {', '.join(systems)}"
            raise CimError(f"no row of the tables: {text!r}", where="--row", hint=hint)
        systems[name] = System(run)
    return systems


def command(system: System, task: str, metrics: Sequence[str], known: Collection[str], *, stored: bool) -> str:
    """The command that fills the cells of these metrics, with what it needs first.

    Args:
        known: the models that can run; another's captions must be provided.
        stored: whether the run is stored and only lacks these metrics.
    """
    if stored or system.run in known:
        return f"make eval MODEL={shlex.quote(system.run)} TASK={task} METRICS={','.join(metrics)}"
    words = f"make eval MODEL={shlex.quote(system.run + '.jsonl')} TASK={task} METRICS={','.join(metrics)}"
    return f"provide captions as {system.run}.jsonl, then {words}"
