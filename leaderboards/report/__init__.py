"""One report over stored runs: comparison, captions side by side, correlation, ablation, gallery sizes, training.

Written to ``.leaderboards/report/`` in the results folder: a self-contained ``report.html``, ``report.md`` and
``figures/``. For missing data the report names the command that produces it. Run with ``cim report``
(``make report``), or ``cim report RUN --against RUN``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

from harness.errors import CimError
from harness.resources import paths

Say = Callable[[str], None]
PLACE = Path(".leaderboards") / "report"


def main(args: argparse.Namespace, say: Say, tell: Say) -> int:
    """Write the report; exit code 0.

    Raises:
        CimError: matplotlib or scipy is not installed, or stored files are damaged.
    """
    for package in ("matplotlib", "scipy"):
        if importlib.util.find_spec(package) is None:
            raise CimError(f"{package} is not installed", hint="run `make report`, which installs it")
    from leaderboards.report import gather, page

    base = args.baseline or args.run
    if bool(base) != bool(args.against):
        raise CimError("--against needs a run to compare with", hint="cim report RUN --against RUN")
    results = paths.results_root(args.results)
    others = tuple(name for text in args.against or () for name in text.split(",") if name)
    chosen = gather.Chosen(base, others, args.task) if base else None
    report = gather.gather(results, tell, chosen)
    written = page.write(Path(args.out) if args.out else results / PLACE, report)
    if args.json:
        numbers = {section.name: dict(section.numbers) for section in report.sections}
        say(json.dumps({"files": list(map(str, written)), "sections": numbers}, ensure_ascii=False, allow_nan=False))
        return 0
    say(f"{report.runs} runs; to look at: {written[0]}")
    return 0
