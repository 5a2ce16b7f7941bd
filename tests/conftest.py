"""Where the real annotation files are, and the skip that says so when they are not there."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from harness.stages.parse import Parses
    from tests import images
    from tests.boards import Boards
    from tests.cli import Cim

    Once = Callable[[str, Callable[[Path], object]], Path]

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
os.environ.pop("COLUMNS", None)  # pytest-xdist sets it for its workers; tables ask for it where output is a pipe


# Files that take minutes begin first, so that no process is left with one at the end. While one process runs the
# commands of the documents, another takes those that load torch, vLLM and TRL, half a minute of CPU time, only once.
LOAD_TORCH = (
    "mini_runs",
    "engines",
    "text_models",
    "train_command",
    "train_trl",
    "train_vllm",
    "train_oracle",
    "vllm_contract",
)
LONG = ("docs", "gpu_check", *LOAD_TORCH, "rehearsal", "walk", "stranger", "setup", "published_captions")


def pytest_configure() -> None:
    """One thread per process, of which there is one per core: further ones of torch spin while they wait."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    hypothesis.settings.register_profile("no deadline", hypothesis.settings(deadline=None))  # no test asserts seconds
    hypothesis.settings.load_profile("no deadline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order files by ``LONG``; within a file nothing moves. Slow tests may take an hour, for machines differ."""
    order = {f"test_{name}": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONG)))
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(3600))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line that says what was skipped and why."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)
    if reasons:
        listing = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common())
        terminalreporter.write_line(f"skipped {len(skipped)}: {listing}")


@pytest.fixture(autouse=True)
def named_parts() -> Iterator[None]:
    """Files that a test names on a command line are no parts in the next test of its process."""
    from harness import places

    yield
    places._files.clear()


@pytest.fixture(scope="session")
def benchmarks() -> Path:
    """Folder with the annotation files of both benchmarks, or a skip that says what is missing."""
    folder = Path(os.environ.get("CIM_DATA") or SHARED / "benchmarks")
    if not (folder / "docci500" / "test_docci_500_gt.json").is_file():
        pytest.skip(f"annotation files not found under {folder}: set CIM_DATA (cim data fetch docci500 coco_ln500)")
    return folder


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """A folder by name, built by the first process of a test run that asks for it; read only."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once"
    shared.mkdir(exist_ok=True)

    def build(name: str, write: Callable[[Path], object]) -> Path:
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (shared / name).is_dir():
                shutil.rmtree(shared / f"{name}.unfinished", ignore_errors=True)
                write(shared / f"{name}.unfinished")
                (shared / f"{name}.unfinished").rename(shared / name)
        return shared / name

    return build


@pytest.fixture(scope="session")
def thirty_models(once: Once) -> Path:
    """Thirty synthetic models on two benchmarks; read only."""
    from tests import synthetic_runs

    return once("thirty_models", synthetic_runs.make)


@pytest.fixture
def thirty_copied(thirty_models: Path, tmp_path: Path) -> Path:
    """The same, hard-linked into a folder of this test, for commands that write beside it."""
    shutil.copytree(thirty_models, tmp_path / "thirty", copy_function=os.link)
    return tmp_path / "thirty"


@pytest.fixture(scope="session")
def paper() -> Path:
    """Folder with the paper's published tables and printed captions, or a skip."""
    folder = SHARED / "paper"
    if not folder.is_dir():
        pytest.skip(f"the paper's tables and captions are not at {folder}")
    return folder


@pytest.fixture
def cim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cim:
    """``cim`` writing to a results folder of this test."""
    from tests.cli import Cim

    monkeypatch.delenv("COLUMNS", raising=False)  # set by pytest-xdist: no output of a test is as wide as a terminal
    monkeypatch.setenv("CIM_RESULTS", str(tmp_path / "results"))
    return Cim(tmp_path / "results", capsys)


@pytest.fixture
def boards(cim: Cim, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Boards:
    """``python -m leaderboards`` on the results folder of this test, as outside of GitHub Actions."""
    from tests.boards import Boards

    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    return Boards(None, capsys)


@pytest.fixture
def cim_on_benchmarks(cim: Cim, benchmarks: Path, monkeypatch: pytest.MonkeyPatch) -> Cim:
    """``cim`` with the real annotation files."""
    monkeypatch.setenv("CIM_DATA", str(benchmarks))
    return cim


@pytest.fixture(scope="session")
def parses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parses]:
    """Parses of texts for tests that call metrics directly; one Java process a test session."""
    from harness.stages.parse import Parses

    with Parses(tmp_path_factory.mktemp("parses")) as opened:
        yield opened


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[images.Server]:
    """A server that holds the images as a .tar.gz; waits between tries are cut short."""
    from harness.resources import fetch
    from tests import images

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(fetch, "PAUSE", 0.001)
    with images.serving(images.tarred()) as serving:
        yield serving


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data folder of the made-up benchmark, with its annotations."""
    from tests import images

    monkeypatch.setenv("CIM_DATA", str(tmp_path / "data"))
    folder = tmp_path / "data" / "gallery"
    folder.mkdir(parents=True)
    (folder / "scenes.json").write_bytes(images.SCENES)
    return folder


@pytest.fixture(scope="session")
def tiny_t5_folder(once: Once) -> Path:
    """A small half-trained scene-graph parser under the name of the real one."""
    pytest.importorskip("transformers")
    from tests import tiny_t5

    name = "flan-t5-base-VG-factual-sg"
    return once("models", lambda folder: tiny_t5.build(folder / name)) / name


@pytest.fixture
def tiny_models(tiny_t5_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``CIM_MODELS`` with the small scene-graph parser."""
    monkeypatch.setenv("CIM_MODELS", str(tiny_t5_folder.parent))
    return tiny_t5_folder.parent


@pytest.fixture(scope="session")
def tiny_nltk_folder(once: Once) -> Path:
    """NLTK's splitter and tagger, trained on this project's text."""
    from tests import tiny_nltk

    return once("nltk_data", tiny_nltk.build)


@pytest.fixture
def tiny_nltk(tiny_nltk_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``NLTK_DATA`` with the trained splitter and tagger."""
    monkeypatch.setenv("NLTK_DATA", str(tiny_nltk_folder))
    return tiny_nltk_folder
