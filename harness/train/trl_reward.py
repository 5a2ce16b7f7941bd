"""CIM and the other rewards as reward functions for a user's own TRL script; TRL is not imported.

``GRPOTrainer(reward_funcs=[trl_reward(scorer)], ...)`` with a data set that has the source ids in a column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness import registry
from harness.errors import CimError
from harness.parts import RewardContext
from harness.retrieval.scorer import CimScorer


def trl_reward(
    scorer: CimScorer, reward: str = "cim", *, column: str = "source_id", references: Mapping[str, str] | None = None
) -> Callable[..., list[float]]:
    """A reward function ``f(completions, **columns) -> list[float]``, called ``reward`` in TRL's logs.

    Completions are texts or conversations (their last message counts).

    Args:
        reward: a name of ``cim list rewards``; several functions over one scorer score each batch once.
        column: the data set's column with source ids (``<source>:<image id>``, keys of gallery rows or of images
            given to ``scorer.add_images``).
        references: reference captions by source id, for rewards that read them.

    Raises:
        CimError: an unknown reward, or one that needs more than the scorer and the references.
    """
    part = registry.reward(registry.check("rewards", reward))
    context = RewardContext(scorer=scorer, references=references)
    if lacking := [need for need in part.needs if getattr(context, need) is None]:
        raise CimError(f"reward {reward} needs {', '.join(lacking)}", hint="`cim train --rewards` has them")

    def function(completions: Sequence[Any], **columns: Any) -> list[float]:
        if column not in columns:
            what = f"the data set has no column {column!r}: {', '.join(columns) or 'no columns'}"
            raise CimError(what, hint="trl_reward(scorer, column=...)")
        texts = [text if isinstance(text, str) else text[-1]["content"] for text in completions]
        return [float(value) for value in part(texts, columns[column], context)]

    function.__name__ = reward
    return function
