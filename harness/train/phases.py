"""Times the phases of a step by wrapping the trainer's methods, and reads the peak memory."""

from __future__ import annotations

import resource
import sys
import time
from collections import defaultdict
from typing import Any

# Phase by method of TRL's trainer; methods nest, so `take` subtracts the inner ones.
METHODS = {
    "_tokenize_prompts": "process",
    "_generate_single_turn": "generate",
    "_calculate_rewards": "reward",
    "_generate_and_score_completions": "rollout",
    "training_step": "step",
}


class Clock:
    """Accumulates seconds per phase since the last ``take``."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._since = time.perf_counter()

    def wrap(self, owner: Any, method: str, phase: str) -> None:
        """Add the time spent in a method of ``owner`` to a phase."""
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
        """Seconds per phase: ``logp`` and ``update`` are the rest of rollout and step, ``total`` is wall-clock time."""
        now = time.perf_counter()
        phases, self._seconds = dict(self._seconds), defaultdict(float)
        rollout, step = phases.pop("rollout", 0.0), phases.pop("step", 0.0)
        parts = sum(phases.get(name, 0.0) for name in ("process", "generate", "reward"))
        if "sync" in phases:
            phases["generate"] -= phases["sync"]
        phases |= {"logp": max(0.0, rollout - parts), "update": max(0.0, step - rollout), "total": now - self._since}
        self._since = now
        return {name: round(seconds, 4) for name, seconds in phases.items()}


def memory_mb() -> int:
    """Peak resident memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1 << 20) if sys.platform == "darwin" else peak // 1024


def device_memory_mb() -> int | None:
    """Peak memory on the device, None on a CPU."""
    import torch

    return int(torch.cuda.max_memory_allocated() // (1 << 20)) if torch.cuda.is_available() else None
