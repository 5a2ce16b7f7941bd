"""The Makefile's face, the lock files behind it, and the set-up of a clean copy."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from harness.command import needs
from tests.conftest import ROOT

REQUIREMENTS = ROOT / "requirements"
LOCKS = sorted(path.name for path in REQUIREMENTS.glob("*.lock"))
PIN = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==([^ ;\\]+)", re.MULTILINE)
CIM = "import sys\ndef main() -> int:\n    print('cim', *sys.argv[1:], sep='|')\n    return 0\n"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs make as from a fresh shell: its own variables of an outer make are taken away."""
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MODEL", "TASK", "LIMIT", "ENGINE", "METRICS", "ARGS", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if name not in outer}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=kept | environment, capture_output=True, text=True, timeout=500
    )


def pins(lock: str) -> dict[str, str]:
    """Normalised package name to version."""
    text = (REQUIREMENTS / lock).read_text(encoding="utf-8")
    return {normal(name): version for name, version in PIN.findall(text)}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def project() -> dict[str, list[str]]:
    """Extra to package names; the core packages under ``core``."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = {"core": table["dependencies"], **table["optional-dependencies"]}
    names = {extra: [re.split(r"[<>=!~\[; ]", line)[0] for line in lines] for extra, lines in listed.items()}
    return {extra: [normal(name) for name in packages if name != table["name"]] for extra, packages in names.items()}


def test_make_alone_prints_targets_and_variables() -> None:
    answer = make()
    assert answer.returncode == 0 and answer.stderr == ""
    setups = ("setup", "setup-models", "setup-train", "setup-vllm", "setup-gpu")
    boards = ("tables", "audit", "leaderboard", "check", "baseline")
    for target in (*setups, *boards, "eval", "train-cim", "parity", "test", "test-slow", "lint", "bench"):
        assert re.search(rf"^  {target} ", answer.stdout, re.MULTILINE), target
    for variable in ("MODEL=", "TASK=", "LIMIT=", "METRICS=", "ARGS=", "CIM_DATA", "CIM_RESULTS", "CIM_MODELS"):
        assert variable in answer.stdout


def test_eval_fetches_a_named_task_and_passes_everything_on() -> None:
    calls = make("-n", "eval", "MODEL=x.jsonl", "TASK=docci500", "LIMIT=3", "METRICS=a,b", "ARGS=--json").stdout
    calls = re.sub(r"\s+", " ", calls.replace("\\\n", " "))
    assert ".venv/bin/cim data fetch --if-missing --for 'x.jsonl' 'docci500' " in calls
    assert calls.strip().endswith(
        ".venv/bin/cim eval --model 'x.jsonl' --task 'docci500' --limit '3' --metrics 'a,b' --json"
    )


def test_eval_without_a_task_fetches_what_the_model_needs() -> None:
    calls = make("-n", "eval").stdout
    assert ".venv/bin/cim data fetch --if-missing --for 'mini-base,mini-detailed' \n" in calls
    assert ".venv/bin/cim eval --model 'mini-base,mini-detailed'" in calls


def test_training_passes_everything_on() -> None:
    calls = make("-n", "train-cim", "PRESET=mini", "SEED=2", "ARGS=--steps 5").stdout
    calls = re.sub(r"\s+", " ", calls.replace("\\\n", " "))
    assert ".venv/bin/cim train --model 'mini-base' --preset 'mini' --seed '2' --steps 5; fi" in calls
    images = make(
        "-n", "train-cim", "DATA=my pairs.jsonl", "IMAGES=x", "GALLERY=g", "ROLLOUTS=vllm", "PROCESSES=8"
    ).stdout
    images = re.sub(r"\s+", " ", images.replace("\\\n", " "))
    assert "--from 'my pairs.jsonl' --images 'x' --gallery 'g' --rollouts 'vllm' --processes '8' ; fi" in images
    assert "if [ 'mini-basemy pairs.jsonlxgvllm8' = mini-base ]" in images
    assert "cim doctor --parity 'mini-base' " in make("-n", "parity").stdout
    assert "need=train;" in calls and "if [ 'mini-basemini2' = mini-base ]" in calls


def test_training_alone_is_the_study_and_the_ablation_has_all_arms() -> None:
    assert (
        "if [ 'mini-base' = mini-base ]; then .venv/bin/cim study --seeds '3'"
        in make("-n", "train-cim", "SEEDS=3").stdout
    )
    assert ".venv/bin/cim study --arms all --pearson --seeds '3'" in make("-n", "ablation", "SEEDS=3").stdout


def test_a_value_stays_one_word() -> None:
    assert "--model 'my captions/it'\\''s.jsonl'" in make("-n", "eval", "MODEL=my captions/it's.jsonl").stdout


def test_no_suitable_python_is_one_line(tmp_path: Path) -> None:
    copy = clean_copy(tmp_path / "copy")
    answer = make("setup", "PYTHON=python9", folder=copy)
    assert answer.returncode == 2
    assert answer.stderr.splitlines()[0].startswith("setup: no Python 3.11 to 3.13 at PYTHON=python9; sudo apt-get")
    assert not (copy / ".venv").exists()


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_name_no_place_of_a_machine(lock: str) -> None:
    text = (REQUIREMENTS / lock).read_text(encoding="utf-8")
    assert not re.search(r"://|file:|find-links|index-url| @ |(^|\s)/\w|\.\./", text)


def test_locks_pin_what_the_project_asks_for() -> None:
    wanted, dev = project(), pins("dev.lock")
    assert set(wanted["core"]) <= pins("core.lock").keys()
    assert set(wanted["java"]) == pins("java.lock").keys()
    assert {*wanted["core"], *wanted["dev"]} <= dev.keys()
    assert {*wanted["core"], *wanted["report"]} <= pins("report.lock").keys()
    for lock, extras in {"cpu.lock": ("cpu", "dev", "oracle"), "gpu.lock": ("gpu",)}.items():
        asked = {name for extra in ("core", "engine", "models", "report", "train", *extras) for name in wanted[extra]}
        assert asked - pins(lock).keys() == ({"torch", "torchvision"} if lock == "cpu.lock" else set())


def test_each_machine_gets_its_own_torch() -> None:
    """No CPU torch in the lock of GPUs, where a find-links folder may put it; no package of CUDA beside CPU torch."""
    assert pins("gpu.lock")["torch"] == "2.13.0"
    for lock in ("cpu.lock", "models.lock", "train.lock"):
        assert not [name for name in pins(lock) if name == "torch" or name.startswith(("nvidia-", "cuda-"))], lock


def test_a_model_with_weights_brings_what_its_engine_needs() -> None:
    assert needs.of("demo-detailed,x.jsonl,no such model") == ""
    assert needs.of("qwen2.5-vl-7b") == "vllm"
    assert needs.of("demo-detailed,qwen2.5-vl-7b", "transformers") == "models"
    torch = dict(line.split("==") for line in (REQUIREMENTS / "torch.txt").read_text(encoding="utf-8").split())
    assert torch == {name: pins("gpu.lock")[name] for name in ("torch", "torchvision")}
    asked = {name for extra in ("core", "engine", "models", "train") for name in project()[extra]}
    assert asked <= pins("train.lock").keys() | torch.keys()
    assert set(project()["engine"]) == (pins("models.lock").keys() | torch.keys()) & set(project()["engine"])


def test_core_packages_have_one_version_in_all_locks() -> None:
    whole = ("dev.lock", "report.lock")
    for lock in (*whole, "models.lock", "train.lock", "cpu.lock", "gpu.lock"):
        other = pins(lock)
        core = {name: version for name, version in pins("core.lock").items() if name in other or lock in whole}
        assert {name: other.get(name) for name in core} == core, lock


def test_ci_script_is_valid_and_executable() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], timeout=10).returncode == 0


def clean_copy(folder: Path) -> Path:
    """What set-up reads, with a ``cim`` that prints its arguments."""
    folder.mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(REQUIREMENTS, folder / "requirements")
    (folder / "README.md").write_text("# copy\n", encoding="utf-8")
    cards = Path("results", "published", "validity_cards.json")  # the wheel holds them
    (folder / cards).parent.mkdir(parents=True)
    shutil.copy(ROOT / cards, folder / cards)
    for package in ("cim_meteor", "harness", "tasks", "judges", "leaderboards"):
        (folder / package).mkdir()
        (folder / package / "__init__.py").touch()
    shutil.copytree(ROOT / "cim_harness", folder / "cim_harness")  # holds the version
    for name in (
        "errors.py",
        "resources/__init__.py",
        "resources/nltk_data.py",
        "resources/packaged.py",
        "resources/wordnet.py",
    ):
        (folder / "harness" / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "harness" / name, folder / "harness" / name)
    (folder / "harness" / "command").mkdir()
    for name, text in {"__init__.py": "", "cli.py": CIM, "needs.py": ""}.items():
        (folder / "harness" / "command" / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.slow
def test_set_up_from_nothing_then_nothing_to_do(tmp_path: Path) -> None:
    copy = clean_copy(tmp_path / "a folder's copy")
    first = make("eval", "MODEL=my captions.jsonl", folder=copy)
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[-1] == "cim|eval|--model|my captions.jsonl"
    assert (copy / ".venv" / ".ok-core").exists() and not (copy / ".venv" / ".ok-dev").exists()
    again = ["cim|data|fetch|--if-missing|--for|mini-base,mini-detailed", "cim|eval|--model|mini-base,mini-detailed"]
    assert make("eval", folder=copy).stdout.splitlines() == again


@pytest.mark.slow
def test_without_uv_pip_does_it(tmp_path: Path) -> None:
    (tmp_path / "constraint.txt").write_text("uv==0.0.1\n", encoding="utf-8")
    copy = clean_copy(tmp_path / "copy")
    done = make("eval", folder=copy, PIP_CONSTRAINT=str(tmp_path / "constraint.txt"))
    assert done.returncode == 0, done.stderr
    assert "pip does the same, slower" in done.stdout and not (copy / ".venv" / "bin" / "uv").exists()


@pytest.mark.slow
def test_a_failed_set_up_leaves_no_stamp_and_goes_on(tmp_path: Path) -> None:
    copy = clean_copy(tmp_path / "copy")
    lock = copy / "requirements" / "core.lock"
    good = lock.read_text(encoding="utf-8")
    lock.write_text(re.sub(r"sha256:[0-9a-f]{8}", "sha256:00000000", good), encoding="utf-8")
    assert make("eval", folder=copy).returncode == 2
    assert not (copy / ".venv" / ".ok-core").exists()
    lock.write_text(good, encoding="utf-8")
    assert make("eval", folder=copy).returncode == 0
