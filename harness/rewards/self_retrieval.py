"""1 / rank of the own image's gallery caption among those of the images of this batch; ties do not count against it.

The released code names a reward ``sr`` inside the batch and ships no definition; this is reward ``rr`` with the batch
as its gallery, so its scale depends on how many different images a batch holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.parts import Reward, RewardContext

if TYPE_CHECKING:
    from harness.parts import Array


def _values(captions: Sequence[str], source_ids: Sequence[str], context: RewardContext) -> Array:
    assert context.scorer is not None
    return context.scorer.reciprocal_rank(captions, source_ids, among=list(dict.fromkeys(source_ids)))


REWARD = Reward("self_retrieval", _values, needs=("scorer",), own_row=True)
