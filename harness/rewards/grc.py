"""Agreement of the retrieved images only; it does not use the source image, so it is not grounded in it."""

from harness.rewards import _scored

REWARD = _scored.field("grc", "grc")
