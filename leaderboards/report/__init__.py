"""One report over stored runs: correlation, ablation, gallery sizes, comparison, training, captions side by side.

Written to ``.leaderboards/report/`` in the results folder: a self-contained ``report.html``, ``report.md`` and
``figures/``. For missing data the report names the command that produces it. Run with ``cim report``
(``make report``).
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

    if bool(args.baseline) != bool(args.against):
        raise CimError("--baseline and --against belong together", hint="name both, or neither")
    results = paths.results_root(args.results)
    others = tuple(name for name in (args.against or "").split(",") if name)
    chosen = gather.Chosen(args.baseline, others, args.task) if others else None
    report = gather.gather(results, tell, chosen)
    written = page.write(Path(args.out) if args.out else results / PLACE, report)
    if args.json:
        numbers = {section.name: dict(section.numbers) for section in report.sections}
        say(json.dumps({"files": list(map(str, written)), "sections": numbers}, ensure_ascii=False, allow_nan=False))
        return 0
    say(f"{report.runs} runs; to look at: {written[0]}")
    return 0
