"""Follow the checkpoints that any trainer saves: each is evaluated as its base model is, and tested against it.

A checkpoint is run by a model file that is written for it, the base model's with other weights, so engine, dtype,
prompt and image limits are those of the base. Evaluations, runs and the sequential test are those of ``watch``
(``evaluations.py``). Run with ``cim watch FOLDER --model BASE --task T --metrics A``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import registry, store
from harness.api.evaluation import evaluate
from harness.errors import CimError
from harness.models import model_file
from harness.train.inheritance import toml_value
from harness.watching import checkpoints
from harness.watching.evaluations import Evaluations, line

STOP = "STOP"  # written where a checkpoint is worse: a file that a training script can look for
OF_THE_HUB = ("revision", "trust_remote_code", "gated")  # keys that say nothing about a folder


@dataclass(frozen=True, slots=True)
class Following:
    """What is followed: checkpoints of ``base`` below ``folder``, evaluated on the first ``images`` of a task.

    Those of every ``every`` steps count, up to step ``until`` (None: until the command is interrupted; with ``once``
    what is there now). ``out`` holds evaluations and runs.
    """

    folder: Path
    base: str
    task: str
    metrics: list[str]
    out: Path
    every: int = 1
    until: int | None = None
    images: int | None = None
    alpha: float = 0.05
    once: bool = False
    stop: bool = True
    engine: str | None = None
    poll: float = 30.0


def follow(following: Following, tell: Callable[[Mapping[str, Any]], None]) -> bool:
    """Evaluate checkpoints as they are finished and ``tell`` each row; True where one is worse and ``stop`` is set.

    Raises:
        CimError: no such folder, model or task, a metric that cannot be computed, or another base in ``out``.
    """
    looks = None if following.until is None else following.until // following.every
    evaluations = Evaluations(following.out, following.task, following.metrics, looks=looks, alpha=following.alpha)
    stated, place = _stated(following.base)
    checkpoints.finished(following.folder)  # refused before the base is evaluated
    if evaluations.row(0) is None:
        tell(_evaluated(following, evaluations, 0, stated, place))
    while True:
        for saved in checkpoints.finished(following.folder):
            if saved.step % following.every or evaluations.row(saved.step) is not None:
                continue
            weights = {"adapter": str(saved.folder)} if saved.adapter else {"checkpoint": str(saved.folder)}
            content = stated if saved.adapter else {k: v for k, v in stated.items() if k not in OF_THE_HUB}
            row = _evaluated(following, evaluations, saved.step, {**content, **weights}, place)
            tell(row)
            if row["worse"] and following.stop:
                store.write_bytes(following.out / STOP, f"{line(row)}\n".encode())
                return True
        last = max((row["step"] for row in evaluations.rows), default=0)
        if following.once or (following.until is not None and last >= following.until):
            return False
        time.sleep(following.poll)


def _stated(base: str) -> tuple[dict[str, Any], Path]:
    """What the base's model file says, and where it is: a name, a ``.toml`` or a folder with a ``model.toml``."""
    path = Path(base)
    if path.is_dir():
        path /= "model.toml"
    elif path.suffix != ".toml":
        path = registry.model_file(registry.check("models", base))
    if not path.is_file():
        raise CimError("no model file", where=str(path), hint="--model takes the base model: cim list models")
    return model_file.read(path), path


def _evaluated(
    following: Following, evaluations: Evaluations, step: int, content: Mapping[str, Any], place: Path
) -> dict[str, Any]:
    """The row of a step, once its model has been evaluated as run ``step-<n>``."""
    checkpoint = str(content.get("checkpoint", ""))
    if not checkpoint:
        raise CimError("names no checkpoint", where=str(place), hint="a model with weights: cim list models")
    if (place.parent / checkpoint).is_dir():  # a folder's path is relative to its model file
        content = {**content, "checkpoint": str((place.parent / checkpoint).resolve())}
    file = following.out / "models" / f"step-{step}.toml"
    store.write_bytes(file, _document(content).encode())
    result = evaluate(
        file,
        following.task,
        following.metrics,
        limit=following.images,
        results=following.out,
        engine=following.engine,
        draws=0,
        page=False,
    )
    return evaluations.keep(step, result)


def _document(content: Mapping[str, Any]) -> str:
    plain = [f"{key} = {toml_value(value)}" for key, value in content.items() if not isinstance(value, dict)]
    tables = [(key, value) for key, value in content.items() if isinstance(value, dict)]
    lines = [f"\n[{name}]\n" + "\n".join(f"{k} = {toml_value(v)}" for k, v in table.items()) for name, table in tables]
    return "\n".join([*plain, *lines]) + "\n"
