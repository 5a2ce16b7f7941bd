"""Similarity of the retrieved images to the source image only."""

from harness.rewards import _scored

REWARD = _scored.field("qir", "qir")
