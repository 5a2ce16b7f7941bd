"""Agreement of the retrieved images alone; looks at no source image, so nothing ties it to what is shown."""

from harness.rewards import _scored

REWARD = _scored.field("grc", "grc")
