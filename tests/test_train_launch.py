"""Runs of several processes on the CPU: ``accelerate launch``, FSDP2, killed and resumed to the bit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness import store
from tests.conftest import ROOT

pytest.importorskip("trl", reason="trl is not installed: run `make setup-train`")
MINI = ROOT / "tasks" / "miniscenes" / "weights" / "mini-base"
ACCELERATE = ("accelerate.commands.launch", "--cpu", "--num_machines", "1", "--mixed_precision", "no")
ACCELERATE += ("--num_cpu_threads_per_process", "1", "--dynamo_backend", "no", "-m", "tests.launched")
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "tests.launched")
FSDP2 = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT"}


def launch(launcher: Sequence[str], *arguments: object, **settings: str) -> subprocess.CompletedProcess[str]:
    """What came of two steps in processes of a launcher."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NO_PROXY": "*", **settings}
    command = [sys.executable, "-m", *launcher, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)


def timeless(folder: Path) -> list[dict[str, Any]]:
    """Rows of steps without what depends on the machine."""
    return [{k: v for k, v in row.items() if k not in ("seconds", "rss_mb")} for row in rows(folder, "steps")]


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return store.read_rows(folder / f"{name}.jsonl")


def same(first: Path, other: Path) -> None:
    """Weights and rows of two runs are equal to the bit."""
    weights = Path("checkpoints") / "tiny-step2" / "model.safetensors"
    for name in (weights, "completions.jsonl", "validation.jsonl"):
        assert (first / name).read_bytes() == (other / name).read_bytes(), name
    assert timeless(first) == timeless(other) and [row["step"] for row in rows(first, "steps")] == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_launched_run(processes: int, tmp_path: Path) -> None:
    launcher = (*ACCELERATE[:1], "--num_processes", str(processes), *ACCELERATE[1:])
    done = launch(launcher, tmp_path, MINI, processes)
    assert done.returncode == 0, done.stderr[-3000:]
    steps = rows(tmp_path, "steps")
    assert [(row["step"], row["captions"], row["images"]) for row in steps] == [(1, 16, 4), (2, 16, 4)]
    assert len(rows(tmp_path, "completions")) == 32
    assert [row["step"] for row in rows(tmp_path, "validation")] == [0, 1, 2]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["tiny-step1", "tiny-step2"]


def test_a_sharded_run_resumes_to_the_bit(tmp_path: Path) -> None:
    """FSDP2 over two processes; the second step, made again from the first checkpoint, is the uninterrupted one."""
    done = launch(TORCHRUN, tmp_path, MINI, 2, "again", **FSDP2)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("update 2 was not saved in full and is left out") == 1, "one process says it"
    same(tmp_path, tmp_path / "once")


@pytest.mark.slow
@pytest.mark.parametrize("event", ["saved", "saving"])
def test_a_killed_sharded_run_loses_nothing(event: str, tmp_path: Path) -> None:
    """SIGKILL, then the same command; a third time it changes nothing. Without FSDP it is refused, its rows kept."""
    once, killed = tmp_path / "once", tmp_path / "killed"
    assert launch(TORCHRUN, once, MINI, 2, **FSDP2).returncode == 0
    assert launch(TORCHRUN, killed, MINI, 2, event, **FSDP2).returncode != 0
    assert "tiny-step1" in [path.name for path in (killed / "checkpoints").iterdir()]
    before = content(killed)
    refused = launch((*ACCELERATE[:1], "--num_processes", "2", *ACCELERATE[1:]), killed, MINI, 2)
    assert "tiny-step1 was saved under FSDP" in refused.stderr and content(killed) == before
    resumed = launch(TORCHRUN, killed, MINI, 2, **FSDP2)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    same(once, killed)
    after = content(killed)
    assert launch(TORCHRUN, killed, MINI, 2, **FSDP2).returncode == 0 and content(killed) == after


def content(folder: Path) -> dict[Path, bytes]:
    """Every file of a run."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
