"""As much of the Hugging Face hub as a download asks for, on this machine: any commit of any folder it is given.

The first answer with a file of ``cut`` breaks off in its middle. ``others`` are plain files by path, such as a
benchmark's annotations.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


@dataclass
class Hub:
    """Folders by hub id, and what was asked for: ``<file> <first byte>`` of each download."""

    repositories: Mapping[str, Path]
    cut: tuple[str, ...] = ()
    others: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    address: str = ""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer(send=False)

    def do_GET(self) -> None:
        self._answer(send=True)

    def _answer(self, send: bool) -> None:
        path = self.path.partition("?")[0].removeprefix("/")
        for hub_id, folder in self.hub.repositories.items():
            if path.startswith(f"api/models/{hub_id}"):
                self._describe(path, hub_id, folder, send)
                return
            if path.startswith(f"{hub_id}/resolve/"):
                commit, _, name = path.removeprefix(f"{hub_id}/resolve/").partition("/")
                self._file(folder / name, commit, send)
                return
        body = self.hub.others.get(path)
        self._send(404 if body is None else 200, body or b"", {}, send)

    def _describe(self, path: str, hub_id: str, folder: Path, send: bool) -> None:
        files = [file for file in folder.rglob("*") if file.is_file()]
        told: object = [
            {"type": "file", "path": str(file.relative_to(folder)), "size": file.stat().st_size, "oid": _sum(file)}
            for file in files
        ]
        if "/tree/" not in path:
            names = [{"rfilename": str(file.relative_to(folder))} for file in files]
            told = {"id": hub_id, "sha": path.rpartition("/")[2], "siblings": names, "cardData": {"license": "a-test"}}
        self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"}, send)

    def _file(self, file: Path, commit: str, send: bool) -> None:
        if not file.is_file():
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, send)
            return
        body, span = file.read_bytes(), self.headers.get("Range", "")
        start = int(span.removeprefix("bytes=").partition("-")[0]) if span else 0
        headers = {"X-Repo-Commit": commit, "ETag": f'"{_sum(file)}"', "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        if send:
            self.hub.asked.append(f"{file.name} {start}")
        cut = send and file.name in self.hub.cut and len([path for path in self.hub.asked if file.name in path]) == 1
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


def _sum(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub, at ``address``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def environment(hub: Hub) -> dict[str, str]:
    """What makes huggingface_hub of another process ask this hub."""
    return {"HF_ENDPOINT": hub.address, "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1"}
