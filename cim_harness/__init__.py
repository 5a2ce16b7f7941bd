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
    from harness.train.reward import trl_reward
    from harness.watching.watch import watch

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
    "watch",
]
_MODULES = {
    "harness.api.comparison": ("Comparisons", "compare"),
    "harness.api.evaluation": ("evaluate", "score"),
    "harness.api.listing": ("load_samples", "metrics", "models", "rewards", "tasks"),
    "harness.api.result": ("Result", "load_run"),
    "harness.errors": ("CimError",),
    "harness.retrieval.scorer": ("CimScorer",),
    "harness.train.reward": ("trl_reward",),
    "harness.watching.watch": ("watch",),
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    for module, names in _MODULES.items():
        if name in names:
            value: object = getattr(importlib.import_module(module), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names."""
    return __all__
