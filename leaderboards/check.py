"""The ``check`` command: compare a stored run with a stored baseline; exit 1 if it is worse, 2 if not comparable.

The rule is in ``leaderboards/gate.py``, ``docs/gate.md`` explains it. Run with
``cim check RUN [--baseline B] [--margin POINTS]``.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

from harness import store
from harness.errors import CimError
from harness.resources import paths
from harness.runs import stored_run
from leaderboards import gate, gate_output


def main(args: argparse.Namespace, say: Callable[[str], None], tell: Callable[[str], None]) -> int:
    """Compare, print and write; a refusal is reported in the same places."""
    annotated = args.annotations or (os.environ.get("GITHUB_ACTIONS") == "true" and not args.json)
    metrics = args.metrics.split(",") if args.metrics else None
    try:
        run = stored_run.load(stored_run.find(args.run, paths.results_root(args.results), args.task))
        baseline = stored_run.load(gate.baseline_folder(run, args.baseline))
        result = gate.compare_with(run, baseline, args.margin, metrics)
    except CimError as error:
        _write(args, gate_output.refused_junit(str(error)), gate_output.refused_markdown(str(error)))
        if annotated:
            say(gate_output.annotation("error", gate_output.SUITE, str(error)))
        raise
    _write(args, gate_output.junit(result), gate_output.markdown(result))
    say(json.dumps(gate_output.as_json(result), indent=1) if args.json else gate_output.text(result))
    if annotated:
        say("\n".join(gate_output.workflow_commands(result)))
    return 1 if result.failures else 0


def _write(args: argparse.Namespace, junit: bytes, summary: str) -> None:
    if args.junit:
        store.write_bytes(Path(args.junit), junit)
    if args.summary:
        store.write_bytes(Path(args.summary), summary.encode())
    if place := os.environ.get("GITHUB_STEP_SUMMARY"):  # other commands of the step write there too
        path = Path(place)
        store.write_bytes(path, (path.read_bytes() if path.is_file() else b"") + summary.encode())
