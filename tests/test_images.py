"""Images: a cut download goes on, an archive is trusted with nothing, a kill loses nothing, what is missing is said."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from harness import registry, store
from harness.errors import BusyError, CimError
from harness.resources import data, fetch
from tests import images
from tests.cli import Cim
from tests.images import IMAGES, Server, bring, complete


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
    status = fetch.state(images.task(archive))
    assert status.whole and str(status) == "40 of 40 images, as recorded in images.lock.json"


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


@pytest.mark.parametrize("date", ["", "Sat, 28 Nov 2026 07:00:00 GMT"])
def test_without_a_version_it_begins_anew(server: Server, place: Path, date: str) -> None:
    """Half of one file and half of another would have the right size; a date is a version, too."""
    server.etag, server.date, server.cut = "", date, [100_000]
    bring(replace(server.archive(), sha256=None))
    assert complete(place) and server.asked == [None, "bytes=100000-" if date else None]


def test_a_server_without_versions_that_always_breaks_off_is_given_up(server: Server, place: Path) -> None:
    server.etag, server.cut = "", [100_000] * 50
    with pytest.raises(CimError, match="cannot be fetched from"):
        bring(server.archive())
    assert len(server.asked) == fetch.TRIES + 1


@pytest.mark.parametrize("published", [True, False])
def test_no_more_arrives_than_there_should_be(server: Server, place: Path, published: bool) -> None:
    archive = server.archive(sha256="" if published else None)
    server.length, server.content = False, server.content * 40
    with pytest.raises(CimError, match="sends more than the"):
        bring(archive)
    assert (place / fetch.PART).stat().st_size <= 2 * archive.bytes


def test_a_trickle_is_given_up(server: Server, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.trickle = 0.02
    monkeypatch.setattr(fetch, "WINDOW", 0.1)
    monkeypatch.setattr(fetch, "SLOWEST", 10_000)
    monkeypatch.setattr(fetch, "TRIES", 2)
    with pytest.raises(CimError, match="less than 10000 bytes a second"):
        bring(server.archive())


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
    status = fetch.state(images.task(server.archive()))
    assert not status.whole and "40 of 40 images, 1 not as fetched: picture_07.jpg" in str(status)
    bring(server.archive())
    assert complete(place)


def test_images_placed_by_hand_are_enough(server: Server, place: Path) -> None:
    (place / "images").mkdir()
    for name, image in IMAGES.items():
        (place / "images" / name).write_bytes(image)
    assert bring(server.archive()) == [] and server.asked == []
    assert "40 of 40 images, without a record" in str(fetch.state(images.task(None)))


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


def test_the_benchmarks_name_their_archives(cim_on_benchmarks: Cim) -> None:
    coco, docci = registry.task("coco_ln500"), registry.task("docci500")
    assert coco.archive is not None and docci.archive is not None
    assert coco.archive.member(data.samples(coco)[0]).startswith("val2017/0000")
    assert docci.archive.member(data.samples(docci)[0]).startswith("images/test_")
    assert docci.archive.sha256 is None and coco.archive.bytes == 815_585_330
    assert io.BytesIO(bytes.fromhex(str(coco.archive.sha256))).getbuffer().nbytes == 32
