"""Parts from anywhere: folders of ``CIM_PATH``, entry points, files on the command line; clashes and broken files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness import places, registry
from harness.resources import data
from tests.cli import Cim, captions_file
from tests.conftest import ROOT

METRIC = '''"""Commas per caption."""
import numpy as np
from harness.parts import Measurement, Metric, Value
def _measure(records):
    counts = np.array([[float(caption.count(","))] for caption in records.captions])
    return Measurement(counts, counts)
METRIC = Metric({name!r}, (Value("count", None),), _measure, lambda: {{"v": "1"}}, {empty}, frozenset(), scale=None)
'''
TASK = '''"""One scene."""
from pathlib import Path
from harness.types import DataFile, Sample, Task
FILE = DataFile(name="scene.txt", bytes=6, sha256="9f2feb0f1ef425b292f2f94bc8482494df430413e08b7f3a5d7b6c2f4d2a4b5e")
TASK = Task(name="scene", title="One scene", prompt="Describe.", files=(FILE,), count=1,
    provides=frozenset({"references"}), load=lambda folder: [Sample("one", ("A dog.",))],
    licence="CC0", source="a test", folder=Path(__file__).parent)
'''
ENCODER = '''"""The same vector for every text; of length 2, which is not L2-normalised."""
from contextlib import nullcontext
import numpy as np
from harness.parts import Encoder
def encode(texts):
    yield from (np.ones(4, np.float32) for _ in texts)
ENCODER = Encoder("ones", lambda: {"v": "1"}, lambda: nullcontext(encode))
'''
# The shortest part of each kind, by the sub-folder it lies in.
SHORTEST = {
    "judges/mine.py": '"""J."""\nfrom harness.parts import Judge\nJUDGE = Judge("mine", lambda s, c: {}, {}, {})\n',
    "rewards/mine.py": '"""R."""\nfrom harness.parts import Reward\nREWARD = Reward("mine", lambda c, s, x: None)\n',
    "engines/mine.py": '"""E."""\nfrom harness.parts import Engine\nENGINE = Engine("mine", lambda m, r: [])\n',
    "parsers/mine.py": '"""P."""\nfrom harness.parts import Parser\nPARSER = Parser("mine", dict, lambda v: None)\n',
    "encoders/mine.py": '"""E."""\nfrom harness.parts import Encoder\nENCODER = Encoder("mine", dict, lambda: None)\n',
    "metrics/mine.py": METRIC.format(name="mine", empty="(0.0,)"),
    "tasks/mine/__init__.py": TASK.replace('name="scene"', 'name="mine"'),
    "tasks/mine/metrics/only_here.py": METRIC.format(name="only_here", empty="(0.0,)"),
    "tasks/taught.py": '"""T."""\nfrom harness.worlds import Training\nTRAINING = Training("taught", "T", "p", {})\n',
    "models/mine.toml": 'about = "M."\nengine = "captions"\ncaptions = "mine.jsonl"\n',
}


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of ``CIM_PATH``."""
    folder = tmp_path / "parts"
    folder.mkdir()
    monkeypatch.setenv("CIM_PATH", str(folder))
    return folder


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_every_kind_is_found_in_a_folder(parts: Path) -> None:
    for name, text in SHORTEST.items():
        write(parts / name, text)
    for kind in registry.KINDS:
        part = {"trainings": "taught"}.get(kind, "mine")
        assert part in registry.names(kind) and registry.about(kind, part)
        if kind != "models":
            assert registry.load(kind, part).name == part  # type: ignore[attr-defined]
    assert "mine" not in registry.names("trainings") and "taught" not in registry.names("tasks")
    assert registry.metric("only_here").name == "only_here", "a part of a task's package"
    assert registry.model_file("mine") == parts / "models" / "mine.toml"


def test_two_folders_are_searched_and_one_must_exist(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cim: Cim
) -> None:
    write(tmp_path / "other" / "metrics" / "theirs.py", METRIC.format(name="theirs", empty="(0.0,)"))
    write(parts / "metrics" / "mine.py", METRIC.format(name="mine", empty="(0.0,)"))
    monkeypatch.setenv("CIM_PATH", f"{parts}:{tmp_path / 'other'}")
    assert {"mine", "theirs"} < set(registry.names("metrics"))
    monkeypatch.setenv("CIM_PATH", str(tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere") in cim.refused("list", "metrics")


def test_a_name_in_two_places_is_refused_naming_both(parts: Path, cim: Cim) -> None:
    path = write(parts / "metrics" / "bleu4.py", METRIC.format(name="bleu4", empty="(0.0,)"))
    line = cim.refused("list", "metrics")
    assert str(path) in line and str(ROOT / "harness" / "metrics" / "bleu4.py") in line
    line = cim.refused("eval", "--model", "demo-terse", "--metrics", "length")
    assert str(path) in line


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("METRIC = (", ":1"),
        ("import not_installed_anywhere\nMETRIC = 1\n", ":1"),
        ("x = 1\ny = 1 / 0\nMETRIC = 1\n", ":2"),
        ("x = 1\n", ""),
        (METRIC.format(name="another", empty="(0.0,)"), ""),
    ],
    ids=["syntax", "import", "raises", "no constant", "another name"],
)
def test_a_broken_file_is_one_line_with_its_place(parts: Path, cim: Cim, text: str, place: str) -> None:
    path = write(parts / "metrics" / "broken.py", text)
    line = cim.refused("eval", "--model", "demo-terse", "--metrics", "broken")
    assert f"{path}{place}" in line


def test_a_file_on_the_command_line_is_a_part(parts: Path, tmp_path: Path, cim: Cim) -> None:
    metric = write(tmp_path / "loose" / "commas.py", METRIC.format(name="commas", empty="(0.0,)"))
    write(tmp_path / "loose" / "scene.txt", "A dog.")
    task = write(tmp_path / "loose" / "scene.py", TASK)
    pin = cim("data", "pin", tmp_path / "loose" / "scene.txt").out
    assert pin.startswith('DataFile(name="scene.txt", bytes=6, sha256="')
    task.write_text(TASK.replace(TASK.split("sha256=")[1].split(")")[0], pin.split("sha256=")[1].split(")")[0]))
    file = captions_file(tmp_path / "mine.jsonl", {"one": "A dog, asleep."})
    done = cim("eval", "--model", file, "--task", task, "--metrics", f"{metric},length", "--json")
    assert done.json["task"] == "scene"
    assert {row["metric"]: row["values"] for row in done.json["scores"]} == {
        "commas": {"count": 1.0},
        "length": {"words": 3.0},
    }
    assert str(tmp_path / "none.py") in cim.refused("eval", "--model", file, "--task", tmp_path / "none.py")
    model = write(tmp_path / "loose" / "mine.toml", 'about = "M."\nengine = "captions"\ncaptions = "../mine.jsonl"\n')
    assert cim("eval", "--model", model, "--task", task, "--metrics", "length", "--json").json["model"] == "mine"


def test_a_package_brings_parts_by_entry_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cim: Cim, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(places._entry_points.cache_clear)
    write(tmp_path / "their_package" / "__init__.py", "")
    write(tmp_path / "their_package" / "commas.py", METRIC.format(name="commas", empty="(0.0,)"))
    information = tmp_path / "their_package-1.dist-info"
    write(information / "METADATA", "Metadata-Version: 2.1\nName: their-package\nVersion: 1\n")
    points = "[cim_harness.metrics]\ncommas = their_package.commas\n"
    write(information / "entry_points.txt", f"{points}[cim_harness.models]\ntheirs = their_package\n")
    write(tmp_path / "their_package" / "theirs.toml", SHORTEST["models/mine.toml"])
    monkeypatch.syspath_prepend(str(tmp_path))
    places._entry_points.cache_clear()
    assert "their_package.commas" not in sys.modules and "Commas per caption." in cim("list", "metrics").out
    assert "their_package" not in sys.modules, "a list imports no part and no package around it"
    assert registry.model_file("theirs") == tmp_path / "their_package" / "theirs.toml"
    assert registry.metric("commas").name == "commas" and "their_package.commas" in sys.modules
    write(information / "entry_points.txt", "[cim_harness.metrics]\ncommas = their_package.gone\n")
    places._entry_points.cache_clear()
    assert "cim_harness.metrics: commas" in cim.refused("list", "metrics")


def test_a_judge_is_answered_by_a_model_of_a_file(parts: Path, tmp_path: Path, cim: Cim) -> None:
    text = (ROOT / "tasks" / "miniscenes" / "models" / "rule-judge.toml").read_text()
    answerer = write(tmp_path / "loose" / "other-rules.toml", text)
    sample = data.samples(registry.task("miniscenes"))[0]
    file = captions_file(tmp_path / "mine.jsonl", {sample.id: sample.references[0]})
    asked = ("--model", file, "--partial", "--metrics", "taxonomy", "--judge", answerer)
    (score,) = cim("eval", *asked, "--json").json["scores"]
    assert score["values"] == {"species": 100, "breed": 100}
    assert (cim.results / "miniscenes" / "mine" / "replies.taxonomy.other-rules.jsonl").is_file()


def test_doctor_checks_a_part(parts: Path, tmp_path: Path, cim: Cim) -> None:
    path = write(tmp_path / "commas.py", METRIC.format(name="commas", empty="(0.0,)"))
    rows = cim("doctor", "--part", path, "--json")
    assert rows.code == 0 and [row["state"] for row in rows.json] == ["ok"] * 5
    worse = write(tmp_path / "worse.py", METRIC.format(name="worse", empty="(7.0,)"))
    done = cim("doctor", "--part", worse, "--json")
    assert done.code == 1 and [row["state"] for row in done.json] == ["ok", "ok", "failed", "ok", "ok"]
    encoder = write(tmp_path / "ones.py", ENCODER)
    assert [row["state"] for row in cim("doctor", "--part", encoder, "--json").json] == ["ok", "failed"]
    halves = write(tmp_path / "halves.py", ENCODER.replace("np.ones(4, np.float32)", "np.full(4, 0.5, np.float32)"))
    halves.write_text(halves.read_text().replace('"ones"', '"halves"'))
    assert [row["state"] for row in cim("doctor", "--part", halves, "--json").json] == ["ok", "ok"]
    assert str(tmp_path / "none.py") in cim.refused("doctor", "--part", tmp_path / "none.py")
    nothing = write(tmp_path / "nothing.py", "x = 1\n")
    assert str(nothing) in cim.refused("doctor", "--part", nothing)
