"""``accelerate launch`` on the CPU: one process, and two that share a step and give one set of rows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import store
from tests.conftest import ROOT

pytest.importorskip("trl", reason="trl is not installed: run `make setup-train`")
MINI = ROOT / "tasks" / "miniscenes" / "weights" / "mini-base"


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_launched_run(processes: int, tmp_path: Path) -> None:
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
    ]
    launch += ["--num_processes", str(processes), "--num_cpu_threads_per_process", "1", "--dynamo_backend", "no"]
    launch += ["-m", "tests.launched", str(tmp_path), str(MINI), str(processes)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NO_PROXY": "*"}
    done = subprocess.run(launch, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    steps = store.read_rows(tmp_path / "steps.jsonl")
    assert [(row["step"], row["captions"], row["images"]) for row in steps] == [(1, 16, 4), (2, 16, 4)]
    assert len(store.read_rows(tmp_path / "completions.jsonl")) == 32
    assert [row["step"] for row in store.read_rows(tmp_path / "validation.jsonl")] == [0, 1, 2]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["tiny-step1", "tiny-step2"]
