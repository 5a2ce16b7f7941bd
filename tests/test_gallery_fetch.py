"""``cim gallery fetch``: a published gallery, pinned by the sha256 of its manifest."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.resources import data
from harness.retrieval.gallery import IMAGE, MANIFEST, TEXT
from tests import training
from tests.cli import Cim


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A gallery behind a web server, and its address."""
    monkeypatch.setenv("CIM_DATA", str(tmp_path / "data"))
    training.fake_gallery(tmp_path / "web" / "small", rows=12)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "web")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path / "web" / "small", f"http://127.0.0.1:{server.server_address[1]}/small/{MANIFEST}"
    server.shutdown()
    server.server_close()


def test_a_gallery_is_brought_checked_and_not_brought_twice(
    cim: Cim, published: tuple[Path, str], tmp_path: Path
) -> None:
    source, url = published
    pin = data.sha256(source / MANIFEST)
    assert cim("gallery", "fetch", "mine", url, pin).code == 0
    folder = tmp_path / "data" / "galleries" / "mine"
    assert {path.name for path in folder.iterdir()} - {".lock"} == {path.name for path in source.iterdir()} - {".lock"}
    assert cim("gallery", "verify", "mine").code == 0
    shutil.rmtree(source)
    assert "mine is here" in cim("gallery", "fetch", "mine", url, pin).err
    assert "another gallery is here" in cim.refused("gallery", "fetch", "mine", url, "0" * 64)


def test_other_bytes_are_refused_and_the_same_command_goes_on(
    cim: Cim, published: tuple[Path, str], tmp_path: Path
) -> None:
    source, url = published
    pin, whole = data.sha256(source / MANIFEST), (source / TEXT).read_bytes()
    (source / TEXT).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    done = cim("gallery", "fetch", "mine", url, pin)
    assert done.code == 2 and f"{TEXT} sent other bytes than are pinned" in done.err
    assert not (tmp_path / "data" / "galleries" / "mine" / MANIFEST).exists()
    (source / TEXT).write_bytes(whole)
    again = cim("gallery", "fetch", "mine", url, pin)
    assert again.code == 0 and IMAGE not in again.err, "what was whole is not brought again"


def test_a_manifest_names_no_other_files_and_must_be_pinned(
    cim: Cim, published: tuple[Path, str], tmp_path: Path
) -> None:
    source, url = published
    content = json.loads((source / MANIFEST).read_text())
    content["files"]["../../evil"] = "0" * 64
    (source / MANIFEST).write_text(json.dumps(content))
    done = cim("gallery", "fetch", "mine", url, data.sha256(source / MANIFEST))
    assert done.code == 2 and "is no manifest of a gallery" in done.err and not (tmp_path / "data" / "evil").exists()
    assert "is no sha256" in cim.refused("gallery", "fetch", "other", url, "abc")
    assert "is no address" in cim.refused("gallery", "fetch", "other", "file:///etc/passwd", "0" * 64)
