"""Options of the verbs about judges: ``judge`` and ``arena``."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from harness.command.numbers import between

LABELS = 200  # questions to label where no number is named


def judge(verb: argparse.ArgumentParser, positive: Callable[[str], int]) -> None:
    """What ``cim judge`` can do beside asking."""
    how = verb.add_mutually_exclusive_group()
    how.add_argument(
        "--batch", choices=("submit", "collect"), help="through OpenAI's Batch API: submit, and collect a day later"
    )
    verb.add_argument("--controls", action="store_true", help="ask also about empty captions and the next image's")
    verb.add_argument(
        "--sway", action="store_true", help="measure how often text appended to a caption changes a verdict"
    )
    about = "two runs, --model A,B: judge only until it is clear which is better, or that they differ by less than D"
    how.add_argument("--decide", type=between(0, 1e6), metavar="D", help=about)
    people = verb.add_argument_group("is the judge right? (docs/judges.md)")
    about = f"a page on this machine where you answer N of its questions, blind (default {LABELS}); again goes on"
    people.add_argument("--label", type=positive, nargs="?", const=LABELS, metavar="N", help=about)
    people.add_argument("--labeller", default="me", metavar="NAME", help="who answers (default: me)")
    people.add_argument("--out", metavar="FILE.csv", help="with --label: a sheet to fill in, in place of the page")
    people.add_argument("--labels", metavar="FILE.csv", help="read the answers of such a sheet")


def arena(verb: argparse.ArgumentParser, positive: Callable[[str], int], draws: Callable[[str], int]) -> None:
    """What ``cim arena`` takes."""
    verb.add_argument("runs", metavar="RUN", nargs="+", help="stored runs of one task: folders or names")
    verb.add_argument("--judge", required=True, metavar="J", help="model that compares: a name or a folder")
    verb.add_argument("--task", help="task of the runs, where names are given")
    verb.add_argument("--against", metavar="RUN[,RUN]", help="compare with these baselines only (default: all pairs)")
    about = "what the judge sees beside the captions (default: image and reference, as far as they are here)"
    verb.add_argument("--show", choices=("image", "reference", "both"), help=about)
    verb.add_argument("--limit", type=positive, metavar="N", help="only the first N samples")
    verb.add_argument("--draws", type=draws, metavar="N", help="bootstrap resamples (default 1000; 0: no intervals)")
    verb.add_argument("--dry-run", action="store_true", help="print calls, tokens and price; ask nothing")
