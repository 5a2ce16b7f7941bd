"""``cim watch``: checkpoints of several trainers are found when whole, evaluated, and stop a training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness import store
from harness.errors import CimError
from harness.watching import checkpoints, evaluations
from tests.cli import Cim
from tests.conftest import ROOT

MINI = ROOT / "tasks" / "miniscenes" / "weights" / "mini-base"
LAYOUTS = {
    "TRL, LLaMA-Factory": "checkpoint-20",
    "ms-swift": "v0-20261128-101112/checkpoint-20",
    "verl": "global_step_20/actor/huggingface",
    "cim train": "checkpoints/mine-step20",
}


def _weights(size: int = 4) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [size], "data_offsets": [0, 4 * size]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4 * size)


def _saved(folder: Path, *, adapter: bool = False) -> Path:
    folder.mkdir(parents=True)
    if adapter:
        (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
        (folder / "adapter_model.safetensors").write_bytes(_weights())
    else:
        (folder / "config.json").write_text('{"model_type": "tiny"}')
        (folder / "model.safetensors").write_bytes(_weights())
    return folder


@pytest.mark.parametrize("trainer", LAYOUTS)
def test_checkpoints_are_found_where_trainers_put_them(tmp_path: Path, trainer: str) -> None:
    folder = _saved(tmp_path / LAYOUTS[trainer])
    assert checkpoints.finished(tmp_path) == [checkpoints.Saved(20, folder, False)]


def test_an_adapter_is_found_and_what_is_not_whole_waits(tmp_path: Path) -> None:
    adapter = _saved(tmp_path / "global_step_10" / "actor" / "lora_adapter", adapter=True)
    cut = _saved(tmp_path / "checkpoint-30") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-1])
    (_saved(tmp_path / "checkpoint-40") / "model.safetensors").unlink()
    (tmp_path / "checkpoint-40" / "pytorch_model.bin").write_bytes(b"a pickle")
    assert checkpoints.finished(tmp_path) == [checkpoints.Saved(10, adapter, True)]
    cut.write_bytes(_weights())
    assert [saved.step for saved in checkpoints.finished(tmp_path)] == [10, 30]


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    for run in ("v0-a", "v1-b"):
        _saved(tmp_path / run / "checkpoint-20")
    with pytest.raises(CimError, match="two checkpoints of step 20"):
        checkpoints.finished(tmp_path)
    with pytest.raises(CimError, match="is not there"):
        checkpoints.finished(tmp_path / "nowhere")


def test_a_worse_checkpoint_ends_the_watch_and_nothing_is_evaluated_twice(cim: Cim, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed: run `make setup-models`")
    from tasks.miniscenes import weaken

    for step in (10, 15):
        place = tmp_path / "run" / f"checkpoint-{step}"
        shutil.copytree(MINI, place, ignore=shutil.ignore_patterns("manifest.json"))
    options = ("--task", "miniscenes", "--metrics", "objects,statements", "--images", "40", "--every", "10", "--once")
    words = ("watch", tmp_path / "run", "--model", "mini-base", "--out", tmp_path / "out", *options)
    level = cim(*words)
    assert level.code == 0 and [line.split(":")[0] for line in level.out.splitlines()] == ["step 0", "step 10"], level
    assert cim(*words).out == ""
    weaken.weaken(tmp_path / "run" / "checkpoint-20")
    done = cim(*words)
    assert done.code == 1 and done.out.startswith("step 20: ") and "worse than step 0: objects f1" in done.out
    assert (tmp_path / "out" / "STOP").read_text() == done.out
    rows = store.read_rows(tmp_path / "out" / evaluations.NAME)
    assert [row["step"] for row in rows] == [0, 10, 20]
    assert all(test["difference"] == 0 for test in rows[1]["tests"].values()), "the same weights say the same"
    assert "objects is the reward" in cim.refused(*words, "--rewards", "objects")
