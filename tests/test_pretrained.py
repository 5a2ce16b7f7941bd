"""Published weights: found without the network, identified, checked, brought by a command that goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")

from harness.errors import CimError
from harness.resources import checkpoint, pretrained
from harness.resources.pretrained import ALL, FACTUAL, MPNET
from tests import hub_server, tiny_mpnet
from tests.cli import Cim
from tests.conftest import ROOT
from tests.hub_server import Hub

NAME = "flan-t5-base-VG-factual-sg"
FOLDER = f"models--lizhuang144--{NAME}"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without weights, whose results folder is this test's."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("CIM_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("CIM_MODELS", raising=False)


def snapshot(tmp_path: Path, source: Path) -> Path:
    """The cache as the hub leaves it: large files are links to what is named by its sha256."""
    place, blobs = tmp_path / "hub" / FOLDER / "snapshots" / FACTUAL.revision, tmp_path / "hub" / FOLDER / "blobs"
    place.mkdir(parents=True)
    blobs.mkdir()
    for path in source.iterdir():
        digest = sha256(path.read_bytes()).hexdigest()
        shutil.copyfile(path, blobs / digest)
        (place / path.name).symlink_to(blobs / digest)
    return place


def test_names_ids_and_commits() -> None:
    for entry in ALL.values():
        assert (
            len(entry.revision) == 40 and entry.pinned.startswith(entry.hub_id) and "model.safetensors" in entry.files
        )
        assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in entry.files)
        assert set(entry.sums) <= set(entry.files) and all(len(one_sum) == 64 for one_sum in entry.sums.values())


def test_a_folder_of_ones_own_comes_first_and_is_known_by_its_bytes(
    tmp_path: Path, tiny_t5_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pretrained.folder(FACTUAL) is None and pretrained.identity(FACTUAL) == FACTUAL.pinned
    place = snapshot(tmp_path, tiny_t5_folder)
    assert pretrained.whole(FACTUAL) == place and pretrained.identity(FACTUAL) == FACTUAL.pinned
    copied = Path(shutil.copytree(tiny_t5_folder, tmp_path / "models" / NAME))
    monkeypatch.setenv("CIM_MODELS", str(copied.parent))
    digest = checkpoint.digest(copied)
    assert pretrained.folder(FACTUAL) == copied and pretrained.identity(FACTUAL) == digest
    (copied / "tokenizer_config.json").write_text("{}")
    assert pretrained.identity(FACTUAL) != digest


def test_the_bytes_of_a_commit_have_one_identity_wherever_they_lie_and_others_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tiny_mpnet.build(tmp_path / "source")
    sums = {path.name: sha256(path.read_bytes()).hexdigest() for path in checkpoint.files(source)}
    known = replace(MPNET, sums=sums)
    name = known.hub_id.rpartition("/")[2]
    # Copies, no links to blobs: what a hub cache is on systems without symbolic links.
    place = pretrained.hub.snapshot(known.hub_id, known.revision)
    shutil.copytree(source, place)
    assert pretrained.identity(known) == known.pinned and pretrained.whole(known) == place
    monkeypatch.setenv("CIM_MODELS", str(tmp_path / "models"))
    copied = Path(shutil.copytree(source, tmp_path / "models" / name))
    assert pretrained.folder(known) == copied and pretrained.identity(known) == known.pinned
    (copied / "vocab.txt").write_text("other")
    assert pretrained.identity(known) == checkpoint.digest(copied) and pretrained.whole(known) == copied
    monkeypatch.delenv("CIM_MODELS")
    (place / "vocab.txt").write_text("other")
    assert pretrained.identity(known) == checkpoint.digest(place)
    with pytest.raises(CimError, match=r"vocab.txt: other bytes than sentence-transformers/all-mpnet-base-v2@e8c3b32"):
        pretrained.whole(known)


def test_a_digest_is_remembered_until_a_file_changes(
    tmp_path: Path, tiny_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pretrained.identity(FACTUAL)
    read = list[Path]()
    monkeypatch.setattr(checkpoint, "digest", lambda place: (read.append(place), "sha256:other")[1])
    assert pretrained.identity(FACTUAL) == first and read == []
    os.utime(tiny_models / NAME / "config.json", ns=(1, 1))
    assert pretrained.identity(FACTUAL) == "sha256:other" and len(read) == 1


def test_a_cut_off_or_changed_file_is_named(tmp_path: Path, tiny_t5_folder: Path) -> None:
    place = snapshot(tmp_path, tiny_t5_folder)
    blob, config = (place / "model.safetensors").resolve(), (place / "config.json").resolve()
    content = config.read_bytes()
    config.write_bytes(content + b"\n")
    with pytest.raises(CimError, match=r"config.json: holds other bytes than the hub sent.*cim data fetch factual"):
        pretrained.whole(FACTUAL)
    config.write_bytes(content)
    tokenizer = (place / "tokenizer_config.json").resolve()
    kept = tokenizer.read_bytes()
    tokenizer.write_bytes(b"{half")
    with pytest.raises(CimError, match=r"tokenizer_config.json: is not readable JSON"):
        pretrained.whole(FACTUAL)
    tokenizer.write_bytes(kept)
    blob.write_bytes(blob.read_bytes()[:-5])
    assert "is damaged" in (pretrained.missing(FACTUAL) or "") and pretrained.identity(FACTUAL) == FACTUAL.pinned
    (place / "tokenizer.json").unlink()
    blob.unlink()
    assert "cim data fetch factual" in (pretrained.missing(FACTUAL) or "")


def fetch(hub: Hub) -> subprocess.CompletedProcess[str]:
    """``cim data fetch factual`` in a process of its own: the hub's address is read when its package is loaded."""
    environment = {**os.environ, **hub_server.environment(hub)}
    command = [sys.executable, "-m", "harness", "data", "fetch", "factual"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)


def test_fetch_brings_named_files_alone_and_goes_on_after_a_break(
    tmp_path: Path, tiny_t5_folder: Path, cim: Cim
) -> None:
    served = Path(shutil.copytree(tiny_t5_folder, tmp_path / "served"))
    (served / "pytorch_model.bin").write_bytes(b"a pickle")
    with hub_server.serving(Hub({FACTUAL.hub_id: served}, cut=("model.safetensors",))) as hub:
        asked, done = hub.asked, fetch(hub)
        if done.returncode:
            done = fetch(hub)
        assert done.returncode == 0, done.stderr
        assert "to download, licence a-test" in done.stdout and f"whole, {FACTUAL.pinned}" in done.stdout
        assert not any("pickle" in path or ".bin" in path for path in asked)
        assert asked.count("model.safetensors 0") == 2 and asked.count("config.json 0") == 1
        count = len(asked)
        assert fetch(hub).returncode == 0 and len(asked) == count
    assert (pretrained.whole(FACTUAL) / "config.json").is_file()
    assert cim("data", "verify", "factual", "--json").json == {"factual": {"fault": None}}


def test_an_address_that_does_not_answer_is_one_line(tmp_path: Path, cim: Cim) -> None:
    done = fetch(Hub({}, address="http://127.0.0.1:9"))
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert f"cim: {FACTUAL.pinned}: hub download failed" in done.stderr
    asked = cim("data", "verify", "factual,mpnet")
    assert asked.code == 1 and asked.out.count("are not on this machine; run `cim data fetch") == 2
