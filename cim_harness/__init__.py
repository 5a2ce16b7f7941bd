"""The public Python interface of the harness, documented in docs/api.md; everything else may change without notice.

Importing this package loads nothing: each name is imported from its module when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.api.comparison import Comparisons, compare
    from harness.api.evaluation import evaluate, score
    from harness.api.listing import load_samples, metrics, models, rewards, tasks
    from harness.api.result import Result, load_run
    from harness.errors import CimError
    from harness.retrieval.scorer import CimScorer
    from harness.train.trl_reward import trl_reward

__version__ = "0.1.0"
__all__ = [
    "CimError",
    "CimScorer",
    "Comparisons",
    "Result",
    "__version__",
    "compare",
    "evaluate",
    "load_run",
    "load_samples",
    "metrics",
    "models",
    "rewards",
    "score",
    "tasks",
    "trl_reward",
]
_MODULES = {
    "CimError": "harness.errors",
    "CimScorer": "harness.retrieval.scorer",
    "Comparisons": "harness.api.comparison",
    "Result": "harness.api.result",
    "compare": "harness.api.comparison",
    "evaluate": "harness.api.evaluation",
    "load_run": "harness.api.result",
    "load_samples": "harness.api.listing",
    "metrics": "harness.api.listing",
    "models": "harness.api.listing",
    "rewards": "harness.api.listing",
    "score": "harness.api.evaluation",
    "tasks": "harness.api.listing",
    "trl_reward": "harness.train.trl_reward",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return __all__
