"""Brings a benchmark's images: one large archive from its official place, of which the needed files are kept.

An interrupted download resumes where it stopped (HTTP Range, guarded by the server's ETag or date; without either it
begins anew). No more arrives than there should be, and not more slowly than ``SLOWEST``. The archive's
sha256 is checked before anything is taken out. ``images.lock.json`` records the archive and every image, so
that they can be verified from then on, also where nobody has published a sum. Nothing has a final name
before it is whole. Run with ``cim data fetch docci500``.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from harness import store
from harness.errors import CimError
from harness.images import fault
from harness.resources import data, unpack
from harness.types import Archive, Sample, Task, Track, untracked

if TYPE_CHECKING:
    import requests

LOCK = "images.lock.json"
PART = ".images.part"  # the archive while it arrives, and until its images are taken out
STATE = ".images.part.json"  # address, ETag and whole size of what is arriving
MEGABYTE, CHUNK = 1_000_000, 65_536  # bytes
TRIES = 6  # in a row without a byte
PAUSE = 1.0  # seconds before the second try; doubled each time
TIMEOUT = (30.0, 60.0)  # seconds to connect, and between two bytes
SLOWEST, WINDOW = 1000, 60.0  # bytes a second, in each window of so many seconds


@dataclass(frozen=True, slots=True)
class Images:
    """How many of a task's images are there, how many it has, and which are not as recorded when fetched.

    ``broken`` gives the files that cannot be read as images, and why; what is as recorded was not tried.
    """

    there: int
    count: int
    changed: tuple[str, ...]
    recorded: bool
    broken: Mapping[str, str]

    @property
    def whole(self) -> bool:
        """All images are there and are images, and none has changed."""
        return self.there == self.count and self.sound

    @property
    def sound(self) -> bool:
        """Those that are there can be read, and none has changed."""
        return not self.changed and not self.broken

    def __str__(self) -> str:
        if not self.there:
            return f"none of {self.count} images (only vision models need them)"
        state = f"{self.there} of {self.count} images"
        if self.changed:
            state += f", {len(self.changed)} not as fetched: {', '.join(self.changed[:3])}"
        if self.broken:
            first = ", ".join(f"{name} ({why})" for name, why in list(self.broken.items())[:3])
            state += f", {len(self.broken)} {'is' if len(self.broken) == 1 else 'are'} no image: {first}"
        if not self.sound:
            return state
        return f"{state}, as recorded in {LOCK}" if self.recorded else f"{state}, without a record to check them by"


def state(task: Task, *, thorough: bool = True) -> Images:
    """What is there of a task's images; ``thorough`` compares each with the record, and decodes it without one."""
    place, samples = data.images(task), _with_image(task)
    record = (store.read_document(data.folder(task) / LOCK) or {}).get("images", {})
    there = [sample.image for sample in samples if (place / sample.image).is_file()]
    known = [name for name in there if name in record] if thorough else []
    changed = tuple(name for name in known if data.sha256(place / name) != record[name])
    unknown = [name for name in there if name not in record] if thorough else []
    broken = {name: why for name in unknown if (why := fault(place / name))}
    return Images(len(there), len(samples), changed, bool(record), broken)


def images(task: Task, say: Callable[[str], None], track: Track = untracked, *, thorough: bool = True) -> None:
    """Bring a task's images unless all are there.

    Args:
        say: told size, licence and source before anything large is fetched.
        track: shows megabytes while they arrive, then images while they are taken out.
        thorough: an image that is not as recorded is a reason to bring them again.

    Raises:
        CimError: no room, the address cannot be reached, other bytes than expected, an archive that is not sane.
        BusyError: another process is fetching them.
    """
    if task.archive is None or state(task, thorough=thorough).whole:
        return
    archive, place = task.archive, data.folder(task)
    with store.writing(place, f"the images of {task.name}"):
        before = store.read_document(place / LOCK) or {}
        expected = archive.sha256 or (before.get("sha256") if before.get("url") == archive.url else None)
        samples = _with_image(task)
        say(_announcement(task, archive, samples, expected))
        part = place / PART
        download(archive, place, say, track)
        digest, size = data.sha256(part), part.stat().st_size
        if expected is not None and digest != expected:
            _discard(place)
            hint = "the same command fetches it anew"
            if archive.sha256 is None:
                hint += f"; if they come again, there is a new version, and without {LOCK} it is accepted"
            raise CimError(f"{archive.url} sent other bytes than expected", where=f"sha256 {digest}", hint=hint)
        wanted = {archive.member(sample): data.images(task) / sample.image for sample in samples}
        taken = unpack.unpack(part, wanted, track)
        record = {"url": archive.url, "bytes": size, "sha256": digest, "images": dict(sorted(taken.items()))}
        store.write_document(place / LOCK, record)
        _discard(place)
    say(f"{task.name}: {len(taken)} images in {data.images(task)}; sha256 of the archive {digest}")


def _with_image(task: Task) -> list[Sample]:
    return [] if task.draw else [sample for sample in data.samples(task) if sample.image]


def _announcement(task: Task, archive: Archive, samples: list[Sample], expected: str | None) -> str:
    size = f"{archive.bytes / 1e9:.2f} GB" if archive.sha256 else f"about {archive.bytes / 1e9:.1f} GB"
    archived = f"{task.name} images: {size}, licence {archive.licence}, from {archive.source} ({archive.url})"
    known = "" if expected else f"; its sha256 is not published, what arrives is recorded in {LOCK}"
    return f"{archived}; {len(samples)} images are kept{known}"


def _discard(place: Path) -> None:
    for name in (PART, STATE):
        (place / name).unlink(missing_ok=True)


def download(archive: Archive, place: Path, say: Callable[[str], None], track: Track = untracked) -> None:
    """Bring an archive to ``PART`` in a folder, resuming an earlier call.

    Raises:
        CimError: no room, the address refuses, or nothing comes for ``TRIES`` tries.
    """
    import requests
    import urllib3

    part, stalled, first = place / PART, 0, True
    while True:
        before = known = _arrived(archive, place)
        if known.bytes and known.bytes == known.whole:
            return
        reason, refused = "ended early", False
        try:
            with closing(_ask(archive, known)) as answer:
                _receive(answer, archive, place, known, say, track)
        except _NotNowError as error:
            reason, refused = str(error), True
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
            reason = type(error).__name__
        grew = _size(part) > before.bytes and (before.bytes or first)
        stalled, first = 0 if grew and not refused else stalled + 1, False
        if stalled >= TRIES:
            hint = "check the network; the same command goes on"
            raise CimError(f"cannot be fetched from {archive.url} ({reason})", where=str(part), hint=hint)
        if stalled:
            time.sleep(PAUSE * 2 ** (stalled - 1))


class _NotNowError(Exception):
    """The server cannot answer now, or not in the way it was asked to."""


@dataclass(frozen=True, slots=True)
class _Arrived:
    """What is on disk of an archive: bytes so far, bytes in all, and the server's ETag or date of this version."""

    bytes: int
    whole: int | None
    version: str | None


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _arrived(archive: Archive, place: Path) -> _Arrived:
    stored = store.read_document(place / STATE) or {}
    if stored.get("url") != archive.url:  # begun from another address, or by something else
        _discard(place)
        return _Arrived(0, None, None)
    known = _Arrived(_size(place / PART), stored.get("bytes"), stored.get("etag"))
    if known.version is None and known.bytes != known.whole:  # what comes next may be of another version
        _discard(place)
        return _Arrived(0, None, None)
    return known


def _ask(archive: Archive, known: _Arrived) -> requests.Response:
    """Ask for what is missing: the rest if the server still has the same version, else all of it."""
    import requests

    headers = {"Accept-Encoding": "identity"}
    if known.bytes:
        headers["Range"] = f"bytes={known.bytes}-"
    if known.bytes and known.version:
        headers["If-Range"] = known.version
    return requests.get(archive.url, headers=headers, stream=True, timeout=TIMEOUT)


def _receive(
    answer: requests.Response,
    archive: Archive,
    place: Path,
    known: _Arrived,
    say: Callable[[str], None],
    track: Track,
) -> None:
    """Write what the server sends: behind what is there if it sends the rest, else from the start."""
    status, part = answer.status_code, place / PART
    if status == 416:  # what is on disk is no beginning of what the server has
        _discard(place)
    if status in (416, 429) or status >= 500:
        raise _NotNowError(f"HTTP {status}")
    if status not in (200, 206):
        hint = f"put the images into {place / 'images'} by hand, or try later"
        raise CimError(f"cannot be fetched from {archive.url} (HTTP {status})", where=str(part), hint=hint)
    have, whole = _offered(answer, known)
    if archive.sha256 and whole not in (None, archive.bytes):
        raise CimError(f"{archive.url} offers {whole} bytes, {archive.bytes} expected", where=str(part))
    room(place, (whole or archive.bytes) - have + round(archive.kept * archive.bytes))
    etag = answer.headers.get("ETag", "")
    version = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")
    entry = {"url": archive.url, "etag": version, "bytes": whole}
    if have:
        say(f"going on after {have / MEGABYTE:.0f} MB")
    else:
        part.unlink(missing_ok=True)
        store.write_document(place / STATE, entry)
    expected = (whole or archive.bytes) - have
    most = expected if whole or archive.sha256 else 2 * archive.bytes  # of what is only about so large
    with part.open("ab") as stream:
        for _ in track(_megabytes(answer, stream, most), "MB", -(-expected // MEGABYTE)):
            pass
    if whole is None:  # no length was announced, so the end of the answer is the end of the archive
        store.write_document(place / STATE, {**entry, "bytes": _size(part)})


def _megabytes(answer: requests.Response, stream: IO[bytes], most: int) -> Iterator[None]:
    """Write what arrives, in pieces so small that a kill loses little; yields once a megabyte and at the end.

    Raises:
        CimError: more than ``most`` bytes come.
    """
    written = in_window = arrived = 0
    begun = time.monotonic()
    while chunk := answer.raw.read1(CHUNK, decode_content=False):  # one read: a trickle must not fill the chunk
        arrived += len(chunk)
        if arrived > most:
            raise CimError(f"{answer.url} sends more than the {most} bytes that it should", hint="try later")
        stream.write(chunk)
        stream.flush()
        written, in_window = written + len(chunk), in_window + len(chunk)
        if (now := time.monotonic()) - begun > WINDOW:
            if in_window < SLOWEST * (now - begun):
                raise _NotNowError(f"less than {SLOWEST} bytes a second")
            begun, in_window = now, 0
        if written >= MEGABYTE:
            written -= MEGABYTE
            yield
    yield


def _offered(answer: requests.Response, known: _Arrived) -> tuple[int, int | None]:
    """Where the answer begins, and the size of the whole archive if the server says it."""
    if answer.status_code == 200:
        length = answer.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    span, _, whole = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    if span.partition("-")[0] != str(known.bytes):
        raise _NotNowError(f"sent bytes {span or 'without a range'}, asked from {known.bytes}")
    return known.bytes, int(whole) if whole.isdigit() else known.whole


def room(place: Path, need: int) -> None:
    """CimError unless so many bytes are free."""
    free = shutil.disk_usage(place).free
    if free < need:
        hint = "make room, or point CIM_DATA at a larger disk"
        raise CimError(f"{need / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are free", where=str(place), hint=hint)
