"""How long the parts of a step take: wraps a trainer's own methods with clocks, and reads the process's memory."""

from __future__ import annotations

import resource
import sys
import time
from collections import defaultdict
from typing import Any

# Phase by method of TRL's trainer; `take` makes parts of those that lie inside each other.
METHODS = {
    "_tokenize_prompts": "process",
    "_generate_single_turn": "generate",
    "_calculate_rewards": "reward",
    "_generate_and_score_completions": "rollout",
    "training_step": "step",
}


class Clock:
    """Seconds by phase since they were last taken."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._since = time.perf_counter()

    def wrap(self, owner: Any, method: str, phase: str) -> None:
        """Count the time inside a method of an object; nothing else of it changes."""
        inner = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self._seconds[phase] += time.perf_counter() - start

        setattr(owner, method, timed)

    def watch(self, trainer: Any) -> None:
        """Wrap the methods of a trainer, and the weight updates of its vLLM."""
        for method, phase in METHODS.items():
            self.wrap(trainer, method, phase)
        if trainer.use_vllm:
            self.wrap(trainer.vllm_generation, "sync_weights", "sync")

    def take(self) -> dict[str, float]:
        """Seconds by phase: ``logp`` and ``update`` are what is left of rollout and step, ``total`` the wall clock."""
        now = time.perf_counter()
        found, self._seconds = dict(self._seconds), defaultdict(float)
        rollout, step = found.pop("rollout", 0.0), found.pop("step", 0.0)
        parts = sum(found.get(name, 0.0) for name in ("process", "generate", "reward"))
        if "sync" in found:
            found["generate"] -= found["sync"]
        found |= {"logp": max(0.0, rollout - parts), "update": max(0.0, step - rollout), "total": now - self._since}
        self._since = now
        return {name: round(seconds, 4) for name, seconds in found.items()}


def memory_mb() -> int:
    """Peak resident memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1 << 20) if sys.platform == "darwin" else peak // 1024


def device_memory_mb() -> int | None:
    """Peak memory on the device, None on a CPU."""
    import torch

    return int(torch.cuda.max_memory_allocated() // (1 << 20)) if torch.cuda.is_available() else None
