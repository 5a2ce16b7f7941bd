"""``make gpu-check`` at small size: every step runs on a CPU, so that the script itself stays whole."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from harness.command import cli
from tests.conftest import ROOT
from tests.gpu_check import places, steps

pytest.importorskip("vllm", reason="make setup-vllm")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("gpu_check")


def check(folder, *options):
    command = [sys.executable, "-m", "tests.gpu_check", "--size", "small", "--out", str(folder), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def last_row(folder):
    return json.loads((folder / "small" / "rows.jsonl").read_text().splitlines()[-1])


def test_a_step_is_a_process_and_a_row(folder):
    done = check(folder, "--steps", "environment")
    row = last_row(folder)
    assert (row["step"], row["ok"], done.returncode) == ("environment", True, 0), row["why"]
    assert row["device"] and row["values"], row


# The steps that train run their trainings one after the other, each a process, one of them killed and resumed.
STEPS = [
    pytest.param(name, marks=[pytest.mark.slow] * name.startswith("grpo"))
    for name in steps.STEPS
    if name != "environment"
]


@pytest.fixture
def place(folder, monkeypatch):
    """The work folder, seen by what runs in this process."""
    work = places.Place(folder / "small", "small")
    for part in ("models", "results", "data"):
        (work.folder / part).mkdir(parents=True, exist_ok=True)
    enter(work, monkeypatch)
    return work


def enter(work, monkeypatch):
    for name, value in work.environment().items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("step", STEPS)
def test_every_step_runs_on_a_cpu(place, step, monkeypatch, capfd):
    """In this process, ``cim`` too where a step runs it: a dozen processes would import torch once each."""

    def run(place, *arguments):
        enter(place, monkeypatch)  # again: a step may have brought NLTK's data
        capfd.readouterr()
        start, code = time.monotonic(), cli.main(arguments)
        printed = capfd.readouterr()
        assert code == 0, printed.err
        return printed.out, time.monotonic() - start

    monkeypatch.setattr(steps, "run", run)
    place.task()
    values = steps.STEPS[step][0](place)
    assert values
    if step == "grpo-lora":
        assert (values["loss after a kill"], values["reward after a kill"]) == ("equal", "equal")


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_the_training_of_a_step_runs_on_a_cpu(place, kind, tmp_path, monkeypatch):
    from harness.train import forward

    monkeypatch.setattr(forward, "require", forward.require)  # the step replaces it
    values = steps.train(place, str(tmp_path / kind), kind)
    assert values["steps"] == 2 and len(values["start-up check"]) == 1
    assert len(steps.rows(tmp_path / kind / "steps.jsonl")) == 2


def test_a_step_without_time_is_a_failed_row_and_leaves_no_process(folder):
    done = check(folder, "--steps", "grpo-lora", "--budget", "10.5", "--again")
    row = last_row(folder)
    assert (row["ok"], done.returncode) == (False, 1)
    assert row["why"].startswith("not finished in")


def test_unknown_step_is_refused(folder):
    done = check(folder, "--steps", "nosuch")
    assert done.returncode == 2
    assert "nosuch" in done.stderr and "grpo-full" in done.stderr
