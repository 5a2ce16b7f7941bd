"""``cim eval`` of mini-base as a process of its own: killed on vLLM and resumed, the disk full, both engines alike."""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import store
from harness.runs import records
from tests.cli import Cim, process
from tests.conftest import ROOT
from tests.test_durability import files
from tests.test_mini_models import WEIGHTS

pytest.importorskip("torch", reason="torch is not installed: run `make setup-models`")
pytest.importorskip("transformers", reason="transformers is not installed: run `make setup-models`")

METRICS = ("--metrics", "objects,length", "--draws", "100")
MODEL = """about = "mini-base, a few captions at a time"
engine = "vllm"
checkpoint = "{folder}"
dtype = "float32"
tasks = ["miniscenes"]
[sampling]
temperature = 0
max_tokens = 64
[vllm]
max_num_seqs = 4
max_model_len = 256
"""


@pytest.mark.vllm
@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed: make setup-vllm")
def test_mini_base_on_vllm_killed_and_resumed_equals_a_whole_run_and_transformers(cim: Cim, tmp_path: Path) -> None:
    """SIGKILL while vLLM writes, then the same command: same files. Its captions are those of transformers."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "few.toml").write_text(MODEL.format(folder=WEIGHTS / "mini-base"))
    command, models = ("eval", "--model", "few", "--limit", "200", *METRICS), {"CIM_MODELS": str(tmp_path / "models")}
    assert process(*command, results=tmp_path / "whole", **models).wait() == 0
    expected = files(tmp_path / "whole" / "miniscenes" / "few")
    folder = tmp_path / "killed" / "miniscenes" / "few"
    running = process(*command, results=tmp_path / "killed", **models)
    while running.poll() is None and not records.read(folder):
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert 0 < len(records.read(folder)) < 200
    assert process(*command, results=tmp_path / "killed", **models).wait() == 0
    assert files(folder) == expected
    assert cim("eval", "--model", "mini-base", "--limit", "200", *METRICS).code == 0
    left = {name: made.text for name, made in records.read(cim.results / "miniscenes" / "mini-base").items()}
    right = {name: made.text for name, made in records.read(folder).items()}
    assert sum(left[name] == right[name] for name in left) >= 198


def test_a_full_disk_while_captions_are_made(tmp_path: Path) -> None:
    """A file size limit stands for a full disk: one line, whole rows only; the same command goes on from them."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, resource.RLIM_INFINITY))

    command = [sys.executable, "-m", "harness", "eval", "--model", "mini-base", "--limit", "100", *METRICS]
    variables = {**os.environ, "CIM_RESULTS": str(tmp_path / "full")}
    done = subprocess.run(command, cwd=ROOT, env=variables, preexec_fn=limit, capture_output=True, text=True)
    assert done.returncode == 2 and "File too large" in done.stderr.splitlines()[-1], done.stderr
    assert "Traceback" not in done.stderr and done.stderr.splitlines()[-1].startswith("cim: ")
    folder = tmp_path / "full" / "miniscenes" / "mini-base"
    assert 0 < len(store.read_rows(folder / records.NAME)) < 100
    assert (folder / records.NAME).read_bytes().endswith(b"}\n") and not list((tmp_path / "full").rglob("*.tmp"))
    kept = (folder / records.NAME).read_bytes()
    assert subprocess.run(command, cwd=ROOT, env=variables, capture_output=True).returncode == 0
    assert (folder / records.NAME).read_bytes().startswith(kept)
    whole = {**variables, "CIM_RESULTS": str(tmp_path / "whole")}
    assert subprocess.run(command, cwd=ROOT, env=whole, capture_output=True).returncode == 0
    assert files(folder) == files(tmp_path / "whole" / "miniscenes" / "mini-base")
    assert json.loads((folder / "manifest.json").read_text())["status"] == "complete"
