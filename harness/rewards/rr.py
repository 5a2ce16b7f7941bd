"""1 / rank of the image's own caption among all gallery captions; ties do not count against it.

Rank = 1 + number of rows strictly more similar, as reward ``rr`` of an early copy of the authors' server. It uses the
reference caption as the key to be found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.parts import Reward, RewardContext

if TYPE_CHECKING:
    from harness.parts import Array


def _values(captions: Sequence[str], source_ids: Sequence[str], context: RewardContext) -> Array:
    assert context.scorer is not None
    return context.scorer.reciprocal_rank(captions, source_ids)


REWARD = Reward("rr", _values, needs=("scorer",), own_row=True)
