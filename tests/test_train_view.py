"""``cim train --watch``: a run read from its files while another process writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness import store
from harness.errors import CimError
from harness.train import view
from tests import synthetic_runs


def _run(folder: Path, status: str, **facts: str) -> None:
    content = synthetic_runs.manifest_of("cim_rl", folder.name, ["a"])
    store.write_document(folder / "manifest.json", {**content, **facts, "status": status})


def _row(step: int) -> dict[str, Any]:
    return {
        "step": step,
        "reward": {"mean": 1.5 + step / 10},
        "terms": {"qir": {"mean": 0.9}},
        "kl": 0.01,
        "length": {"mean": 14.0},
        "seconds": {"total": 2.0},
        "alarms": {"length": "reward follows length"} if step == 2 else {},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _run(tmp_path, "complete")
    store.write_rows(tmp_path / "steps.jsonl", [_row(step) for step in (1, 2, 3)])
    references = {"meteor": {"value": 31.0, "difference": -1.25, "ci95": [-2.0, -0.5]}}
    validations = [
        {"step": 0, "reward": 1.5, "truth": 88.0},
        {"step": 2, "reward": 1.7, "truth": None, "references": references},
    ]
    store.write_rows(tmp_path / "validation.jsonl", validations)
    said = [{"step": 2, "image": "own:1", "caption": "a dog \x1b[31m" + "on a bed " * 20}]
    store.write_rows(tmp_path / "greedy.jsonl", said)
    with (tmp_path / "steps.jsonl").open("a") as torn:
        torn.write('{"step": 4, "rew')
    return tmp_path


def test_steps_validations_alarms_and_captions_in_their_order(folder: Path) -> None:
    said = list(view.lines(folder, 10))
    assert [line.split(",")[0].split("  ")[0] for line in said if not line.startswith(" ")] == [
        "validation",
        "step 1 of 10",
        "step 2 of 10",
        "validation",
        "step 3 of 10",
    ]
    assert said[0] == "validation, step 0: reward 1.500, true statements 88.0 %"
    assert said[1] == "step 1 of 10  reward 1.6, QIR 0.9, KL 0.01, 2.0 s per step, 18 s left"
    assert said[3] == "  alarm length: reward follows length"
    assert "meteor 31.0 (-1.2 [-2.0, -0.5])" in said[4] and "\x1b" not in said[5] and said[5].endswith("...")
    assert all(len(line) <= view.WIDTH for line in said)


def test_it_ends_with_the_run_and_says_how(folder: Path, tmp_path: Path) -> None:
    said = list[str]()
    assert view.follow(folder, None, said.append) and said[-1] == "ended: complete"
    _run(folder, "stopped", alarm="truth")
    assert not view.follow(folder, None, said.append) and said[-1] == "ended: stopped by alarm truth"
    _run(folder, "running")
    assert not view.follow(folder, None, said.append) and said[-1].startswith("no process writes this run")
    with pytest.raises(CimError, match="no run has begun here"):
        view.follow(tmp_path / "nothing", None, said.append)


def test_it_waits_while_a_process_writes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(folder, "running")
    said = list[str]()

    def later(_: float) -> None:
        store.write_rows(folder / "steps.jsonl", [_row(step) for step in (1, 2, 3, 4)])
        _run(folder, "complete")

    monkeypatch.setattr(view.time, "sleep", later)
    with store.writing(folder):
        assert view.follow(folder, 4, said.append)
    assert [line for line in said if line.startswith("step 4 of 4")] and said.count(said[0]) == 1
