"""Numbers on the command line: types of ``argparse`` that say what is wrong."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def positive(text: str) -> int:
    """A whole number of 1 or more."""
    if not text.isascii() or not text.isdigit() or len(text) > 12 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a whole number of 1 or more")
    return int(text)


def count(text: str) -> int:
    """A whole number of 0 or more."""
    return 0 if text == "0" else positive(text)


def seeds(text: str) -> list[int]:
    """Different whole numbers, separated by commas."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise argparse.ArgumentTypeError("different whole numbers such as 11,12,13")
    return [int(part) for part in parts]


def between(low: float, high: float) -> Callable[[str], float]:
    """A number above ``low`` and below ``high``."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low < value < high:
            raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a number above {low:g} and below {high:g}")
        return value

    return number
