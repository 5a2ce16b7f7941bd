"""Numbers on the command line: types of ``argparse`` that say what is wrong, each within bounds.

The bounds are far above what anybody needs, and low enough that no typing error keeps a machine busy for days.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from functools import partial

MOST = 1_000_000_000  # samples, steps
MOST_DRAWS = 100_000  # that of harness/runs/stats.py, which help does not load
MOST_PROCESSES = 256
MOST_SEEDS = 100
HIGHEST_SEED = 2**32 - 1  # of numpy's and transformers' generators


def whole(lowest: int, highest: int) -> Callable[[str], int]:
    """The type of a whole number from ``lowest`` to ``highest``."""

    def read(text: str) -> int:
        digits = text.isascii() and text.isdigit() and len(text) <= len(str(highest))
        if not digits or not lowest <= int(text) <= highest:
            raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a whole number from {lowest} to {highest}")
        return int(text)

    return read


def real(lowest: float, highest: float, *, ends: bool = True) -> Callable[[str], float]:
    """The type of a number from ``lowest`` to ``highest``; between them, if without their ``ends``."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not lowest <= number <= highest or (not ends and number in (lowest, highest)):
            bounds = f"from {lowest:g} to {highest:g}" if ends else f"above {lowest:g} and below {highest:g}"
            raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a number {bounds}")
        return number

    return read


between = partial(real, ends=False)
positive, count = whole(1, MOST), whole(0, MOST)
draws, processes, seed = whole(0, MOST_DRAWS), whole(1, MOST_PROCESSES), whole(0, HIGHEST_SEED)


def seeds(text: str) -> list[int]:
    """Different whole numbers, separated by commas."""
    numbers = [seed(part.strip()) for part in text.split(",")]
    if len(set(numbers)) < len(numbers) or len(numbers) > MOST_SEEDS:
        raise argparse.ArgumentTypeError(f"at most {MOST_SEEDS} different whole numbers such as 11,12,13")
    return numbers
