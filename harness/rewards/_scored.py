"""Rewards that are one field of the CIM scorer's batch; a batch is scored once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from harness.parts import Reward, RewardContext

if TYPE_CHECKING:
    from harness.parts import Array


def _values(field: str, captions: Sequence[str], source_ids: Sequence[str], context: RewardContext) -> Array:
    assert context.scorer is not None
    values: Array = getattr(context.scorer.scored(captions, source_ids), field)
    return values


def field(name: str, column: str, own_row: bool = False) -> Reward:
    """The reward ``name`` that is this field of ``CimBatch``."""
    return Reward(name, partial(_values, column), needs=("scorer",), own_row=own_row)
