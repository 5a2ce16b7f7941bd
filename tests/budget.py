"""A GPU's budget, played on the CPU: one model in memory, and a note of each that is loaded.

Every model of transformers and of vLLM passes through two functions. A load fails while an earlier model is still
alive, be it only in a reference cycle: on a GPU its memory would be missing.
"""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any


class Budget:
    """The models that are alive; names of all that were loaded go to a file, one a line."""

    def __init__(self, log: Path) -> None:
        self._log, self._alive = log, list[tuple[str, weakref.ref[Any]]]()

    def ask(self, name: str) -> None:
        """Fail where another model holds the memory."""
        left = [other for other, model in self._alive if model() is not None]
        if left:
            raise AssertionError(f"{name} finds the memory held by {', '.join(left)}")

    def take(self, name: str, model: Any) -> None:
        """Note a model that was loaded."""
        self._alive.append((name, weakref.ref(model)))
        with self._log.open("a") as log:
            log.write(name + "\n")

    def enforce(self) -> None:
        """Watch this process from now on."""
        from transformers import PreTrainedModel
        from vllm.model_executor.model_loader.base_loader import BaseModelLoader

        budget, plain, load = self, PreTrainedModel.from_pretrained.__func__, BaseModelLoader.load_model

        def from_pretrained(cls: Any, *given: Any, **named: Any) -> Any:
            budget.ask(cls.__name__)
            loaded = plain(cls, *given, **named)
            budget.take(cls.__name__, loaded[0] if isinstance(loaded, tuple) else loaded)
            return loaded

        def load_model(self: Any, *given: Any, **named: Any) -> Any:
            budget.ask("vllm")
            loaded = load(self, *given, **named)
            budget.take(type(loaded).__name__, loaded)
            return loaded

        PreTrainedModel.from_pretrained = classmethod(from_pretrained)
        BaseModelLoader.load_model = load_model
