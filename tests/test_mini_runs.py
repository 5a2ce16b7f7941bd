"""``cim eval`` of mini-base as a process of its own: killed on vLLM and resumed, the disk full, both engines alike."""

from __future__ import annotations

import importlib.util
import json
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
def test_mini_base_on_vllm_killed_and_resumed_equals_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL while vLLM writes, then the same command: what was written stays, and the captions are transformers'."""
    cim, folder = Cim(tmp_path, capfd), tmp_path / "miniscenes" / "few"  # vLLM writes past sys.stdout
    monkeypatch.setenv("CIM_RESULTS", str(tmp_path))
    monkeypatch.setenv("CIM_MODELS", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "few.toml").write_text(MODEL.format(folder=WEIGHTS / "mini-base"))
    command = ("eval", "--model", "few", "--limit", "100", *METRICS)
    running = process(*command, results=tmp_path)
    while running.poll() is None and not records.read(folder):
        time.sleep(0.005)
    running.kill()
    running.wait()
    kept = store.read_rows(folder / records.NAME)
    assert 0 < len(kept) < 100
    assert cim(*command).code == 0
    written = store.read_rows(folder / records.NAME)
    assert written[: len(kept)] == kept and len(written) == 100
    assert cim("eval", "--model", "mini-base", "--limit", "100", *METRICS).code == 0
    left = {name: completion.text for name, completion in records.read(tmp_path / "miniscenes" / "mini-base").items()}
    right = {name: completion.text for name, completion in records.read(folder).items()}
    assert left.keys() == right.keys() and sum(left[name] == right[name] for name in left) >= 98
    scores = [json.loads((folder.parent / name / "scores.json").read_text())["scores"] for name in ("few", "mini-base")]
    assert [row["n"] for rows in scores for row in rows] == [100] * 4


def test_a_full_disk_while_captions_are_made(cim: Cim, tmp_path: Path) -> None:
    """A file size limit stands for a full disk: one line, whole rows only; the same command goes on from them."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, resource.RLIM_INFINITY))

    arguments = ("eval", "--model", "mini-base", "--limit", "100", *METRICS, "--results", str(cim.results))
    command = [sys.executable, "-m", "harness", *arguments]
    done = subprocess.run(command, cwd=ROOT, preexec_fn=limit, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("cim: "), done.stderr
    assert "Traceback" not in done.stderr
    folder = cim.results / "miniscenes" / "mini-base"
    kept = (folder / records.NAME).read_bytes()
    assert 0 < kept.count(b"\n") < 100 and kept.endswith(b"}\n") and not list(cim.results.rglob("*.tmp"))
    assert cim(*arguments).code == 0 and (folder / records.NAME).read_bytes().startswith(kept)
    assert cim(*arguments[:-1], tmp_path / "whole").code == 0
    assert files(folder) == files(tmp_path / "whole" / "miniscenes" / "mini-base")
    assert json.loads((folder / "manifest.json").read_text())["status"] == "complete"
