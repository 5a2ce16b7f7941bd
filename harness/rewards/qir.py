"""Likeness of the retrieved images to the caption's own image alone."""

from harness.rewards import _scored

REWARD = _scored.field("qir", "qir")
