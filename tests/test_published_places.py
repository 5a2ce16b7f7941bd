"""What leaves a machine names no place, host, user or key of it, and text of others is inert where it is shown."""

from __future__ import annotations

import csv
import json
import shutil
import socket
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from tests import chat_server
from tests.cli import Cim

USER, HOST, KEY = "c4n4ry-user", "judge.c4n4ry-host.lan", "sk-c4n4ry-key-0123456789"
CANARY = b"c4n4ry"
HOSTILE = "\\input{/etc/passwd} \\write18{id} =HYPERLINK(1) ::error::x %0A <script>alert(1)</script> $x_1$ & { red dog"
N = 12


@pytest.fixture
def home(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user's, with captions, references and images; the host's name leads to this machine."""
    folder = tmp_path / "home" / USER
    (folder / "images").mkdir(parents=True)
    for number in range(N):
        Image.new("RGB", (16, 16), (number * 20, 0, 0)).save(folder / "images" / f"im{number}.png")
    texts: dict[str, Callable[[int], str]] = {
        "references": lambda number: f"a red dog {number} left of a cube .",
        "one": lambda number: HOSTILE + " near a cube",
        "two": lambda number: HOSTILE if number % 2 else "=1+1 a red dog",
    }
    for name, text in texts.items():
        rows = [json.dumps({"id": f"im{number}.png", "caption": text(number)}) + "\n" for number in range(N)]
        (folder / f"{name}.jsonl").write_text("".join(rows))
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *more, **named: resolve("127.0.0.1", *more, **named))
    cim.results = folder / "results"
    monkeypatch.setenv("CIM_RESULTS", str(cim.results))
    monkeypatch.setenv("C4_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "*")
    return folder


@pytest.fixture
def evaluated(home: Path, cim: Cim) -> tuple[Cim, str, Path]:
    """Runs of two captions files and of a model behind a server; the task's name and a folder to publish into."""
    with chat_server.serving(lambda body: "a red dog of the server") as chat:
        chat.address = chat.address.replace("127.0.0.1", HOST)
        model = chat.toml(home / "models", table='api_key_env = "C4_KEY"\n') / "served.toml"
        options = ("--references", home / "references.jsonl", "--images", home / "images", "--draws", "20")
        for source in (f"{home}/one.jsonl,{home}/two.jsonl", model):
            done = cim("eval", "--model", source, *options)
            assert done.code == 0, done
    (task,) = (path.name for path in cim.results.glob("references-*"))
    assert (cim.results / task / "served" / "manifest.json").read_text().count(HOST)  # where the owner sees it
    return cim, task, home / "out"


def test_nothing_published_names_a_place_of_the_machine(evaluated: tuple[Cim, str, Path]) -> None:
    cim, task, out = evaluated
    runs = ("one", "two", "served", "--task", task)
    verbs: list[tuple[str | Path, ...]] = [
        ("board", "--out", out / "board"),
        ("report", "--out", out / "report"),
        ("audit", "--runs", "--out", out),
    ]
    verbs += [("report", "one", "--task", task, "--against", "two", "--out", out / "against")]
    for form in ("text", "markdown", "latex", "csv", "html"):
        verbs += [("table", *runs, "--format", form, "--out", out / f"table.{form}")]
    for form in ("eee", "hub", *(["parquet"] if find_spec("pyarrow") else [])):
        verbs += [("export", *runs, "--to", form, "--out", out / form)]
    assert [cim(*verb).code for verb in verbs] == [0] * len(verbs)
    pages = [path for path in cim.results.glob(f"{task}/*/report.html")]
    files = [*(path for path in out.rglob("*") if path.is_file()), *pages]
    assert len(pages) == 3 and len(files) > 25
    leaks = {}
    for path in files:
        content = path.read_bytes()
        if (at := content.find(CANARY)) >= 0:
            leaks[path.name] = content[max(0, at - 60) : at + 60]
    assert leaks == {}
    run_files = [*cim.results.glob(f"{task}/*/*.json*")]
    assert len(run_files) > 9
    holding = {path.parent.name for path in run_files if CANARY in path.read_bytes()}
    assert holding == {"served"}  # the server's address is a setting of the run; docs/security.md says so


def test_a_hostile_name_or_caption_is_only_text(evaluated: tuple[Cim, str, Path]) -> None:
    """In LaTeX, spreadsheets, JUnit XML, Markdown and annotations of GitHub Actions."""
    cim, task, out = evaluated
    name = "=1+1 {a} $x$ & ^^5cinput%0A"
    shutil.copytree(cim.results / task / "two", cim.results / task / name)
    cells = []
    assert cim("table", "one", name, "--task", task, "--format", "csv", "--out", out / "t.csv").code == 0
    assert cim("board", "--out", out / "board").code == 0
    for path in (out / "t.csv", *(out / "board" / "data").glob("*.csv")):
        cells += [cell for row in csv.reader(path.open(newline="")) for cell in row]
    assert len(cells) > 100 and not [cell for cell in cells if cell[:1] in ("=", "+", "@", "\t", "\r")]
    assert cim("table", "one", name, "--task", task, "--format", "latex", "--out", out / "t.tex").code == 0
    body = [line for line in (out / "t.tex").read_text().splitlines() if not line.startswith("%")]
    (row,) = (line for line in body if "=1+1" in line)
    assert "{a}" not in row and "$x$" not in row and "^^5c" not in row and "\\{a\\}" in row
    baseline = cim.results / task / "one"
    options = ("--junit", out / "gate.xml", "--summary", out / "gate.md", "--annotations")
    done = cim("check", name, "--task", task, "--baseline", baseline, *options)
    assert done.code == 1
    suite = ElementTree.fromstring((out / "gate.xml").read_text())
    assert name in "".join(str(element.attrib) for element in suite.iter())
    commands = [line for line in done.out.splitlines() if line.startswith("::")]
    assert commands and all(line.startswith(("::error title=", "::notice title=")) for line in commands)


@pytest.mark.parametrize("name", ["::error::x", "##[error]x"])
def test_a_run_whose_name_would_be_a_command_is_refused(name: str, cim: Cim) -> None:
    """The name of a run begins lines of a log that GitHub Actions reads commands from."""
    assert cim("eval", "--model", "demo-terse", "--metrics", "length", "--draws", "0").code == 0
    folder = cim.results / "demo" / name
    (cim.results / "demo" / "demo-terse").rename(folder)
    for verb in (("check", folder), ("table", folder), ("report", folder), ("compare", folder, folder)):
        assert "would be a command" in cim.refused(*verb)
    task = cim.results / name
    (cim.results / "demo").rename(task)
    (task / name).rename(task / "fine")
    assert "would be a command" in cim.refused("table", task / "fine")
