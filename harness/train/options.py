"""Options of ``cim train``: those that the trainers of both stages read, and the rest, from which ``run.py`` plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.types import Model

Policy = Literal["include", "exclude", "exclude_near"]


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


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of ``cim train``."""

    task: str
    model: Model
    stage: str = "cim"
    preset: str | None = None
    name: str | None = None
    rewards: str = "cim"
    gallery: str | None = None
    self_policy: Policy | None = None
    pairs: Sequence[Sequence[str]] = ()
    options: Options = field(default_factory=Options)
    untested: bool = False
    probe: bool = True
