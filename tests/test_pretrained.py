"""Published weights: found without the network, identified, checked, brought by a command that goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

pytest.importorskip("huggingface_hub")

from harness.errors import CimError
from harness.resources import checkpoint, pretrained
from harness.resources.pretrained import ALL, FACTUAL
from tests.cli import Cim
from tests.conftest import ROOT

NAME = "flan-t5-base-VG-factual-sg"
HUB = f"models--lizhuang144--{NAME}"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without weights, whose results folder is this test's."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("CIM_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("CIM_MODELS", raising=False)


def snapshot(tmp_path: Path, source: Path) -> Path:
    """The cache as the hub leaves it: large files are links to what is named by its sha256."""
    place, blobs = tmp_path / "hub" / HUB / "snapshots" / FACTUAL.revision, tmp_path / "hub" / HUB / "blobs"
    place.mkdir(parents=True)
    blobs.mkdir()
    for path in source.iterdir():
        digest = sha256(path.read_bytes()).hexdigest()
        shutil.copyfile(path, blobs / digest)
        (place / path.name).symlink_to(blobs / digest)
    return place


def test_names_ids_and_commits() -> None:
    for one in ALL.values():
        assert len(one.revision) == 40 and one.pinned.startswith(one.hub_id) and "model.safetensors" in one.files
        assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in one.files)


def test_a_folder_of_ones_own_comes_first_and_is_known_by_its_bytes(
    tmp_path: Path, tiny_t5_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pretrained.folder(FACTUAL) is None and pretrained.identity(FACTUAL) == FACTUAL.pinned
    place = snapshot(tmp_path, tiny_t5_folder)
    assert pretrained.whole(FACTUAL) == place and pretrained.identity(FACTUAL) == FACTUAL.pinned
    own = Path(shutil.copytree(tiny_t5_folder, tmp_path / "models" / NAME))
    monkeypatch.setenv("CIM_MODELS", str(own.parent))
    digest = checkpoint.digest(own)
    assert pretrained.folder(FACTUAL) == own and pretrained.identity(FACTUAL) == digest
    (own / "tokenizer_config.json").write_text("{}")
    assert pretrained.identity(FACTUAL) != digest


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


class _Hub(BaseHTTPRequestHandler):
    """As much of the Hugging Face hub as a download asks for; breaks off the first large file once."""

    folder: Path
    asked: list[str]

    def _file(self) -> tuple[bytes, str] | None:
        name = self.path.partition(f"/resolve/{FACTUAL.revision}/")[2]
        path = self.folder / name
        return (path.read_bytes(), name) if name and path.is_file() else None

    def do_HEAD(self) -> None:
        self._answer(send=False)

    def do_GET(self) -> None:
        self._answer(send=True)

    def _answer(self, send: bool) -> None:
        if "/tree/" in self.path:
            entries = [
                {
                    "type": "file",
                    "path": path.name,
                    "size": path.stat().st_size,
                    "oid": sha256(path.read_bytes()).hexdigest(),
                }
                for path in self.folder.iterdir()
            ]
            self._send(200, json.dumps(entries).encode(), {"Content-Type": "application/json"}, send)
            return
        if self.path.startswith("/api/models/"):
            siblings = [{"rfilename": path.name} for path in self.folder.iterdir()]
            body = json.dumps({"id": FACTUAL.hub_id, "sha": FACTUAL.revision, "siblings": siblings}).encode()
            self._send(200, body, {"Content-Type": "application/json"}, send)
            return
        found = self._file()
        if found is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, send)
            return
        body, name = found
        span = self.headers.get("Range", "")
        start = int(span.removeprefix("bytes=").partition("-")[0]) if span else 0
        headers = {"X-Repo-Commit": FACTUAL.revision, "ETag": f'"{sha256(body).hexdigest()}"', "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        if send:
            self.asked.append(f"{name} {start}")
        cut = send and name == "model.safetensors" and len([one for one in self.asked if name in one]) == 1
        self._send(206 if start else 200, body[start:], headers, send, cut)

    def _send(self, status: int, body: bytes, headers: dict[str, str], send: bool, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if send:
            self.wfile.write(body[: len(body) // 2] if cut else body)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@contextmanager
def hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    handler = type("Handler", (_Hub,), {"folder": folder, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", handler.asked
    finally:
        server.shutdown()


def fetch(endpoint: str) -> subprocess.CompletedProcess[str]:
    """``cim data fetch factual`` in a process of its own: the hub's address is read when its package is loaded."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-m", "harness", "data", "fetch", "factual"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)


def test_fetch_brings_named_files_alone_and_goes_on_after_a_break(
    tmp_path: Path, tiny_t5_folder: Path, cim: Cim
) -> None:
    served = Path(shutil.copytree(tiny_t5_folder, tmp_path / "served"))
    (served / "pytorch_model.bin").write_bytes(b"a pickle")
    with hub(served) as (endpoint, asked):
        done = fetch(endpoint)
        if done.returncode:
            done = fetch(endpoint)
        assert done.returncode == 0, done.stderr
        assert "to download, licence not stated" in done.stdout and f"whole, {FACTUAL.pinned}" in done.stdout
        assert not any("pickle" in one or ".bin" in one for one in asked)
        assert asked.count("model.safetensors 0") == 2 and asked.count("config.json 0") == 1
        count = len(asked)
        assert fetch(endpoint).returncode == 0 and len(asked) == count
    assert (pretrained.whole(FACTUAL) / "config.json").is_file()
    assert cim("data", "verify", "factual", "--json").json == {"factual": {"fault": None}}


def test_an_address_that_does_not_answer_is_one_line(tmp_path: Path, cim: Cim) -> None:
    done = fetch("http://127.0.0.1:9")
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert f"cim: {FACTUAL.pinned}: hub download failed" in done.stderr
    asked = cim("data", "verify", "factual,mpnet")
    assert asked.code == 1 and asked.out.count("are not on this machine; run `cim data fetch") == 2
