"""Trackers of a training run (TensorBoard, W&B, trackio): what they are sent beside TRL's own numbers.

Every number of ``steps.jsonl`` and ``validation.jsonl`` goes out as ``cim/<dotted name>``, an alarm as
``cim/alarm/<name>`` with its reason, and with each step some of its captions with their rewards: as text, to W&B as a
table with images. The trackers are transformers' own callbacks, which a run without ``--report-to`` does not have;
where they write, and whether they reach the network, is theirs to say (``WANDB_MODE``, ``TENSORBOARD_LOGGING_DIR``).
Nothing is read back, so no number of a run depends on them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.errors import CimError
from harness.train.alarms import numbers

PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",), "trackio": ("trackio",)}
CAPTIONS = 8  # of a step


def checked(names: Sequence[str]) -> tuple[str, ...]:
    """The trackers of ``--report-to``; CimError for one that is not known, or whose package is not installed."""
    for name in names:
        if name not in PACKAGES:
            raise CimError(f"unknown tracker {name!r}", where="--report-to", hint=f"one of {', '.join(PACKAGES)}")
        if not any(importlib.util.find_spec(package) for package in PACKAGES[name]):
            hint = f".venv/bin/python -m pip install {PACKAGES[name][0]}"
            raise CimError(f"tracker {name} is not installed", where="--report-to", hint=hint)
    return tuple(dict.fromkeys(names))


def report(
    trainer: Any, row: Mapping[str, Any], captions: Sequence[Mapping[str, Any]], image: Callable[[str], Any]
) -> None:
    """Send a row, and captions with their rewards, to the trackers of a trainer.

    Args:
        captions: rows of ``completions.jsonl``.
        image: opens the image of a source id.
    """
    if not trainer.args.report_to:
        return
    logs: dict[str, Any] = {f"cim/{name}": value for name, value in numbers(row).items()}
    for name, reason in (row.get("alarms") or {}).items():
        logs |= {f"cim/alarm/{name}": 1.0, f"cim/alarm/{name}/reason": str(reason)}
    if shown := list(captions)[:CAPTIONS]:
        logs["cim/captions"] = _text(shown)
        if list(trainer.args.report_to) == ["wandb"]:
            logs["cim/captions"] = _table(shown, image)
    trainer.callback_handler.on_log(trainer.args, trainer.state, trainer.control, logs)


def _text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Captions as Markdown, which TensorBoard renders; a caption is data, so what would be markup is taken out."""
    lines = [f"| {row['source_id']} | {_plain(row['caption'])} | {_number(row['reward'])} |" for row in rows]
    return "\n".join(["| image | caption | reward |", "| --- | --- | --- |", *lines])


def _plain(text: object) -> str:
    kept = "".join(" " if letter in "|<>`\\" or not letter.isprintable() else letter for letter in str(text))
    return " ".join(kept.split())


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "-"


def _table(rows: Sequence[Mapping[str, Any]], image: Callable[[str], Any]) -> Any:
    import wandb  # type: ignore[import-not-found]

    data = [[wandb.Image(image(row["source_id"])), row["source_id"], row["caption"], row["reward"]] for row in rows]
    return wandb.Table(columns=["image", "source", "caption", "reward"], data=data)
