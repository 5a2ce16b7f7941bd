"""Options of ``cim train`` that the trainers of both stages read; the plan (``run.py``) holds the training data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Options:
    """Options of one run.

    ``steps`` counts generation batches, or updates of supervised fine-tuning (None: the preset's own). ``rollouts``
    names the rollout engine, ``server`` the address of a vLLM server. ``settings`` override fields of TRL's
    configuration; alarms that are ``tolerated`` are logged and stop nothing.
    """

    seed: int = 0
    steps: int | None = None
    lora: bool = False
    rollouts: str = "transformers"
    server: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    tolerated: tuple[str, ...] = ()
