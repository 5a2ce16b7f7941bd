"""A stranger with the wheel in a fresh environment, outside of the checkout: imports, scores, compares, adds parts.

The environment sees the dependencies that are installed here, so that nothing is downloaded; an audit hook in it writes
down every file of the checkout that is opened.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_api import run_examples
from tests.test_architecture import HEAVY

NOTEBOOKS = ROOT / "docs" / "notebooks"
PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
    "packages"
]
HOOK = """
import os, sys
def _watch(event, arguments):
    if event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], str):
        path = os.path.abspath(arguments[0])
        if path.startswith({root!r} + os.sep) and not path.startswith({environment!r}):
            descriptor = os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(descriptor, (path + chr(10)).encode())
            os.close(descriptor)
sys.addaudithook(_watch)
"""
TASK = '''"""Two scenes: a private benchmark."""

import json
from pathlib import Path

from harness.types import DataFile, Sample, Task


def _load(folder):
    rows = json.loads((folder / "two_scenes.json").read_text())
    return [Sample(id=name, references=tuple(texts)) for name, texts in rows.items()]


TASK = Task(
    name="two_scenes",
    title="Two scenes",
    prompt="Describe the scene.",
    files=({pin}),
    count=2,
    provides=frozenset({{"references"}}),
    load=_load,
    licence="CC0",
    source="a test",
    folder=Path(__file__).parent,
)
'''
METRIC = '''"""Commas per caption: a private metric."""

import numpy as np

from harness.parts import Measurement, Metric, Value


def _measure(records):
    commas = np.array([[float(caption.count(","))] for caption in records.captions])
    return Measurement(commas, commas)


METRIC = Metric(
    name="commas",
    values=(Value("count", higher_is_better=None, decimals=1),),
    measure=_measure,
    signature=lambda: {"agg": "mean", "v": "1"},
    empty=(0.0,),
    needs=frozenset(),
    scale=None,
)
'''
REWARD = '''"""Commas per caption: a private reward."""

import numpy as np

from harness.parts import Reward


def _values(captions, source_ids, context):
    return np.array([float(caption.count(",")) for caption in captions])


REWARD = Reward("many_commas", _values)
'''
PRIVATE = """
import numpy as np
from cim_harness import evaluate, load_samples, metrics, rewards, score, tasks, trl_reward, CimScorer
from harness.retrieval.gallery import Gallery
print(tasks()["two_scenes"], "|", metrics()["commas"], "|", rewards()["many_commas"])
captions = {sample.id: "one, two, three" for sample in load_samples("two_scenes")}
result = evaluate(captions, "two_scenes", ["commas", "length"])
print(result.values, score(["a, b"], ["c"], "commas").values)
rows = np.eye(4, dtype=np.float32)
keys = [f"mine:{at}" for at in range(4)]
gallery = Gallery("mine", rows, rows, keys, [None] * 4, {key: [at] for at, key in enumerate(keys)}, "0")
scorer = CimScorer(gallery, lambda texts: rows[: len(texts)])
print(trl_reward(scorer, "many_commas")(["a, b, c", "d"], source_id=keys[:2]))
"""


@dataclass(frozen=True)
class Stranger:
    """The wheel, the Python of the environment it is installed in, a working folder, what of the checkout was read."""

    wheel: Path
    python: str
    folder: Path
    log: Path

    def run(self, *command: str, code: int = 0, **variables: str) -> str:
        """Standard output of ``python ...`` in the working folder."""
        dropped = ("PYTHONPATH", "CIM_RESULTS", "CIM_DATA", "CIM_PATH", "CIM_MODELS")
        kept = {name: value for name, value in os.environ.items() if name not in dropped}
        done = subprocess.run(
            [self.python, *command], cwd=self.folder, env=kept | variables, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stranger]:
    """The wheel in a fresh environment; a skip where no build back end can be had."""
    place = tmp_path_factory.mktemp("stranger")
    uv = Path(sys.executable).with_name("uv")
    build = [str(uv), "build", "-q", "--wheel", "--out-dir", str(place)]
    if not uv.is_file():
        build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(place)]
    built = subprocess.run([*build, str(ROOT)], capture_output=True, text=True, timeout=300)
    if built.returncode and "hatchling" in built.stderr:
        pytest.skip("hatchling, which builds the wheel, cannot be had from the package registry here")
    assert built.returncode == 0, built.stderr
    (wheel,) = place.glob("*.whl")
    environment, folder, log = place / "environment", place / "work", place / "read.txt"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    folder.mkdir()
    (packages,) = environment.glob("lib/python*/site-packages")
    python = str(environment / "bin" / "python")
    install = [sys.executable, "-m", "pip", "-q", "--python", python, "install", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(install, check=True)
    (here,) = Path(sys.prefix).glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{here}\n")  # its own .pth files, such as ours, are not read
    hook = HOOK.format(root=str(ROOT), environment=sys.prefix + os.sep, log=str(log))
    (packages / "sitecustomize.py").write_text(hook)
    yield Stranger(wheel, python, folder, log)
    assert not log.exists(), f"files of the checkout were read: {log.read_text()}"


def _captions(folder: Path) -> Path:
    path = folder / "captions.jsonl"
    rows = [json.loads(line) for line in (ROOT / "tasks" / "demo" / "scenes.jsonl").read_text().splitlines()]
    path.write_text("".join(json.dumps({"sample_id": r["id"], "caption": r["references"][0]}) + "\n" for r in rows))
    return path


def test_the_wheel_holds_every_file_of_its_packages(stranger: Stranger) -> None:
    held = set(zipfile.ZipFile(stranger.wheel).namelist())
    tracked = [path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    wanted = {path.as_posix() for path in tracked if "__pycache__" not in path.parts}
    assert wanted - held == set()
    assert {"cim_harness/py.typed", "tasks/miniscenes/weights/mini-base/model.safetensors"} <= held
    assert "tasks/miniscenes/galleries/miniscenes-1000/manifest.json" in held


def test_the_package_is_that_of_the_wheel_and_loads_nothing_heavy(stranger: Stranger) -> None:
    code = "import sys, cim_harness as c; print(c.__file__, c.__version__); print(*sys.modules)"
    first, modules = stranger.run("-c", code).splitlines()
    assert first.startswith(str(Path(stranger.python).parents[1])) and first.split()[1] in stranger.wheel.name
    assert not {name.split(".")[0] for name in modules.split()} & {*HEAVY, "numpy", "harness"}
    harness = stranger.run("-c", "import harness, tasks, judges, leaderboards; print(harness.__file__, tasks.__file__)")
    assert str(ROOT) not in harness


def test_scores_compares_and_loads_a_stored_run(stranger: Stranger) -> None:
    (baseline,) = (ROOT / "results" / "baseline" / "miniscenes").iterdir()
    shutil.copytree(baseline, stranger.folder / "their_run", dirs_exist_ok=True)
    code = """
from cim_harness import compare, load_run, score
a, b = (score([text, "a cat"], ["a dog runs", "a cat"], ["length", "bleu4_char"]) for text in ("a dog", "a dog runs"))
print(compare(a, b)["length"].test.difference, len(load_run("their_run").captions))
"""
    difference, count = stranger.run("-c", code).split()
    stored = json.loads((baseline / "scores.json").read_text())["scores"]
    assert (float(difference), int(count)) == (0.5, stored[0]["n"])


def test_the_command_scores_a_captions_file(stranger: Stranger) -> None:
    path = _captions(stranger.folder)
    arguments = ("eval", "--model", path.name, "--task", "demo", "--metrics", "length,bleu4_char", "--json")
    scores = json.loads(stranger.run("-m", "harness", *arguments))["scores"]
    assert {row["metric"]: row["n"] for row in scores} == {"length": 12, "bleu4_char": 12}
    assert (stranger.folder / "results" / "demo" / "captions" / "report.html").is_file()
    cim = Path(stranger.python).with_name("cim")
    done = subprocess.run([cim, "list", "tasks"], cwd=stranger.folder, capture_output=True, text=True)
    assert done.returncode == 0 and "demo" in done.stdout


def test_uvx_scores_a_captions_file(stranger: Stranger, tmp_path: Path) -> None:
    """Dependencies come from the registry or uv's cache, as for anybody; a skip where they cannot be had."""
    uvx = Path(sys.executable).with_name("uvx")
    if not uvx.is_file():
        pytest.skip("uv is not installed here")
    command = [str(uvx), "--python", sys.executable, "--from", str(stranger.wheel), "cim", "eval", "--model"]
    command += [_captions(tmp_path).name, "--task", "demo", "--metrics", "length", "--json"]
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "CIM_RESULTS")}
    kept |= {"UV_TOOL_DIR": str(tmp_path / "tools")}
    done = subprocess.run(command, cwd=tmp_path, env=kept, capture_output=True, text=True, timeout=300)
    if done.returncode and any(said in done.stderr for said in ("Failed to fetch", "error sending request", "network")):
        pytest.skip("the package registry cannot be reached here")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["scores"][0]["n"] == 12


def test_private_parts_are_used_through_cim_path(stranger: Stranger) -> None:
    parts = stranger.folder / "my_parts"
    for kind in ("tasks", "metrics", "rewards"):
        (parts / kind).mkdir(parents=True)
    (parts / "tasks" / "two_scenes.json").write_text(json.dumps({"x": ["a cat"], "y": ["a dog", "one dog"]}))
    pin = stranger.run("-m", "harness", "data", "pin", "my_parts/tasks/two_scenes.json").strip()
    (parts / "tasks" / "two_scenes.py").write_text(TASK.format(pin=pin))
    (parts / "metrics" / "commas.py").write_text(METRIC)
    (parts / "rewards" / "many_commas.py").write_text(REWARD)
    about, values, rewards = stranger.run("-c", PRIVATE, CIM_PATH=str(parts)).splitlines()
    assert about == (
        "Two scenes: a private benchmark. | Commas per caption: a private metric. | "
        "Commas per caption: a private reward."
    )
    assert values == "{'commas': 2.0, 'length': 3.0} {'commas': 1.0}" and rewards == "[2.0, 0.0]"


@pytest.mark.parametrize("name", ["score_captions.ipynb", "trl_reward.ipynb"])
def test_a_notebook_runs_and_prints_what_it_shows(stranger: Stranger, name: str) -> None:
    """Code cells in order in a fresh process; the last cell of the training notebook depends on the machine."""
    needed = ("trl", "torch") if name == "trl_reward.ipynb" else ("pandas",)
    if lacking := [module for module in needed if find_spec(module) is None]:
        pytest.skip(f"{lacking[0]} is not installed here: extras report and train")
    content = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))
    assert (content["nbformat"], content["metadata"]["kernelspec"]["language"]) == (4, "python")
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    (work := stranger.folder / name.removesuffix(".ipynb")).mkdir()
    printed = run_examples(["".join(cell["source"]) for cell in cells], work, stranger.python)
    shown = ["".join(text for output in cell["outputs"] for text in output["text"]) for cell in cells]
    if name == "trl_reward.ipynb":
        steps = [line.split() for line in printed.pop().splitlines()]
        assert [step for step, _ in steps] == ["1", "2", "3", "4"] and all(0 < float(value) < 2 for _, value in steps)
        shown.pop()
    assert printed == shown


def test_a_file_of_the_checkout_that_is_read_is_seen(stranger: Stranger) -> None:
    """The fixture fails at its end where the tests above read one; this shows that it would."""
    assert not stranger.log.exists()
    stranger.run("-c", f"open({str(ROOT / 'README.md')!r}).close()")
    assert stranger.log.read_text().split() == [str(ROOT / "README.md")]
    stranger.log.unlink()
