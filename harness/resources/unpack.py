"""Takes named files out of a ``.zip``, ``.tar`` or ``.tar.gz``, trusting nothing that stands in it.

The archive chooses neither names nor places: its members are only compared with those asked for, and each
is copied, bytes only, to the path that the caller names. So ``..``, absolute names, links and devices have
nothing to act on; a member that is asked for and is not a plain file, stands twice or is too large is refused.
"""

from __future__ import annotations

import hashlib
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from harness.errors import CimError
from harness.types import Track, untracked

LARGEST = 100_000_000  # bytes of one file; photographs of both benchmarks have under 5 million
EXPANSION = 5  # a whole archive of photographs unpacks to about its own size
SMALL = 64_000_000  # bytes that any archive may unpack to
CHUNK = 1 << 20
# ValueError: numbers and names of a header that are none, which zipfile and tarfile decode without a check.
BROKEN = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, NotImplementedError, ValueError)


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: name without ``./``, whether it is a plain file, size, and how to read it."""

    name: str
    plain: bool
    size: int
    open: Callable[[], IO[bytes] | None]


def unpack(path: Path, wanted: Mapping[str, Path], track: Track = untracked) -> dict[str, str]:
    """Copy members of an archive to the paths named for them; sha256 by the name of each path.

    An archive is read once from front to end. A file gets its name when it is complete.

    Raises:
        CimError: a member is missing, stands twice, is no plain file or too large, or the archive is damaged.
    """
    sums = dict[str, str]()
    try:
        for member in track(_wanted(path, wanted), "images", len(wanted)):
            target = wanted[member.name]
            if target.name in sums:
                raise CimError(f"{member.name} stands twice in this archive", where=str(path))
            sums[target.name] = _copy(member, target, path)
    except (*BROKEN, _UnreadableError) as error:
        hint = "delete it to have it fetched again"
        what = f"cannot be unpacked ({' '.join(str(error).split())[:200]})"
        raise CimError(what, where=str(path), hint=hint) from error
    if lacking := [name for name, target in wanted.items() if target.name not in sums]:
        raise CimError(f"{len(lacking)} of {len(wanted)} images are not in it: {lacking[0]}, ...", where=str(path))
    return sums


class _UnreadableError(Exception):
    """An OSError while an archive was read: a damaged bzip2 stream, or an offset outside the file."""


def _wanted(path: Path, wanted: Mapping[str, Path]) -> Iterator[Member]:
    """Members that are asked for, as long as the archive unpacks to a sane size."""
    left = max(SMALL, EXPANSION * path.stat().st_size)
    for member in _members(path, wanted):
        left -= member.size
        if left < 0:
            raise CimError(f"unpacks to more than {EXPANSION} times its size; refused", where=str(path))
        if member.name not in wanted:
            continue
        if not member.plain:
            raise CimError(f"{member.name} is a link, a device or encrypted, no plain file", where=str(path))
        if member.size > LARGEST:
            raise CimError(f"{member.name} has {member.size} bytes, too large for an image", where=str(path))
        yield member


def _members(path: Path, wanted: Mapping[str, Path]) -> Iterator[Member]:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as opened:
                for info in opened.infolist():
                    if _name(info.filename) in wanted:
                        yield _zipped(opened, info)
            return
        with tarfile.open(path, "r|*") as stream:
            for entry in stream:
                yield _tarred(stream, entry)
    except OSError as error:
        raise _UnreadableError(error) from error


def _zipped(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    kind, encrypted = stat.S_IFMT(info.external_attr >> 16), bool(info.flag_bits & 1)
    plain = kind in (0, stat.S_IFREG) and not info.is_dir() and not encrypted
    return Member(_name(info.filename), plain, info.file_size, lambda: opened.open(info))


def _tarred(stream: tarfile.TarFile, entry: tarfile.TarInfo) -> Member:
    return Member(_name(entry.name), entry.isreg(), entry.size, lambda: stream.extractfile(entry))


def _name(name: str) -> str:
    return name.removeprefix("./")


def _copy(member: Member, target: Path, where: Path) -> str:
    """Copy a member's bytes to a path of our own choice; returns their sha256."""
    temporary, digest, left = target.with_name(target.name + ".tmp"), hashlib.sha256(), member.size
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("wb") as stream:
            for chunk in _chunks(member, where):
                left -= len(chunk)
                digest.update(chunk)
                stream.write(chunk)
        if left:
            raise CimError(f"{member.name} has another size than the archive says", where=str(where))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return digest.hexdigest()


def _chunks(member: Member, where: Path) -> Iterator[bytes]:
    """A member's bytes; apart from where they are written, whose OSErrors (a full disk) are no fault of the archive."""
    try:
        source = member.open()
        if source is None:
            raise CimError(f"{member.name} is no plain file", where=str(where))
        with source:
            while chunk := source.read(CHUNK):
                yield chunk
    except OSError as error:
        raise _UnreadableError(error) from error
