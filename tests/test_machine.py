"""What a machine lacks is said before anything is downloaded or loaded, in one line."""

from __future__ import annotations

import importlib.util
import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from harness import registry
from harness.engines import vllm
from harness.errors import CimError
from harness.resources import hub, machine
from harness.stages import model, weights
from harness.stages.weights import Load
from tests.cli import Cim
from tests.conftest import ROOT

CARD = "NVIDIA H100 80GB HBM3, {driver}, 81559"


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose nvidia-smi, a FAKE, shows what a file says."""
    program, shows = tmp_path / "bin" / "nvidia-smi", tmp_path / "shows.txt"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat {shows}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    shows.write_text(CARD.format(driver="580.65.06"))
    machine._listed.cache_clear()
    return shows


@pytest.fixture
def torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The version file of a torch that is a FAKE built for CUDA 13."""
    path = tmp_path / "torch" / "version.py"
    path.parent.mkdir()
    (path.parent / "__init__.py").write_text("")
    path.write_text("__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\n")
    spec = importlib.util.spec_from_file_location("torch", path.parent / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    return path


def test_what_nvidia_smi_shows(gpu: Path, torch: Path) -> None:
    (card,) = machine.gpus()
    assert (card.name, card.driver, round(card.gigabytes)) == ("NVIDIA H100 80GB HBM3", "580.65.06", 86)
    assert machine.torch_build() == ("2.13.0+cu130", "13.0")
    assert machine.gpu_fault() is None and machine.usable_gpu()
    gpu.write_text("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n")
    machine._listed.cache_clear()
    assert machine.gpus() == () and not machine.usable_gpu()


def test_an_old_driver_and_a_torch_for_cpus_are_faults(gpu: Path, torch: Path) -> None:
    gpu.write_text(CARD.format(driver="550.90.07"))
    machine._listed.cache_clear()
    assert "NVIDIA driver 550.90.07 is too old for CUDA 13: 580 or newer" in str(machine.gpu_fault())
    assert machine.lock_fault() == machine.gpu_fault() and not machine.usable_gpu()
    torch.write_text("__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\n")
    assert str(machine.gpu_fault()).startswith("torch 2.13.0+cpu is a build for CPUs, though nvidia-smi shows NVIDIA H")


def test_an_old_system_is_told_before_its_packages_are_installed(gpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "harness.command.needs", "qwen2.5-vl-7b"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout == "vllm\n"
    gpu.write_text(CARD.format(driver="470.1"))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1) and "driver 470.1" in done.stderr
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.28"))
    assert "GPU packages need glibc 2.31 or newer, here is 2.28" in str(machine.lock_fault())
    monkeypatch.setattr(machine.sys, "version_info", (3, 14, 0))
    assert "GPU packages need Python 3.11 to 3.13, this is 3.14" in str(machine.lock_fault())


def captioner(name: str = "qwen2.5-vl-7b", engine: str | None = None) -> Load:
    """A model as captioner."""
    return Load("captioner", model.from_toml(registry.model_file(name), engine))


def test_a_model_that_cannot_run_here_is_refused(monkeypatch: pytest.MonkeyPatch, gpu: Path, torch: Path) -> None:
    monkeypatch.setattr(vllm, "on_cpu", lambda: False)
    weights.check([captioner()])
    torch.write_text("__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\n")
    for load in (captioner(), captioner("mini-base", "transformers")):
        monkeypatch.setattr(weights, "LARGEST_ON_CPU", 1000)
        with pytest.raises(CimError, match=f"^captioner {load.model.name}: torch 2.13.0.cpu is a build for CPUs"):
            weights.check([load])
    monkeypatch.setattr(weights, "LARGEST_ON_CPU", 1e9)
    weights.check([captioner("mini-base", "transformers")])
    gpu.write_text("")
    machine._listed.cache_clear()
    with pytest.raises(CimError, match="engine vllm needs a GPU and nvidia-smi shows none; `--engine transformers`"):
        weights.check([captioner()])


def test_a_gate_and_a_full_disk_are_told_without_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    gated = hub.Source("gemma", "google/gemma-3-12b-it", "a" * 40, licence="gemma", gated=True)
    with pytest.raises(
        CimError, match=r"gemma is gated \(gemma\) and no token is here; accept the licence at https://hug"
    ):
        hub.refuse(gated, None)
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    hub.refuse(gated, 1e3)
    with pytest.raises(CimError, match=r"gemma: 1000000000.0 GB are needed, .* are free; make room, or point HF_HOME"):
        hub.refuse(gated, 1e18)


def test_what_can_be_fetched(cim: Cim) -> None:
    assert "model demo-terse has no weights to fetch" in cim.refused("model", "fetch", "demo-terse")
    assert "unknown model 'nosuch'" in cim.refused("model", "fetch", "nosuch")
    here = cim("model", "fetch", "mini-base", "--json")
    assert here.code == 0 and here.json["mini-base"]["bytes_to_download"] == 0


def test_a_dry_run_loads_nothing_heavy_and_tells_what_it_would(cim: Cim) -> None:
    pytest.importorskip("torch", reason="torch is not installed: make setup-models")
    code = (
        "import sys; from harness.command import cli\n"
        "cli.main(['eval', '--model', 'mini-base', '--dry-run', '--json'])\n"
        "sys.exit(str(sorted({'torch', 'transformers', 'vllm', 'huggingface_hub'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    plan = json.loads(done.stdout)
    assert done.stderr == "[]\n" and plan["loads"] == ["captioner mini-base on engine transformers"]
    assert plan["captions_to_make"] == 500 and plan["refused"] is None and plan["downloads_gb"] == {}
    assert plan["hours_estimated"] >= 0 and "64 tokens" in plan["hours_basis"] and plan["disk_free_gb"] > 0
    doctor = {row["part"]: row["state"] for row in cim("doctor", "--json").json}
    assert doctor["hub cache"] == "ok" and "gpu" in doctor
