"""``cim data fetch`` and ``cim eval`` as commands: killed, on a full disk, and for models that look or do not."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.resources import fetch, unpack
from tests import images
from tests.cli import Cim, captions_file
from tests.conftest import ROOT
from tests.images import IDS, IMAGES, Server, bring, complete

TASK_FILE = '''"""Gallery: a made-up benchmark."""
from harness.types import Archive
from tests import images
TASK = images.task(Archive({url!r}, {bytes}, {sha256!r}, images.member, "CC0", "a test"))
'''
LOOKER = '''"""An engine that looks at images."""
from harness.parts import Engine
from harness.types import Completion
def _generate(model, requests):
    for request in requests:
        yield Completion(request.sample_id, f"{len(request.image.read_bytes())} bytes", "stop", 1, 1)
ENGINE = Engine("looker", _generate)
'''


def command(server: Server, folder: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """``cim`` as a process that knows the made-up benchmark and the engine that looks."""
    archive = server.archive()
    fields = {"url": archive.url, "bytes": archive.bytes, "sha256": archive.sha256}
    (folder / "parts" / "tasks").mkdir(parents=True, exist_ok=True)
    (folder / "parts" / "tasks" / "gallery.py").write_text(TASK_FILE.format(**fields))
    places = {"CIM_DATA": "data", "CIM_RESULTS": "results", "CIM_PATH": "parts"}
    variables = {**os.environ, **{name: str(folder / place) for name, place in places.items()}}
    return [sys.executable, "-m", "harness", *arguments], variables


def test_killed_while_the_archive_arrives_the_same_command_goes_on(server: Server, place: Path, tmp_path: Path) -> None:
    """Killed three times, each time when what is there has grown and the rest is not sent yet."""
    line, variables = command(server, tmp_path, "data", "fetch", "gallery")
    server.hold, server.cut, size = True, [200_000] * 3, 0
    while server.cut:
        running = subprocess.Popen(line, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while (now := fetch._size(place / fetch.PART)) == size and running.poll() is None:
            time.sleep(0.005)
        running.kill()
        running.communicate()
        assert now > size and not (place / "images").exists()
        size = now
    server.hold = False
    done = subprocess.run(line, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.returncode == 0 and "40 of 40 images, as recorded" in done.stdout, done
    assert complete(place) and server.asked[0] is None and all(server.asked[1:])


def test_killed_while_images_are_taken_out(server: Server, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        """Nothing catches this, as nothing catches SIGKILL."""

    def track(items: Iterator[unpack.Member], title: str, _: int) -> Iterator[unpack.Member]:
        for number, item in enumerate(items):
            if title == "images" and number == 20:
                raise Killed
            yield item

    with pytest.raises(Killed):
        fetch.images(images.task(server.archive()), lambda _: None, track)
    (place / "images" / "picture_20.jpg.tmp").write_bytes(b"half")
    assert len(list((place / "images").glob("*.jpg"))) == 20 and not (place / fetch.LOCK).exists()
    bring(server.archive())
    assert complete(place) and len(server.asked) == 1


@pytest.mark.parametrize("limit", [100_000, 5_000])
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(
    server: Server, place: Path, tmp_path: Path, limit: int
) -> None:
    """A file size limit stands for a full disk: while the archive arrives, and while images are taken out."""
    if limit < 9_000:
        fetch.download(server.archive(), place, lambda _: None)
    line, variables = command(server, tmp_path, "data", "fetch", "gallery")

    def full() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    done = subprocess.run(line, cwd=ROOT, env=variables, preexec_fn=full, capture_output=True, text=True)
    assert done.returncode == 2 and "File too large" in done.stderr, done.stderr
    assert not list((place / "images").glob("*")) if (place / "images").exists() else True
    assert subprocess.run(line, cwd=ROOT, env=variables, capture_output=True).returncode == 0
    assert complete(place)


@pytest.fixture
def gallery(server: Server, place: Path, cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cim]:
    """``cim`` with the made-up benchmark, an engine that looks, and a model of it."""
    command(server, tmp_path)
    for kind in ("engines", "models"):
        (tmp_path / "parts" / kind).mkdir()
    (tmp_path / "parts" / "engines" / "looker.py").write_text(LOOKER)
    (tmp_path / "parts" / "models" / "eyes.toml").write_text(
        'about = "Looks."\nengine = "looker"\ntasks = ["gallery"]\n'
    )
    monkeypatch.setenv("CIM_PATH", str(tmp_path / "parts"))
    yield cim


def test_a_model_that_looks_is_told_to_fetch(gallery: Cim, place: Path) -> None:
    line = gallery.refused("eval", "--model", "eyes", "--metrics", "length")
    assert "40 of 40 images are not there: picture_00.jpg" in line and "cim data fetch gallery" in line
    assert not gallery.results.exists()
    assert gallery("data", "fetch", "gallery").code == 0
    result = gallery("eval", "--model", "eyes", "--metrics", "length", "--json")
    assert result.json["scores"][0]["values"] == {"words": 2}
    (place / "images" / "picture_05.jpg").unlink()
    assert gallery("eval", "--model", "eyes", "--metrics", "length").code == 0  # its caption is already there
    line = gallery.refused("eval", "--model", "eyes", "--metrics", "length", "--fresh")
    assert "1 of 40 images are not there: picture_05.jpg" in line
    assert (gallery.results / "gallery" / "eyes" / "captions.jsonl").exists()


def test_only_what_is_needed_is_fetched(gallery: Cim, server: Server, place: Path, tmp_path: Path) -> None:
    captions = captions_file(tmp_path / "theirs.jsonl", dict.fromkeys(IDS, "a b"))
    assert gallery("data", "fetch", "gallery", "--annotations-only").code == 0 and server.asked == []
    for names in (("gallery",), ()):
        result = gallery("data", "fetch", "--if-missing", "--for", captions, *names)
        assert result.code == 0 and result.out == "" and server.asked == []
    assert gallery("eval", "--model", captions, "--metrics", "length").code == 0
    assert "none of 40 images (only vision models need them)" in gallery("data", "verify", "gallery").out
    assert gallery("data", "fetch", "--if-missing", "--for", "eyes").code == 0 and complete(place)
    told = gallery("data", "verify", "gallery", "--json").json
    assert told["gallery"]["images"] == {"there": 40, "count": 40, "changed": [], "recorded": True, "broken": {}}
    (place / "images" / "picture_03.jpg").write_bytes(b"x")
    assert gallery("data", "verify", "gallery").code == 1
    gallery.refused("data", "fetch")
    gallery.refused("data", "fetch", "--for", "nobody")


def test_files_that_are_no_images_are_named(gallery: Cim, place: Path) -> None:
    """Copied by hand, so that no record tells what they should be."""
    (place / "images").mkdir()
    for name, image in IMAGES.items():
        (place / "images" / name).write_bytes(image)
    told = gallery("data", "verify", "gallery")
    assert told.code == 0 and "40 of 40 images, without a record" in told.out
    (place / "images" / "picture_03.jpg").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    told = gallery("data", "verify", "gallery")
    assert told.code == 1 and "40 of 40 images, 1 is no image: picture_03.jpg (Git LFS pointer) (" in told.out
    (place / "images" / "picture_04.jpg").write_bytes(b"<html>403</html>")
    (place / "images" / "picture_05.jpg").write_bytes(b"")
    (place / "images" / "picture_06.jpg").write_bytes(IMAGES["picture_06.jpg"][:500])
    told = gallery("data", "verify", "gallery", "--json")
    broken = {3: "Git LFS pointer", 4: "HTML page", 5: "empty file", 6: "truncated"}
    assert told.code == 1
    assert told.json["gallery"]["images"]["broken"] == {f"picture_0{at}.jpg": why for at, why in broken.items()}
    assert gallery("data", "fetch", "gallery").code == 0 and complete(place)
