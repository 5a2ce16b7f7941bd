"""WordNet is found where NLTK looks, brought whole or not at all, and refused when it is another one."""

import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from harness.errors import CimError
from harness.resources import wordnet

# Before any test hides it.
HERE = wordnet.folder()
ASK_NLTK = """
import nltk.data
from nltk.corpus import wordnet
print(*nltk.data.path, sep="\\n")
print(wordnet.get_version(), *(f"{synset.name()}:{synset.lexname()}" for synset in wordnet.synsets("dog")[:2]))
"""


@pytest.fixture
def installed() -> Path:
    """WordNet on this machine, or a skip that says how to bring it."""
    if HERE is None:
        pytest.skip(f"WordNet 3.0 is not on this machine: {wordnet.COMMAND}")
    return HERE


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without WordNet: where fetch would put it."""
    monkeypatch.setattr(wordnet, "search_path", lambda: [tmp_path / "nltk_data"])
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    return tmp_path / "nltk_data" / "corpora"


def sources(monkeypatch: pytest.MonkeyPatch, **named: Callable[[Path], Path]) -> None:
    monkeypatch.setattr(wordnet, "SOURCES", named)


def test_nltk_finds_the_same_folders_without_being_told(installed: Path) -> None:
    """nltk 3.10.4: its search path is ours, and its path security accepts what is below sys.prefix."""
    environment = {name: value for name, value in os.environ.items() if name != "NLTK_DATA"}
    if installed.parts[: len(Path(sys.prefix).parts)] != Path(sys.prefix).parts:
        pytest.skip(f"WordNet was found at {installed}, not below the environment's own folder")
    asked = subprocess.run(
        [sys.executable, "-c", ASK_NLTK], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    *path, answer = asked.stdout.splitlines()
    assert answer == "3.0 dog.n.01:noun.animal frump.n.01:noun.person"
    assert [folder for folder in map(str, wordnet.search_path()) if folder in path] == path


def test_nltk_data_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NLTK_DATA", f"{tmp_path}{os.pathsep}{os.pathsep}{tmp_path / 'b'}")
    assert wordnet.search_path()[:2] == [tmp_path, tmp_path / "b"]


def test_lexnames_are_those_of_the_manual_page() -> None:
    names = wordnet.LEXNAMES.split()
    assert len(names) == 45
    assert (names[0], names[5], names[18], names[29], names[44]) == (
        "adj.all",
        "noun.animal",
        "noun.person",
        "verb.body",
        "adj.ppl",
    )


def test_checksum_reads_the_deciding_files(installed: Path) -> None:
    assert len(wordnet.checksum()) == 12
    if wordnet._sha256(installed / "data.noun") == wordnet.DEBIAN_SHA256["data.noun"]:
        assert wordnet.checksum() == "090ebc409b3f"


def test_missing_names_reason_and_command(empty: Path) -> None:
    assert wordnet.missing_wordnet() == f"WordNet 3.0 is not on this machine: {wordnet.COMMAND}"
    with pytest.raises(CimError, match=r"-m harness\.resources\.wordnet"):
        wordnet.checksum()


def test_no_source_is_one_line_with_every_reason(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Path) -> Path:
        raise CimError("refused")

    def slow(_: Path) -> Path:
        raise subprocess.TimeoutExpired("apt-get", 300)

    sources(monkeypatch, first=refused, second=slow)
    with pytest.raises(CimError) as caught:
        wordnet.fetch()
    line = str(caught.value)
    assert "first: refused" in line and "second: Command 'apt-get' timed out" in line
    assert "apt-get install wordnet-base wordnet-sense-index" in line and wordnet.COMMAND in line
    assert "\n" not in line and list(empty.iterdir()) == []


def test_fetch_replaces_an_incomplete_copy(empty: Path, installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (empty / "wordnet").mkdir(parents=True)
    (empty / "wordnet" / "data.noun").write_text("half", encoding="ascii")
    copies = []

    def copied(temporary: Path) -> Path:
        copies.append(temporary)
        return Path(shutil.copytree(installed, temporary / "copy"))

    sources(monkeypatch, copy=copied)
    assert wordnet.fetch() == empty / "wordnet" == wordnet.folder()
    assert wordnet.fetch() == empty / "wordnet" and len(copies) == 1
    assert [path.name for path in empty.iterdir()] == ["wordnet"]


def test_another_wordnet_is_refused(empty: Path, installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shortened(temporary: Path) -> Path:
        copy = Path(shutil.copytree(installed, temporary / "copy"))
        lines = (copy / "data.adv").read_bytes().splitlines(keepends=True)
        (copy / "data.adv").write_bytes(b"".join(lines[:-1]))
        return copy

    sources(monkeypatch, other=shortened)
    with pytest.raises(CimError, match=r"data.adv is not WordNet 3.0: 3620 synsets, expected 3621"):
        wordnet.fetch()
    assert wordnet.folder() is None


def test_debian_files_are_pinned(tmp_path: Path, installed: Path) -> None:
    packages = Path(shutil.copytree(installed, tmp_path / "wordnet"))
    (packages / "lexnames").unlink()
    (packages / "data.verb").write_bytes(b"another")
    with pytest.raises(CimError, match=r"data.verb is not that of wordnet-base 1:3.0-37"):
        wordnet._from_debian(packages, tmp_path)


def test_nltks_archive_is_downloaded_checked_and_unpacked(
    empty: Path, installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a server on this machine; another archive than the pinned one is refused and leaves nothing."""
    folder = tmp_path / "served" / "corpora"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "wordnet.zip", "w") as archive:
        archive.writestr("wordnet/../../outside", "no")
        for name in wordnet.FILES:
            archive.write(installed / name, f"wordnet/{name}")
    digest = hashlib.sha256((folder / "wordnet.zip").read_bytes()).hexdigest()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder.parent))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    sources(monkeypatch, nltk=wordnet._from_nltk)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(wordnet, "SERVER", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(CimError, match=r"wordnet\.zip"):
            wordnet.fetch()
        assert not (empty / "wordnet").exists()
        monkeypatch.setitem(wordnet.ARCHIVES, "wordnet", ("corpora", digest))
        assert wordnet.fetch() == empty / "wordnet"
        server.shutdown()
    assert set(wordnet.FILES) <= {path.name for path in (empty / "wordnet").iterdir()}
    assert not (empty.parent / "outside").exists() and not (empty.parent.parent / "outside").exists()
