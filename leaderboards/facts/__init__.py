"""Facts of a benchmark against runs: shares by kind with intervals, facts only one run says, facts all runs miss.

Works for every metric whose judge gives verdicts: ``capeval``, ``caption_qa``, ``relation_qa`` and their variants. Run
with ``cim facts RUN [RUN ...]``; ``--format csv`` is the outcome matrix, a row per fact. See docs/facts.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from harness import store
from harness.pages import text
from harness.resources import paths
from harness.runs import stored_run
from leaderboards.facts import formats, matrix


def main(args: argparse.Namespace, say: Callable[[str], None], tell: Callable[[str], None]) -> int:
    """Read the runs, print the account or write it to a file."""
    results = paths.results_root(args.results)
    runs = [stored_run.load(stored_run.find(name, results, args.task)) for name in args.runs]
    outcomes = matrix.read(runs, args.metric, tell)
    if args.format == "csv" and not args.json:
        page = formats.sheet(outcomes)
    else:
        account = formats.Account.of(outcomes, args.by, args.top)
        if args.json:
            page = store.dumps(formats.document(account))
        elif args.format == "html":
            page = formats.html(account, results)
        else:
            page = formats.plain(account, None if args.wide or args.out else text.screen_width())
    if args.out:
        store.write_bytes(args.out, page.encode())
        tell(f"written: {args.out}")
    else:
        say(page.rstrip("\n"))
    return 0
