"""Which benchmarks, metrics, models and rewards there are, and the samples of a benchmark."""

from __future__ import annotations

from harness import registry
from harness.resources import data
from harness.types import Sample


def tasks() -> dict[str, str]:
    """Benchmarks: name to one-line description."""
    return _described("tasks")


def metrics() -> dict[str, str]:
    """Metrics: name to one-line description; variants (``meteor_nltk@x``) follow their metric."""
    return _described("metrics")


def models() -> dict[str, str]:
    """Models with a file of their own: name to one-line description."""
    return _described("models")


def rewards() -> dict[str, str]:
    """Rewards for training: name to one-line description."""
    return _described("rewards")


def load_samples(task: str) -> list[Sample]:
    """The samples of a benchmark (a name or a ``.py`` file): id, references, image file, annotations.

    Raises:
        CimError: unknown benchmark, or its data is missing or changed; says what to run.
    """
    return list(data.samples(registry.task(registry.named("tasks", task))))


def _described(kind: str) -> dict[str, str]:
    listed = [full for name in registry.names(kind) for full in (name, *registry.variants(kind, name))]
    return {name: registry.about(kind, name.partition("@")[0]) for name in listed}
