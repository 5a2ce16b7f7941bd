"""Options of ``cim train`` that the trainers of both stages read; what is trained on is the plan's (``run.py``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Options:
    """How one run is made.

    ``steps`` counts generation batches, or updates of supervised fine-tuning (None: the preset's own). ``rollouts``
    names who writes captions, ``server`` the address of a vLLM server. ``settings`` are fields of TRL's configuration
    said otherwise; alarms that are ``tolerated`` are written down and stop nothing.
    """

    seed: int = 0
    steps: int | None = None
    lora: bool = False
    rollouts: str = "transformers"
    server: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    tolerated: tuple[str, ...] = ()
