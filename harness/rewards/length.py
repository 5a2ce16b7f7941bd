"""Words of the caption: the control that must not win on precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.parts import Reward, RewardContext

if TYPE_CHECKING:
    from harness.parts import Array


def _values(captions: Sequence[str], source_ids: Sequence[str], context: RewardContext) -> Array:
    return np.array([len(caption.split()) for caption in captions], dtype=np.float64)


REWARD = Reward("length", _values)
