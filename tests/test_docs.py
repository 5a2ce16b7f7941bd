"""The documents are true: every command runs, every example works, every link leads somewhere, the tree is the tree."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from harness import registry
from tests import controls
from tests.cli import Cim, captions_file
from tests.conftest import ROOT

DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))),
    "requirements/README.md",
    "results/README.md",
)
# Their commands are run.
PAGES = ("audit", "tables", "leaderboard", "gate", "report")
RUN = ("README.md", "CONTRIBUTING.md", *(f"docs/{name}.md" for name in PAGES))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
THEIRS, MINE, SITE = ROOT / "their_captions.jsonl", ROOT / "my_captions.jsonl", ROOT / "site"
# A test run must not start itself: these run a part of the tests, in full by hand.
SHORT = {
    "make test": "ARGS=tests/test_controls.py",
    "make test-slow": "ARGS=tests/test_controls.py",
    'make test ARGS="tests/test_architecture.py tests/test_parts.py"': "ARGS=tests/test_controls.py",
    "make bench LIMIT=20": "ARGS='--parts overhead'",  # the others take minutes
    # What `make eval` has just evaluated; .ci/run ends with the whole of `make check`.
    "make check": "RUN=mini-detailed",
    "make baseline ARGS=--dry-run": "RUN=mini-detailed",
}


def blocks(document: str, language: str) -> list[str]:
    """Contents of a document's fenced blocks of one language."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return [body for name, body in BLOCK.findall(text) if name == language]


def commands(document: str) -> list[str]:
    """The commands of a document, one a line."""
    return [line for body in blocks(document, "sh") for line in body.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Variables for commands that follow each other; the captions files and the site that they speak of are removed."""
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MODEL", "TASK", "LIMIT", "METRICS", "RUN", "ARGS", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if name not in outer}
    if there := [path.name for path in (THEIRS, MINE, SITE) if path.exists()]:
        pytest.skip(f"{' and '.join(there)} lie in the project folder and would be overwritten: move them away")
    yield {**kept, "CIM_RESULTS": str(tmp_path_factory.mktemp("results"))}
    for path in (THEIRS, MINE):
        path.unlink(missing_ok=True)
    shutil.rmtree(SITE, ignore_errors=True)


# A command that several documents name runs once, where the first of them names it.
@pytest.mark.parametrize("command", dict.fromkeys(c for name in RUN for c in commands(name)))
def test_every_command_runs(command: str, environment: dict[str, str], request: pytest.FixtureRequest) -> None:
    if not (ROOT / ".venv" / ".ok-dev").exists():
        pytest.skip("the commands need the environment that `make test` makes: run `make setup`, then `make test`")
    if str(THEIRS.name) in command:
        benchmarks: Path = request.getfixturevalue("benchmarks")
        captions_file(THEIRS, controls.perturbed(controls.references(benchmarks, "docci500"), "drop10"))
        environment = {**environment, "CIM_DATA": str(benchmarks)}
        command += " LIMIT=25"
    command = f"{command} {SHORT[command]}" if command in SHORT else command
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def test_readme_shows_a_table_that_was_produced(cim_on_benchmarks: Cim, benchmarks: Path, tmp_path: Path) -> None:
    """The rows that need no Java, to the digit; the whole table by the slow test below."""
    _table(cim_on_benchmarks, benchmarks, tmp_path, ("bleu4_char", "length"))


@pytest.mark.slow
def test_readme_shows_the_whole_table(cim_on_benchmarks: Cim, benchmarks: Path, tmp_path: Path) -> None:
    """Every row that needs no weights."""
    weightless = [name for name in registry.names("metrics") if registry.metric(name).needs <= {"references"}]
    _table(cim_on_benchmarks, benchmarks, tmp_path, [n for n in weightless if not registry.metric(n).missing()])


def _table(cim: Cim, benchmarks: Path, folder: Path, metrics: Sequence[str]) -> None:
    captions = controls.perturbed(controls.references(benchmarks, "docci500"), "drop10")
    path = captions_file(folder / "every_tenth_word_dropped.jsonl", captions)
    printed = cim("eval", "--model", path, "--task", "docci500", "--metrics", ",".join(metrics)).out
    shown = [line.split() for body in blocks("README.md", "") for line in body.splitlines()]
    rows = [line.split() for line in printed.splitlines() if line.startswith(tuple(f"{name} " for name in metrics))]
    assert len(rows) == len(metrics) and all(row in shown for row in rows)


def _named_block(language: str, name: str) -> str:
    return next(body for body in blocks("CONTRIBUTING.md", language) if body.startswith(f"# {name}\n"))


@pytest.fixture
def own_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of ``CIM_PATH``."""
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.setenv("CIM_PATH", str(folder))
    return folder


def _put(folder: Path, name: str, language: str = "python") -> Path:
    """Write a named block of CONTRIBUTING into the folder."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(_named_block(language, name))
    return path


def test_the_metric_of_contributing_is_found_and_computed(cim: Cim, own_parts: Path) -> None:
    path = _put(own_parts, "metrics/commas.py")
    assert "Commas per caption, mean over images." in cim("list", "metrics").out
    assert "commas" in cim("eval", "--model", "demo-terse", "--dry-run", "--json").json["metrics"]
    result = cim("eval", "--model", "demo-detailed", "--metrics", "commas", "--json")
    assert result.json["scores"][0]["values"]["count"] > 0
    assert {row["state"] for row in cim("doctor", "--part", path, "--json").json} == {"ok"}


def test_the_reward_of_contributing_is_found_and_gives_values(cim: Cim, own_parts: Path) -> None:
    from harness.parts import RewardContext

    path = _put(own_parts, "rewards/commas_again.py")
    assert "Commas per caption, as a reward: an example." in cim("list", "rewards").out
    assert registry.reward("commas_again")(["a, b, c", "d"], ["x", "y"], RewardContext()).tolist() == [2, 0]
    assert {row["state"] for row in cim("doctor", "--part", path, "--json").json} == {"ok"}


def test_the_task_of_contributing_is_found_and_run(cim: Cim, tmp_path: Path, own_parts: Path) -> None:
    task = _put(own_parts, "tasks/two_scenes.py")
    (own_parts / "tasks" / "two_scenes.json").write_text(blocks("CONTRIBUTING.md", "json")[0].rstrip("\n"))
    path = captions_file(tmp_path / "mine.jsonl", {"scene_1": "A dog.", "scene_2": "Cats."})
    assert cim("eval", "--model", path, "--metrics", "bleu4_char", "--json").json["task"] == "two_scenes"
    assert {row["state"] for row in cim("doctor", "--part", task, "--json").json} == {"ok"}
    pinned = cim("data", "pin", own_parts / "tasks" / "two_scenes.json").out
    assert all(
        field.strip() in task.read_text() for field in pinned.removeprefix("DataFile(").split("),")[0].split(",")
    )


def test_the_model_of_contributing_is_found_and_run(cim: Cim, own_parts: Path) -> None:
    _put(own_parts, "models/my-captions.toml", "toml")
    (own_parts / "models" / "demo-terse.jsonl").write_bytes((ROOT / "harness/models/demo-terse.jsonl").read_bytes())
    assert cim("eval", "--model", "my-captions", "--metrics", "length", "--json").json["model"] == "my-captions"


def test_the_weights_of_contributing_are_read(tmp_path: Path) -> None:
    from harness.models import model_file
    from harness.stages import model

    shown: dict[str, set[str]] = {"": set()}
    for name in ("my-model.toml", "my-internvl.toml"):
        (tmp_path / name).write_text(_named_block("toml", f"models/{name}"))
        content = model_file.read(tmp_path / name)
        shown[""] |= content.keys() - model_file.TABLES.keys()
        for table in content.keys() & model_file.TABLES.keys():
            shown.setdefault(table, set()).update(content[table])
        assert model.from_toml(tmp_path / name).engine == "vllm"
    assert shown.pop("") == model_file.KEYS.keys() - {"captions", "unavailable", "adapter"}
    shown_elsewhere = ("openai", "price", "training")
    assert shown == {name: {*keys} for name, keys in model_file.TABLES.items() if name not in shown_elsewhere}
    assert model.from_toml(tmp_path / "my-model.toml").settings["sampling"]["temperature"] == 0.7


def test_the_judge_of_contributing_is_found_and_answers(
    cim: Cim, tmp_path: Path, own_parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both files of the example, asked of the example's server, which here says yes to what holds "red"."""
    from harness.models import model_file
    from tests import chat_server

    for name in ("judges/colours.py", "metrics/colours.py"):
        _put(own_parts, name)
    monkeypatch.setenv("CIM_MODELS", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("MY_SERVER_KEY", "none")
    (tmp_path / "my-server.toml").write_text(_named_block("toml", "models/my-server.toml"))
    assert model_file.read(tmp_path / "my-server.toml")["openai"].keys() == model_file.TABLES["openai"].keys()
    assert "Does a caption name a colour?" in cim("list", "judges").out
    with chat_server.serving(lambda body: "Yes." if " red " in body["messages"][0]["content"] else "no") as server:
        text = (tmp_path / "my-server.toml").read_text()
        (tmp_path / "my-server.toml").write_text(text.replace("http://127.0.0.1:8000/v1", server.address))
        arguments = ("--metrics", "colours", "--judge", "my-server", "--json")
        done = cim("eval", "--model", "demo-detailed", *arguments)
    (score,) = done.json["scores"]
    assert done.code == 0 and 0 < score["values"]["share"] < 100
    assert score["controls"]["all_yes"]["values"]["share"] == 100


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / document).parent / target).exists(), target
    for path in re.findall(r"`((?:harness|tasks|tests|judges|requirements|docs)/[\w./]+\.\w+)`", text):
        assert (ROOT / path).exists(), path


def test_the_tree_of_the_readme_is_there() -> None:
    (tree,) = [body for body in blocks("README.md", "") if body.startswith("harness/")]
    parent = ROOT
    for line in tree.splitlines():
        name = shlex.split(line.replace("'", ""))[0]
        parent = ROOT / "harness" if line.startswith("  ") else ROOT
        assert (parent / name).is_dir(), line
    packages = {path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")}
    assert not [name for name in packages if f"\n  {name}/ " not in tree], "a folder that the tree does not name"
