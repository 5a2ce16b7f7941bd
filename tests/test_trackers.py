"""Trackers get the diagnostics, alarms and captions of a run, and a run is the same without them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import CimError
from harness.train import trackers

ROW = {"step": 3, "reward": {"mean": 1.5, "group_std": None}, "alarms": {"length": "reward follows length"}}
CAPTIONS = [{"source_id": f"s:{at}", "caption": f"a | <b>dog</b> {at}\n.", "reward": float(at)} for at in range(20)]


class Handler:
    """Keeps what trackers would be sent."""

    def __init__(self) -> None:
        self.logs = list[dict[str, Any]]()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any]) -> None:
        self.logs.append(logs)


def _sent(report_to: list[str], row: dict[str, Any]) -> list[dict[str, Any]]:
    handler = Handler()
    trainer = SimpleNamespace(args=SimpleNamespace(report_to=report_to), state=None, control=None)
    trainer.callback_handler = handler
    trackers.report(trainer, row, CAPTIONS, str)
    return handler.logs


def test_numbers_alarms_and_captions_are_sent() -> None:
    (logs,) = _sent(["tensorboard"], ROW)
    assert logs["cim/reward.mean"] == 1.5 and logs["cim/alarm/length"] == 1.0
    assert logs["cim/alarm/length/reason"] == "reward follows length" and "cim/reward.group_std" not in logs
    head, _, *rows = logs["cim/captions"].splitlines()
    assert head == "| image | caption | reward |" and len(rows) == trackers.CAPTIONS
    assert rows[1] == "| s:1 | a b dog /b 1 . | 1.000 |", "a caption is no markup"
    assert _sent([], ROW) == []


def test_a_tracker_that_is_not_known_or_not_here_is_refused() -> None:
    assert trackers.checked([]) == ()
    with pytest.raises(CimError, match="unknown tracker 'mlflow'"):
        trackers.checked(["mlflow"])
    if not any(map(trackers.importlib.util.find_spec, trackers.PACKAGES["trackio"])):
        with pytest.raises(CimError, match="tracker trackio is not installed"):
            trackers.checked(["trackio"])
