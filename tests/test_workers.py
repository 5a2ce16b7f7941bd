"""Workers: one store, no share lost when a worker is killed, and the same rows as without them."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from harness.cluster import models
from harness.errors import CimError
from harness.resources import machine
from harness.stages import workers
from harness.types import Model, Request
from harness.weights import Weights
from tests.cli import Cim, process
from tests.conftest import ROOT

EMBEDDED = ROOT / "tasks" / "miniscenes" / "weights" / "mini-base"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The TOML file of a model on engine ``mortal``, with a checkpoint folder of its own."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(EMBEDDED, folder)
    path = tmp_path / "mortal.toml"
    path.write_text(f'about = "fake"\nengine = "mortal"\ncheckpoint = "{folder}"\ntasks = ["miniscenes"]\n')
    monkeypatch.setenv("CIM_PATH", str(ROOT / "tests" / "fakes"))
    return path


def caption(model: Path, results: Path, *options: str) -> tuple[int, str, dict[str, Any]]:
    running = process("caption", "--model", model, "--limit", "40", *options, results=results)
    _, wrong = running.communicate()
    path = results / "miniscenes" / "mortal" / "captions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    assert len({row["sample_id"] for row in rows}) == len(rows), "a sample is stored twice"
    return running.returncode, wrong, {row["sample_id"]: row for row in rows}


def test_the_share_of_a_killed_worker_is_taken_over(model: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint" / "died").touch()
    code, _, expected = caption(model, tmp_path / "alone")
    assert (code, len(expected)) == (0, 40)
    (tmp_path / "checkpoint" / "died").unlink()
    code, wrong, rows = caption(model, tmp_path / "shared", "--workers", "3")
    assert (tmp_path / "checkpoint" / "died").exists() and "SIGKILL" in wrong
    assert (code, rows) == (0, expected)


def test_without_workers_left_the_same_command_goes_on(model: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint" / "all").touch()
    code, wrong, rows = caption(model, tmp_path / "results", "--workers", "2")
    assert code == 1 and "the same command goes on" in wrong.splitlines()[-1]
    assert 0 < len(rows) < 40, "what workers wrote before they died is kept"
    (tmp_path / "checkpoint" / "all").unlink()
    (tmp_path / "checkpoint" / "died").touch()
    code, _, resumed = caption(model, tmp_path / "results", "--workers", "2")
    assert (code, len(resumed)) == (0, 40)
    assert rows.items() <= resumed.items()


def test_shards_of_an_array_become_one_run(model: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint" / "died").touch()
    _, _, expected = caption(model, tmp_path / "alone")
    (tmp_path / "checkpoint" / "died").unlink()
    results = tmp_path / "shards"
    jobs = [
        process("caption", "--model", model, "--limit", "40", "--shard", f"{at}/3", results=results) for at in range(3)
    ]
    codes = [job.wait() for job in jobs]
    assert sorted(codes) == [-signal.SIGKILL, 0, 0], "one of the array's jobs was killed"
    assert not (results / "miniscenes" / "mortal" / "captions.jsonl").exists()
    code, _, rows = caption(model, results)
    assert (code, rows) == (0, expected)
    assert not list((results / "miniscenes" / "mortal" / "shards").glob("*"))


@pytest.mark.parametrize("text", ["3/3", "1", "0/0", "-1/2", "a/b"])
def test_what_is_no_shard_is_refused(cim: Cim, text: str) -> None:
    assert "--shard" in cim.refused("caption", "--model", "demo-terse", f"--shard={text}")


def test_each_worker_has_gpus_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = Weights("x", vllm={"tensor_parallel_size": 2})
    model = Model("m", "vllm", None, {}, weights=weights)
    assert workers.devices(model, 2) == [None, None]
    monkeypatch.setattr(machine, "gpus", lambda: (machine.Gpu("made up", "580.1", 80.0),) * 8)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert workers.devices(model, 4) == ["0,1", "2,3", "4,5", "6,7"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,7")
    assert workers.devices(model, 1) == ["4,5"]
    with pytest.raises(CimError) as refused:
        workers.devices(model, 2)
    assert refused.value.where == "--workers" and "--workers 1" in refused.value.hint


def test_a_request_reaches_another_process_whole(tmp_path: Path) -> None:
    """A judge's system prompt was lost on the way before."""
    for request in (
        Request("a", "Describe.", tmp_path / "a.png", "You are a judge."),
        Request("b", "Describe.", None, None),
    ):
        assert models.request(json.loads(json.dumps(models.request_row(request)))) == request
