# Never run in training; verl 0.9.1's reward managers have called both functions, and a test calls them as verl does.
"""The CIM reward for verl, from the reward server of this project.

``compute_score`` is what verl-project/verl@1dda039b (0.10.0.dev) calls for each caption, on threads of eight workers
(``verl/experimental/reward_loop/reward_manager/naive.py``); the server scores what arrives together in one call.
``compute_scores`` is the form of older releases' ``reward_model.reward_manager=batch``
(``verl/workers/reward_manager/batch.py``, still there but chosen by nothing at that commit). Keyword arguments beyond
verl's own come from ``reward_kwargs`` of ``custom_reward_function``. A row's ``extra_info.source_id`` is the image's
gallery key; ``recipes/prepare.py`` writes it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import reward_client

TERMS = ("grc", "qir", "self_hit_1")


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any],
    server: str = reward_client.ADDRESS,
    gallery: str | None = None,
    **_: Any,
) -> dict[str, float]:
    """Reward of one caption under ``score``, and its terms, which verl logs."""
    (scores,) = compute_scores([data_source], [solution_str], [ground_truth], [extra_info], server, gallery)
    return scores


def compute_scores(
    data_sources: Sequence[str],
    solution_strs: Sequence[str],
    ground_truths: Sequence[Any],
    extra_infos: Sequence[Mapping[str, Any]],
    server: str = reward_client.ADDRESS,
    gallery: str | None = None,
    **_: Any,
) -> list[dict[str, float]]:
    """The same of a batch, in one request."""
    keys = [str(info["source_id"]) for info in extra_infos]
    batch = reward_client.score(solution_strs, keys, server, gallery)
    return [
        {"score": float(batch["reward"][at]), **{name: float(batch[name][at]) for name in TERMS}}
        for at in range(len(keys))
    ]
