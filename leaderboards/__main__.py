"""The face of the leaderboards: ``python -m leaderboards COMMAND``; each reads stored runs and runs nothing.

A command is a module of this package with ``arguments(parser)`` and ``main(args, say, tell) -> exit code``: ``say``
prints a result, ``tell`` a line for the person at the terminal.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from harness.errors import CimError, one_line

COMMANDS: dict[str, str] = {
    "audit": "recompute what can be checked in the published tables, or in stored runs",
    "tables": "the paper's Tables 6 to 8, published beside ours, as Markdown, LaTeX, CSV and HTML",
    "board": "a static site over all stored runs: ranks, intervals, a page a run",
    "check": "the regression gate: a stored run against a stored baseline",
    "baseline": "move the gate's baseline to a stored run",
    "report": "one page over stored runs: correlation, ablation, gallery sizes, comparison, training, captions",
}


def main(given: Sequence[str] | None = None) -> int:
    """Run one command; exit code 0, 1 for a failed gate, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m leaderboards", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, about in COMMANDS.items():
        below = commands.add_parser(name, help=about, description=about)
        importlib.import_module(f"leaderboards.{name}").arguments(below)
        below.add_argument("--results", help="folder of stored runs (default: $CIM_RESULTS, else results/)")
    args = parser.parse_args(given)
    try:
        code = int(importlib.import_module(f"leaderboards.{args.command}").main(args, print, _tell))
        sys.stdout.flush()
        return code
    except CimError as error:
        _tell(str(error))
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone, as with `| head`
        return 1
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _tell(f"{place}{error.strerror or error}; check the path, its rights and free space")
        return 2
    except KeyboardInterrupt:
        _tell("stopped")
        return 130


def _tell(line: str) -> None:
    print(f"leaderboards: {one_line(line)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
