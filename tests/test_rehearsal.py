"""The whole GPU command on a CPU: small stand-ins under every real name, fetched from a hub and evaluated at once.

Their numbers mean nothing. That one command makes every row, that each model is loaded once and none beside another,
and that everything was brought before: this is what is shown.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import registry
from harness.resources import pretrained, wordnet
from tests import hub_server, rehearsal, tiny_models, tiny_mpnet, tiny_t5
from tests.cli import captions_file
from tests.conftest import ROOT
from tests.hub_server import Hub
from tests.test_engines import LACKING, NO_VLLM

pytestmark = [
    pytest.mark.skipif(bool(LACKING) or NO_VLLM, reason="vllm is not installed: make setup-vllm"),
    pytest.mark.skipif(wordnet.missing_wordnet() is not None, reason=f"lemmas need WordNet: {wordnet.COMMAND}"),
]
ROWS = ("attributes", "bleu4", "capture", "objects", "relation_qa")
LOADED = ("Qwen2_5_VLForConditionalGeneration", "T5ForConditionalGeneration", "Qwen3ForCausalLM", "MPNetModel")
Run = Callable[..., subprocess.CompletedProcess[str]]


def checkpoint(name: str) -> str:
    """The hub id in a model's TOML file."""
    from harness.stages import model

    weights = model.from_toml(registry.model_file(name)).weights
    assert weights is not None
    return weights.checkpoint


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with small models under the ids of the real ones, and both benchmarks beside them."""
    folder = tmp_path_factory.mktemp("served")
    repositories = {
        checkpoint("qwen2.5-vl-7b"): tiny_models.build(folder / "captioner", "qwen2_5_vl"),
        checkpoint("qwen3-8b"): tiny_models.build(folder / "judge", "qwen3"),
        pretrained.FACTUAL.hub_id: tiny_t5.build(folder / "parser", steps=5),
        pretrained.MPNET.hub_id: tiny_mpnet.build(folder / "encoder"),
    }
    for place in repositories.values():
        (place / "pytorch_model.bin").write_bytes(b"a pickle")
    others = {path: body for name in rehearsal.NAMES for path, body in rehearsal.files(name).items()}
    with hub_server.serving(Hub(repositories, others=others)) as hub:
        yield hub


@pytest.fixture
def run(served: Hub, tmp_path: Path, tiny_nltk: Path) -> Run:
    """``cim`` on a machine that holds nothing yet."""
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("CIM_MODELS", "HF_HUB_OFFLINE")},
        **hub_server.environment(served),
        "OMP_NUM_THREADS": "1",
        "HF_HOME": str(tmp_path / "hf"),
        "CIM_DATA": str(tmp_path / "data"),
        "CIM_RESULTS": str(tmp_path / "results"),
    }
    environment.pop("HF_HUB_CACHE", None)

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.rehearsal", str(tmp_path), served.address, *words]
        return subprocess.run(command, cwd=ROOT, env=environment | more, capture_output=True, text=True, timeout=500)

    return run


def test_one_command_makes_every_row_with_one_load_each(run: Run, served: Hub, tmp_path: Path) -> None:
    dry = run("model", "fetch", "qwen2.5-vl-7b", "--dry-run")
    assert dry.returncode == 0 and "to download, licence" in dry.stdout and "free at" in dry.stdout, dry.stderr
    names = ("--metrics", ",".join(ROWS), "--judge", "qwen3-8b")
    fetched = run("data", "fetch", "--for", "qwen2.5-vl-7b", "coco_ln500,docci500", *names)
    assert fetched.returncode == 0, fetched.stderr
    assert all(f"{name}: " in fetched.stdout for name in ("qwen2.5-vl-7b", "qwen3-8b", "factual", "mpnet"))
    assert not any(".bin" in path for path in served.asked)
    again = run("model", "fetch", "qwen2.5-vl-7b,qwen3-8b,factual,mpnet", HF_HUB_OFFLINE="1")
    assert again.returncode == 0 and again.stdout.count(": whole, ") == 4, again.stderr

    command = ("eval", "--model", "qwen2.5-vl-7b", "--task", "coco_ln500,docci500", "--limit", "4", *names)
    done = run(*command, HF_ENDPOINT="http://127.0.0.1:9")  # no hub is asked any more
    assert done.returncode == 0, done.stderr
    loads = (tmp_path / "loads.txt").read_text().split()
    assert tuple(loads) == LOADED
    for name in ("captioner qwen2.5-vl-7b on engine vllm", "parser factual", "judge qwen3-8b on engine vllm"):
        assert done.stderr.count(f"{name}: loading") == 1
    for task in rehearsal.NAMES:
        folder = tmp_path / "results" / task / "qwen2.5-vl-7b"
        scores = json.loads((folder / "scores.json").read_text())["scores"]
        assert [row["metric"] for row in scores] == list(ROWS)
        assert all(row["n"] == 4 and row["not_computed"] is None for row in scores)
        assert json.loads((folder / "manifest.json").read_text())["status"] == "complete"
        assert re.search(rf"^{task} +qwen2.5-vl-7b$", done.stdout, re.MULTILINE)
    told = run(*command, "--json")
    assert told.returncode == 0 and [report["task"] for report in json.loads(told.stdout)] == list(rehearsal.NAMES)
    assert "loading" not in told.stderr and (tmp_path / "loads.txt").read_text().split() == loads


def test_without_a_hub_a_captioner_is_refused_and_a_metric_is_not(run: Run, tmp_path: Path) -> None:
    dead = "http://127.0.0.1:9"
    refused = run("model", "fetch", "qwen2.5-vl-7b", HF_ENDPOINT=dead)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1, refused.stderr
    assert "Qwen/Qwen2.5-VL-7B-Instruct@cc594898137f: hub download failed" in refused.stderr
    captions = captions_file(tmp_path / "mine.jsonl", {"coco_ln500_0": "a red dog"})
    asked = ("data", "fetch", "--if-missing", "--for", str(captions), "coco_ln500", "--metrics", "capture,length")
    fetched = run(*asked, HF_ENDPOINT=dead)
    assert fetched.returncode == 0 and fetched.stderr.count("going on without it") == 2, fetched.stderr
    assert "factual" in fetched.stderr and "all-mpnet-base-v2" in fetched.stderr
