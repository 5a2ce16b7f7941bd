"""Images: a cut download goes on, an archive is trusted with nothing, a kill loses nothing, what is missing is said."""

from __future__ import annotations

import io
import json
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness import data, fetch, registry, store, unpack
from harness.errors import BusyError, CimError
from harness.types import Archive
from tests import images
from tests.cli import Cim, captions_file
from tests.conftest import ROOT
from tests.images import IDS, IMAGES, Server

TASK_FILE = '''"""Gallery: a made-up benchmark."""
from harness.types import Archive
from tests import images
TASK = images.task(Archive({url!r}, {bytes}, {sha256!r}, images.member, "CC0", "a test"))
'''
LOOKER = '''"""An engine that looks at images."""
from harness.types import Completion, Engine
def _generate(model, requests):
    for request in requests:
        yield Completion(request.sample_id, f"{len(request.image.read_bytes())} bytes", "stop", 1, 1)
ENGINE = Engine("looker", _generate)
'''


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that holds the images as a .tar.gz; waits between tries are cut short."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(fetch, "PAUSE", 0.001)
    with images.serving(images.tarred()) as serving:
        yield serving


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data folder of the made-up benchmark, with its annotations."""
    monkeypatch.setenv("CIM_DATA", str(tmp_path / "data"))
    folder = tmp_path / "data" / "gallery"
    folder.mkdir(parents=True)
    (folder / "scenes.json").write_bytes(images.SCENES)
    return folder


def bring(archive: Archive) -> list[str]:
    """Fetch the images; what was said."""
    said = list[str]()
    fetch.images(images.task(archive), said.append)
    return said


def complete(place: Path) -> bool:
    """All images are there with the right bytes, and nothing else but the record."""
    found = {path.name: path.read_bytes() for path in (place / "images").iterdir()}
    names = {path.name for path in place.iterdir()}
    return found == IMAGES and names == {"scenes.json", "images", fetch.LOCK, store.LOCK}


@pytest.mark.parametrize("kind", ["tar.gz", "tar", "zip"])
def test_images_come_out_of_an_archive(server: Server, place: Path, kind: str) -> None:
    server.content = {"tar.gz": images.tarred(), "tar": images.tarred(mode="w"), "zip": images.zipped()}[kind]
    archive = server.archive(name=f"images.{kind}")
    said = bring(archive)
    assert complete(place) and len(server.asked) == 1
    assert "licence CC0" in said[0] and archive.url in said[0] and "40 images are kept" in said[0]
    record = json.loads((place / fetch.LOCK).read_text())
    assert record["sha256"] == archive.sha256 and record["bytes"] == len(server.content)
    assert bring(archive) == [] and len(server.asked) == 1
    found = fetch.state(images.task(archive))
    assert found.whole and str(found) == "40 of 40 images, as recorded in images.lock.json"


def test_a_cut_download_goes_on(server: Server, place: Path) -> None:
    server.cut = [100_000, 50_000, 1, 0]
    said = bring(server.archive())
    assert server.asked[:3] == [None, "bytes=100000-", "bytes=150000-"] and complete(place)
    assert any(line.startswith("going on after 0 MB") for line in said)


def test_what_was_left_by_an_earlier_command_is_used(server: Server, place: Path) -> None:
    server.cut = [100_000] + [0] * fetch.TRIES
    with pytest.raises(CimError, match=r"cannot be fetched from .*; check the network; the same command goes on"):
        bring(server.archive())
    assert (place / fetch.PART).stat().st_size == 100_000 and not (place / "images").exists()
    server.asked.clear()
    bring(server.archive())
    assert server.asked == ["bytes=100000-"] and complete(place)


def test_a_whole_download_is_not_fetched_twice(server: Server, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the last byte and the first image."""
    fetch.download(server.archive(), place, lambda _: None)
    bring(server.archive())
    assert len(server.asked) == 1 and complete(place)


def test_a_server_without_ranges_sends_all_again(server: Server, place: Path) -> None:
    server.ranges, server.cut = False, [100_000]
    bring(server.archive())
    assert complete(place) and server.asked == [None, "bytes=100000-"]


def test_a_server_that_says_no_length(server: Server, place: Path) -> None:
    server.length = False
    bring(server.archive())
    assert complete(place)


def test_another_version_is_not_appended(server: Server, place: Path) -> None:
    """Half of one file and half of another: the server's ETag has changed, so all of it comes again."""
    server.cut = [100_000] + [0] * fetch.TRIES
    archive = replace(server.archive(), sha256=None)
    with pytest.raises(CimError):
        bring(archive)
    server.content, server.etag = images.tarred(mode="w"), '"two"'
    bring(archive)
    assert complete(place)


def test_what_is_no_beginning_is_dropped(server: Server, place: Path) -> None:
    """More on disk than the server has (HTTP 416), and an answer that begins elsewhere."""
    fetch.download(server.archive(), place, lambda _: None)
    state = json.loads((place / fetch.STATE).read_text())
    store.write_document(place / fetch.STATE, {**state, "bytes": None})
    bring(server.archive())
    assert complete(place)


def test_a_busy_server_is_asked_again(server: Server, place: Path) -> None:
    server.statuses = [503, 429, 500]
    bring(server.archive())
    assert complete(place) and len(server.asked) == 4


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (403, 1), (503, fetch.TRIES)])
def test_a_refusal_is_one_line(server: Server, place: Path, status: int, asked: int) -> None:
    server.statuses = [status] * 9
    with pytest.raises(CimError, match=f"HTTP {status}"):
        bring(server.archive())
    assert len(server.asked) == asked and not (place / "images").exists()


def test_a_dead_address_is_one_line(place: Path, server: Server) -> None:
    with pytest.raises(CimError, match=r"cannot be fetched from http://127.0.0.1:9/x.zip \(ConnectionError\)"):
        bring(replace(server.archive(), url="http://127.0.0.1:9/x.zip"))


def test_other_bytes_are_refused_and_forgotten(server: Server, place: Path) -> None:
    with pytest.raises(CimError, match="sent other bytes than expected"):
        bring(server.archive(sha256="0" * 64))
    assert {path.name for path in place.iterdir()} == {"scenes.json", store.LOCK}
    with pytest.raises(CimError, match=r"offers \d+ bytes, 7 expected"):
        bring(replace(server.archive(), bytes=7))


def test_an_unpublished_sum_is_recorded_and_holds_from_then_on(server: Server, place: Path) -> None:
    archive = server.archive(sha256=None)
    said = bring(archive)
    assert "its sha256 is not published, what arrives is recorded" in said[0]
    shutil.rmtree(place / "images")
    good, server.content = server.content, images.tarred(mode="w")
    with pytest.raises(CimError, match="sent other bytes than expected"):
        bring(archive)
    server.content = good
    assert "not published" not in bring(archive)[0] and complete(place)


def test_a_changed_image_is_found_and_brought_again(server: Server, place: Path) -> None:
    bring(server.archive())
    (place / "images" / "picture_07.jpg").write_bytes(b"something else")
    found = fetch.state(images.task(server.archive()))
    assert not found.whole and "40 of 40 images, 1 not as fetched: picture_07.jpg" in str(found)
    bring(server.archive())
    assert complete(place)


def test_images_placed_by_hand_are_enough(server: Server, place: Path) -> None:
    (place / "images").mkdir()
    for name, image in IMAGES.items():
        (place / "images" / name).write_bytes(image)
    assert bring(server.archive()) == [] and server.asked == []
    assert "40 of 40 images, without a record" in str(fetch.state(images.task(None)))


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, link, size
    return made


WANTED = "all/picture_00.jpg"


@pytest.mark.parametrize(
    ("extra", "without", "reason"),
    [
        ([(entry(WANTED, tarfile.SYMTYPE, "/etc/passwd"), b"")], "picture_00.jpg", "no plain file"),
        ([(entry(WANTED, tarfile.LNKTYPE, "all/picture_01.jpg"), b"")], "picture_00.jpg", "no plain file"),
        ([(entry(WANTED, tarfile.CHRTYPE), b"")], "picture_00.jpg", "no plain file"),
        ([(entry(WANTED, tarfile.FIFOTYPE), b"")], "picture_00.jpg", "no plain file"),
        ([(entry(WANTED, tarfile.DIRTYPE), b"")], "picture_00.jpg", "no plain file"),
        ([(entry(WANTED, size=2), b"ab")], "", "stands twice"),
        ([(entry("./" + WANTED, size=2), b"ab")], "", "stands twice"),
        ([(entry("../all/picture_00.jpg", size=2), b"ab")], "picture_00.jpg", "1 of 40 images are not in it"),
        ([(entry("/all/picture_00.jpg", size=2), b"ab")], "picture_00.jpg", "1 of 40 images are not in it"),
        ([(entry("bomb", size=unpack.SMALL), b"\0" * unpack.SMALL)], "", "unpacks to more than 5 times"),
    ],
)
def test_hostile_tar_archives(
    server: Server, place: Path, extra: list[tuple[tarfile.TarInfo, bytes]], without: str, reason: str
) -> None:
    server.content = images.tarred(extra, without)
    with pytest.raises(CimError, match=reason):
        bring(server.archive())
    assert not (place / fetch.LOCK).exists()
    assert all(path.read_bytes() == IMAGES[path.name] for path in (place / "images").iterdir())


def test_members_that_nobody_asked_for_do_nothing(server: Server, place: Path, tmp_path: Path) -> None:
    outside = str(tmp_path / "outside")
    extra = [
        (entry("../../outside", size=2), b"ab"),
        (entry(outside, size=2), b"ab"),
        (entry("dev", tarfile.BLKTYPE), b""),
    ]
    extra += [(entry("images", tarfile.SYMTYPE, str(tmp_path)), b""), (entry("x", tarfile.LNKTYPE, "/etc/passwd"), b"")]
    server.content = images.tarred(extra)
    bring(server.archive())
    assert complete(place) and not (tmp_path / "outside").exists() and not (tmp_path / "data" / "outside").exists()


def _zip_entry(name: str, mode: int = 0) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.external_attr = mode << 16
    made.compress_type = zipfile.ZIP_DEFLATED
    return made


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ((_zip_entry(WANTED, stat.S_IFLNK | 0o777), b"/etc/passwd"), "no plain file"),
        ((_zip_entry(WANTED + "/"), b""), "1 of 40 images are not in it"),
        ((_zip_entry("../" + WANTED), b"ab"), "1 of 40 images are not in it"),
        ((_zip_entry(WANTED), b"\0" * (unpack.LARGEST + 1)), "too large for an image|unpacks to more"),
    ],
)
def test_hostile_zip_archives(server: Server, place: Path, extra: tuple[zipfile.ZipInfo, bytes], reason: str) -> None:
    server.content = images.zipped([extra], "picture_00.jpg")
    with pytest.raises(CimError, match=reason):
        bring(server.archive())
    assert not (place / fetch.LOCK).exists() and not (place / "images" / "picture_00.jpg").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("damage", ["twice", "lying size", "encrypted", "checksum", "cut", "no archive"])
def test_damaged_archives(server: Server, place: Path, damage: str) -> None:
    content = bytearray(images.zipped([(_zip_entry(WANTED), b"ab")] if damage == "twice" else []))
    central = content.index(b"PK\x01\x02")
    if damage == "lying size":
        content[central + 24 : central + 28] = (5).to_bytes(4, "little")
    if damage == "encrypted":
        content[central + 8] |= 1
    if damage == "checksum":
        content[60] ^= 0xFF
    if damage == "cut":
        content = bytearray(images.tarred()[:150_000])
    server.content = b"<html>" if damage == "no archive" else bytes(content)
    with pytest.raises(CimError, match=r"stands twice|cannot be unpacked|encrypted|another size"):
        bring(server.archive())
    assert not (place / fetch.LOCK).exists()
    left = list((place / "images").iterdir()) if (place / "images").exists() else []
    assert all(path.suffix == ".jpg" for path in left)


def test_no_room_is_said_before_anything_is_fetched(
    server: Server, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(place)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=len(server.content)))
    with pytest.raises(CimError, match=r"GB are needed, 0.00 GB are free; make room, or point CIM_DATA"):
        bring(server.archive())
    assert not (place / fetch.PART).exists()


def test_two_at_once_are_refused(server: Server, place: Path) -> None:
    with store.writing(place), pytest.raises(BusyError, match="writing the images of gallery"):
        bring(server.archive())


def command(server: Server, folder: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """``cim`` as a process that knows the made-up benchmark and the engine that looks."""
    archive = server.archive()
    fields = {"url": archive.url, "bytes": archive.bytes, "sha256": archive.sha256}
    (folder / "parts").mkdir(exist_ok=True)
    (folder / "parts" / "gallery.py").write_text(TASK_FILE.format(**fields))
    start = (
        "import sys, tasks; tasks.__path__.append(sys.argv.pop(1));"
        "from harness import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    variables = {**os.environ, "CIM_DATA": str(folder / "data"), "CIM_RESULTS": str(folder / "results")}
    return [sys.executable, "-c", start, str(folder / "parts"), *arguments], variables


def test_killed_at_any_moment_the_same_command_goes_on(server: Server, place: Path, tmp_path: Path) -> None:
    line, variables = command(server, tmp_path, "data", "fetch", "gallery")
    server.pause, generator, sizes = 0.006, random.Random(3), set[int]()
    for _ in range(8):
        running = subprocess.Popen(line, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        start, size = time.monotonic(), len(server.asked)
        while len(server.asked) == size and running.poll() is None and time.monotonic() - start < 20:
            time.sleep(0.005)
        time.sleep(generator.uniform(0, 0.25))
        running.send_signal(signal.SIGKILL)
        running.communicate()
        sizes.add(fetch._size(place / fetch.PART))
        shown = list((place / "images").iterdir()) if (place / "images").exists() else []
        assert all(path.suffix == ".tmp" or path.read_bytes() == IMAGES[path.name] for path in shown)
    server.pause = 0
    done = subprocess.run(line, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.returncode == 0 and "40 of 40 images, as recorded" in done.stdout, done
    assert complete(place) and len(sizes) >= 3, sizes


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
    import harness.engines
    import tasks

    command(server, tmp_path)
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines" / "looker.py").write_text(LOOKER)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "eyes.toml").write_text('about = "Looks."\nengine = "looker"\ntasks = ["gallery"]\n')
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path / "parts")])
    monkeypatch.setattr(harness.engines, "__path__", [*harness.engines.__path__, str(tmp_path / "engines")])
    monkeypatch.setenv("CIM_MODELS", str(tmp_path / "models"))
    registry._load.cache_clear()
    yield cim
    registry._load.cache_clear()
    for name in ("tasks.gallery", "harness.engines.looker"):
        sys.modules.pop(name, None)


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
    assert "none of 40 images (only models that look need them)" in gallery("data", "verify", "gallery").out
    assert gallery("data", "fetch", "--if-missing", "--for", "eyes").code == 0 and complete(place)
    told = gallery("data", "verify", "gallery", "--json").json
    assert told["gallery"]["images"] == {"there": 40, "count": 40, "changed": [], "recorded": True}
    (place / "images" / "picture_03.jpg").write_bytes(b"x")
    assert gallery("data", "verify", "gallery").code == 1
    gallery.refused("data", "fetch")
    gallery.refused("data", "fetch", "--for", "nobody")


def test_the_benchmarks_name_their_archives(cim_on_benchmarks: Cim) -> None:
    coco, docci = registry.task("coco_ln500"), registry.task("docci500")
    assert coco.archive is not None and docci.archive is not None
    assert coco.archive.member(data.samples(coco)[0]).startswith("val2017/0000")
    assert docci.archive.member(data.samples(docci)[0]).startswith("images/test_")
    assert docci.archive.sha256 is None and coco.archive.bytes == 815_585_330
    assert io.BytesIO(bytes.fromhex(str(coco.archive.sha256))).getbuffer().nbytes == 32
