"""Cosine of caption and the image's own caption in the gallery: an upper control, it uses the annotation."""

from harness.rewards import _scored

REWARD = _scored.field("text", "own_similarity", own_row=True)
