"""Fetching: what arrives is checked before it gets its name; a dead network is one clear line."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.errors import CimError
from harness.resources import data
from harness.types import DataFile, Task

CONTENT = b'{"a": "b"}\n'


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = CONTENT if self.path == "/good" else b"something else"
        self.send_response(404 if self.path == "/gone" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address on this machine that answers /good, /bad and /gone."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


def _task(url: str) -> Task:
    file = DataFile("notes.json", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), url)
    return Task("made_up", "", "", (file,), 0, frozenset(), lambda _: [], "CC0", "a test")


def test_a_file_is_fetched_once_and_described(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIM_DATA", str(tmp_path))
    task, said = _task(f"{server}/good"), list[str]()
    data.fetch(task, said.append)
    assert (tmp_path / "made_up" / "notes.json").read_bytes() == CONTENT
    assert len(said) == 1 and "CC0" in said[0] and "a test" in said[0] and "MB" in said[0]
    data.fetch(task, said.append)
    assert len(said) == 1


@pytest.mark.parametrize(("path", "reason"), [("/bad", "sent other bytes"), ("/gone", "cannot be fetched")])
def test_nothing_wrong_is_kept(
    server: str, path: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIM_DATA", str(tmp_path))
    with pytest.raises(CimError, match=reason):
        data.fetch(_task(server + path), lambda _: None)
    assert list((tmp_path / "made_up").iterdir()) == []


def test_a_dead_address_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIM_DATA", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(CimError, match=r"cannot be fetched from http://127\.0\.0\.1:9/x"):
        data.fetch(_task("http://127.0.0.1:9/x"), lambda _: None)


def test_a_damaged_file_is_replaced(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIM_DATA", str(tmp_path))
    (tmp_path / "made_up").mkdir()
    (tmp_path / "made_up" / "notes.json").write_bytes(CONTENT[:-1])
    data.fetch(_task(f"{server}/good"), lambda _: None)
    assert (tmp_path / "made_up" / "notes.json").read_bytes() == CONTENT
