"""Cosine of caption and own image in the space of a CLIP model (Cho et al. 2022, without its grammar head).

The gallery must hold image embeddings of the same model; its text tower reads 77 tokens, so the end of a long caption
is invisible.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.errors import CimError
from harness.parts import Reward, RewardContext
from harness.retrieval import consistency
from harness.retrieval.gallery import unit

if TYPE_CHECKING:
    from harness.parts import Array


def _values(captions: Sequence[str], source_ids: Sequence[str], context: RewardContext) -> Array:
    assert context.scorer is not None and context.image_text is not None
    images = context.scorer.source_vectors(source_ids)
    texts = unit(context.image_text(captions), "caption")
    if texts.shape != images.shape:
        hint = "the gallery's images must be of the same CLIP model"
        raise CimError(f"caption vectors have the shape {texts.shape}, image vectors {images.shape}", hint=hint)
    return consistency.cosines(texts, images[:, None, :])[:, 0]


REWARD = Reward("clip", _values, needs=("scorer", "image_text"))
