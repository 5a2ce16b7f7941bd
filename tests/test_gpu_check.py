"""``make gpu-check`` at small size: every step runs on a CPU, so that the script itself stays whole."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.gpu_check import steps

pytest.importorskip("vllm", reason="make setup-vllm")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("gpu_check")


def check(folder, *options):
    command = [sys.executable, "-m", "tests.gpu_check", "--size", "small", "--out", str(folder), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("step", steps.STEPS)
def test_every_step_runs_on_a_cpu(folder, step):
    done = check(folder, "--steps", step)
    row = json.loads((folder / "small" / "rows.jsonl").read_text().splitlines()[-1])
    assert (row["step"], row["ok"], done.returncode) == (step, True, 0), row["why"]
    assert row["device"] and row["values"], row
    if step == "grpo-lora":
        assert (row["values"]["loss after a kill"], row["values"]["reward after a kill"]) == ("equal", "equal")


def test_a_step_without_time_is_a_failed_row_and_leaves_no_process(folder):
    done = check(folder, "--steps", "grpo-lora", "--budget", "10.5", "--again")
    row = json.loads((folder / "small" / "rows.jsonl").read_text().splitlines()[-1])
    assert (row["ok"], done.returncode) == (False, 1)
    assert row["why"].startswith("not finished in")


def test_unknown_step_is_refused(folder):
    done = check(folder, "--steps", "nosuch")
    assert done.returncode == 2
    assert "nosuch" in done.stderr and "grpo-full" in done.stderr
