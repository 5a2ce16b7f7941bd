"""A made-up benchmark of 40 images, its archives, and a server on this machine that can be told to misbehave."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image

from harness import store
from harness.resources import fetch
from harness.types import Archive, DataFile, Sample, Task

IDS = [f"picture_{number:02d}" for number in range(40)]


def noise(name: str) -> bytes:
    """A PNG of 9 kB, another for each name."""
    content = io.BytesIO()
    Image.frombytes("RGB", (60, 50), random.Random(name).randbytes(9_000)).save(content, "PNG")
    return content.getvalue()


IMAGES = {f"{name}.jpg": noise(name) for name in IDS}
SCENES = json.dumps({name: f"A picture called {name}." for name in IDS}).encode()


def load(folder: Path) -> list[Sample]:
    """Samples of the made-up benchmark."""
    scenes = json.loads((folder / "scenes.json").read_text())
    return [Sample(name, (text,), f"{name}.jpg") for name, text in scenes.items()]


def task(archive: Archive | None) -> Task:
    """The made-up benchmark."""
    file = DataFile("scenes.json", len(SCENES), hashlib.sha256(SCENES).hexdigest())
    provides = frozenset({"references"})
    return Task("gallery", "Gallery", "", (file,), len(IDS), provides, load, "CC0", "a test", archive=archive)


def member(sample: Sample) -> str:
    """Where a sample's image stands in the archive."""
    return f"all/{sample.image}"


def tarred(extra: list[tuple[tarfile.TarInfo, bytes]] | None = None, without: str = "", mode: str = "w:gz") -> bytes:
    """The images, and as many others, as a tar archive; ``extra`` members last."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:  # type: ignore[call-overload]
        for name, image in IMAGES.items():
            for path, data in ((f"all/{name}", image), (f"all/other_{name}", image[::-1])):
                if name != without:
                    entry = tarfile.TarInfo(path)
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))
        for entry, data in extra or []:
            archive.addfile(entry, io.BytesIO(data))
    return content.getvalue()


def zipped(extra: list[tuple[zipfile.ZipInfo, bytes]] | None = None, without: str = "") -> bytes:
    """The images as a zip archive; ``extra`` members last."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, image in IMAGES.items():
            if name != without:
                archive.writestr(f"all/{name}", image)
        for entry, data in extra or []:
            archive.writestr(entry, data)
    return content.getvalue()


@dataclass
class Server:
    """What the server sends, how it misbehaves, and the Range headers that it was asked with."""

    content: bytes
    address: str = ""
    ranges: bool = True
    cut: list[int] = field(default_factory=list)  # bytes after which each next answer ends
    statuses: list[int] = field(default_factory=list)  # of each next answer
    length: bool = True
    hold: bool = False  # an answer that is cut ends when the client has gone
    etag: str = '"one"'
    date: str = ""
    trickle: float = 0.0  # seconds between two bytes
    asked: list[str | None] = field(default_factory=list)

    def archive(self, *, sha256: str | None = "", name: str = "images.tar.gz") -> Archive:
        """The archive as a task declares it; its true sum unless another is given."""
        digest = hashlib.sha256(self.content).hexdigest() if sha256 == "" else sha256
        return Archive(f"{self.address}/{name}", len(self.content), digest, member, "CC0", "a test")


@contextmanager
def serving(content: bytes) -> Iterator[Server]:
    """A server on this machine."""
    server = Server(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            server.asked.append(asked)
            status = server.statuses.pop(0) if server.statuses else 200
            start = 0
            if (
                asked
                and server.ranges
                and self.headers.get("If-Range", server.etag or server.date) == (server.etag or server.date)
            ):
                start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
            if start >= len(server.content):
                status = 416
            body = server.content[start:] if status in (200, 206) else b"no"
            self.send_response(status)
            if server.length:
                self.send_header("Content-Length", str(len(body)))
            if server.etag:
                self.send_header("ETag", server.etag)
            if server.date:
                self.send_header("Last-Modified", server.date)
            if status == 206:
                self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
            self.end_headers()
            stop = server.cut.pop(0) if server.cut else len(body)
            for at in range(0, 50 if server.trickle else 0):
                self.wfile.write(body[at : at + 1])
                time.sleep(server.trickle)
            self.wfile.write(b"" if server.trickle else body[:stop])
            if server.hold:
                self.rfile.read(1)

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:  # the client was killed
                return

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.address = f"http://127.0.0.1:{http.server_port}"
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()


def bring(archive: Archive) -> list[str]:
    """Fetch the images; what was said."""
    said = list[str]()
    fetch.images(task(archive), said.append)
    return said


def complete(place: Path) -> bool:
    """All images are there with the right bytes, and nothing else but the record."""
    contents = {path.name: path.read_bytes() for path in (place / "images").iterdir()}
    names = {path.name for path in place.iterdir()}
    return contents == IMAGES and names == {"scenes.json", "images", fetch.LOCK, store.LOCK}
