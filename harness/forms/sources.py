"""The bytes of a file, of standard input or of a folder of texts, unpacked and checked to be text or a known format."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import os
import stat
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from harness.errors import CimError
from harness.store import regular

STDIN = Path("-")
LARGEST = 1 << 28  # bytes that a compressed file may hold: 100,000 long captions are 200 MB
ENCODED = {  # first bytes of what is no UTF-8 text, and what to do
    b"\xff\xfe": ("UTF-16", "save the file as UTF-8"),
    b"\xfe\xff": ("UTF-16", "save the file as UTF-8"),
    **{bytes([0x80, version]): ("a pickle", "it is never opened, because it can run code") for version in range(2, 6)},
    b"\xd0\xcf\x11\xe0": ("a workbook of old Excel, or an encrypted one", "save it as .xlsx or CSV"),
    b"BZh": ("compressed by bzip2", "unpack it"),
    b"\xfd7zXZ": ("compressed by xz", "unpack it"),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", "unpack it"),
}


@dataclass(frozen=True, slots=True)
class Source:
    """What was read: its name in messages, its suffix without ``.gz``, its bytes, or those of a folder's files."""

    name: str
    suffix: str
    sha256: str
    content: bytes = b""
    files: Mapping[str, bytes] | None = None


def name(path: Path) -> str:
    """How messages call it."""
    return "standard input" if path == STDIN else str(path)


def is_folder(path: Path) -> bool:
    """Is it a folder with texts?"""
    return path.is_dir() and any(path.glob("*.[tT][xX][tT]"))


def state(path: Path, kind: str) -> object:
    """What differs once a file has changed.

    Raises:
        CimError: neither a regular file nor a folder of .txt files.
        OSError: not there, not readable.
    """
    if path == STDIN:
        return None
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        return tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in texts_in(path))
    if not stat.S_ISREG(status.st_mode):
        raise CimError(f"{kind}s file is no regular file", where=str(path), hint="write what it gives to a file first")
    return status.st_mtime_ns, status.st_size


def read(path: Path) -> Source:
    """The bytes of a file, of standard input (once per process) or of a folder's .txt files."""
    if path != STDIN and path.is_dir():
        files = {file.name: refuse_other_format(file.read_bytes(), str(file)) for file in texts_in(path)}
        parts = [part for file in files for part in (file.encode(errors="surrogateescape"), files[file])]
        lengths = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return Source(str(path), ".txt", hashlib.sha256(lengths).hexdigest(), files=files)
    packed = _standard_input() if path == STDIN else regular(path).read_bytes()
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    content = refuse_other_format(_unpacked(packed, name(path)), name(path)).removeprefix(b"\xef\xbb\xbf")
    return Source(name(path), (suffixes or [""])[-1], hashlib.sha256(packed).hexdigest(), content)


def digest(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with regular(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Unchanged:
    """A file that is read more than once: opened before the first time, and the same file ever after.

    Raises:
        CimError: when called, if the file was written to or replaced since it was opened.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, path.open("rb")
        self._state = self._of(os.fstat(self.file.fileno()))

    def __call__(self) -> None:
        if self._of(os.fstat(self.file.fileno())) != self._state:
            self._refuse()

    def named(self) -> None:
        """The same of what the path names, which other readers open."""
        if self._of(self.path.stat()) != self._state:
            self._refuse()

    def _refuse(self) -> NoReturn:
        raise CimError("was changed while it was read", where=str(self.path), hint="repeat once nobody writes to it")

    @staticmethod
    def _of(status: os.stat_result) -> tuple[int, ...]:
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def decoded(content: bytes, where: str) -> str:
    """Bytes as text; CimError at the first byte that is not UTF-8, or is NUL."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        hint = "save the file as UTF-8"
        raise CimError(f"invalid UTF-8 at byte {error.start + 1}", where=where, hint=hint) from error
    if (place := content.find(b"\0")) >= 0:
        raise CimError(f"a NUL byte at byte {place + 1}", where=where, hint="the file is damaged, or no text")
    return text


def texts_in(folder: Path) -> list[Path]:
    """The .txt files of a folder in order of their names, hidden ones left out."""
    visible = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if below := next((path for path in visible if path.is_dir()), None):
        raise CimError(
            f"a folder in a folder of texts: {below.name}", where=str(folder), hint="one .txt file per image"
        )
    files = [path for path in visible if path.suffix.lower() == ".txt"]
    if not files:
        raise CimError("no .txt file in this folder", where=str(folder), hint="one .txt file per image")
    if odd := next((path for path in files if not path.is_file()), None):
        raise CimError("no regular file", where=str(odd))
    return files


def refuse_other_format(content: bytes, where: str) -> bytes:
    """The content; CimError where its first bytes are those of a known format that is no text."""
    for start, (what, hint) in ENCODED.items():
        if content.startswith(start):
            raise CimError(what, where=where, hint=hint)
    return content


@functools.cache
def _standard_input() -> bytes:
    return sys.stdin.buffer.read()


def _unpacked(content: bytes, where: str) -> bytes:
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        with gzip.open(io.BytesIO(content)) as stream:
            plain = stream.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise CimError(f"damaged gzip file ({error})", where=where) from error
    if len(plain) > LARGEST:
        raise CimError(f"more than {LARGEST} bytes once unpacked", where=where, hint="unpack and split it")
    return plain
