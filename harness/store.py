"""Files of a run: rows that are appended as they arrive, documents that are replaced as a whole.

A row is one JSON object per line. An append is one write call, so a killed process loses at most the
row it was writing; a truncated last line is dropped when the file is opened again. Documents are
written to a temporary file and renamed. JSON only: nothing read from disk can run code.

A row that costs time or money to make again is sealed: its last field ``crc`` is the CRC-32 of the line without that
field, in eight hex digits, and a row that is read back with another content is refused. Rows without it are taken as
they are: those of other programs, and of runs from before rows were sealed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from harness.errors import BusyError, CimError

SYNC_ROWS = 256
SYNC_SECONDS = 5.0
LOCK = ".lock"
SEAL = b',"crc":"'
SEALED = len(SEAL) + 10  # bytes: name, eight digits, quote, brace
DERIVED = ("per_sample.jsonl", "statistics.jsonl", "scores.json", "details.jsonl", "judged.jsonl", "report.html")


class ChangedError(ValueError):
    """A row is not the one that was written."""


def dumps(value: Any) -> str:
    """One line of JSON for every reader: characters kept but for line separators, which are escaped; no NaN."""
    line = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return line.replace("\x85", "\\u0085").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def seal(row: Mapping[str, Any]) -> bytes:
    """A row, which has a field, as a line that ends with its checksum."""
    line = dumps(row).encode()
    return line[:-1] + SEAL + b'%08x"}' % zlib.crc32(line)


def unseal(line: bytes) -> bytes:
    """A line without its checksum; ChangedError if it has one of another content."""
    if line[-SEALED : -SEALED + len(SEAL)] != SEAL:
        return line
    content = line[:-SEALED] + b"}"
    if line[-10:] != b'%08x"}' % zlib.crc32(content):
        raise ChangedError("was changed after it was written: its checksum is another")
    return content


def present(path: Path) -> bool:
    """Is there a file to read?

    Raises:
        CimError: a folder, a pipe or a link that leads nowhere stands there.
    """
    if path.is_file():
        return True
    if path.exists() or path.is_symlink():
        raise CimError("is not a file", where=str(path), hint="move it away")
    return False


def regular(path: Path) -> Path:
    """The path, to be opened.

    Raises:
        CimError: what stands there is neither file nor folder, such as a pipe: a reader would wait for a writer.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise CimError("is no regular file", where=str(path), hint="write what it gives to a file first")
    return path


def open_regular(path: Path, flags: int) -> int:
    """Open a file for reading and writing, made where there is none; CimError where something else stands there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    present(path)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | flags, 0o644)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a file that only this project writes; a missing file has none, a truncated last line is left out.

    Raises:
        CimError: a complete line is not a JSON object, or not the one that was written; names file and line.
    """
    if not present(path):
        return []
    return [row(line, f"{path}:{number}") for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1)]


def row(line: bytes, where: str) -> dict[str, Any]:
    """What a line of a file holds that only this project writes; CimError as ``read_rows``."""
    try:
        content = json.loads(unseal(line))
        if isinstance(content, dict) and "crc" in content:
            raise ChangedError("was changed after it was written: its checksum stands elsewhere")
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, a number of 5,000 digits, too deep
        what = str(error) if isinstance(error, ChangedError) else f"is not JSON ({error})"
        remedy = "delete that line to have it made again, or start over with --fresh"
        raise CimError(what, where=where, hint=remedy) from error
    if not isinstance(content, dict):
        raise CimError("is not a JSON object", where=where, hint="start over with --fresh")
    return content


def read_document(path: Path) -> dict[str, Any] | None:
    """A JSON document, or None when there is none; CimError when it is not a JSON object."""
    if not present(path):
        return None
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CimError(f"is not JSON ({error})", where=str(path), hint="start over with --fresh") from error
    if not isinstance(content, dict):
        raise CimError("is not a JSON object", where=str(path), hint="start over with --fresh")
    return content


def read_back(content: Mapping[str, Any]) -> dict[str, Any]:
    """A document as it is read after it was written: tuples are lists, keys texts."""
    document: dict[str, Any] = json.loads(json.dumps(content, allow_nan=False))
    return document


def write_document(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a document as a whole."""
    write_bytes(path, (json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode())


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], *, sealed: bool = False) -> None:
    """Replace a file of rows as a whole."""
    with replacing(path) as stream:
        stream.writelines((seal(row) if sealed else dumps(row).encode()) + b"\n" for row in rows)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file as a whole."""
    with replacing(path) as stream:
        stream.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of ``path`` once it is whole and on the disk; nothing changes otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, whole = path.with_name(path.name + ".tmp"), False
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        whole = True
    finally:
        if not whole:  # else it may be another process's by now
            temporary.unlink(missing_ok=True)


class Appender:
    """Adds sealed rows to a file, each with one write call; fsync every ``sync`` rows, or few seconds."""

    def __init__(self, path: Path, sync: int = SYNC_ROWS) -> None:
        self._file = open_regular(path, 0)
        self._end = _whole_lines(self._file)
        os.ftruncate(self._file, self._end)
        self._sync_rows, self._unsynced, self._synced_at = sync, 0, time.monotonic()

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row; on a full disk the file keeps its whole rows only."""
        line = seal(row) + b"\n"
        try:
            written = os.pwrite(self._file, line, self._end)
            while written < len(line):
                written += os.pwrite(self._file, line[written:], self._end + written)
        except OSError:
            os.ftruncate(self._file, self._end)
            raise
        self._end += len(line)
        self._unsynced += 1
        if self._unsynced >= self._sync_rows or time.monotonic() - self._synced_at > SYNC_SECONDS:
            self._sync()

    def _sync(self) -> None:
        os.fsync(self._file)
        self._unsynced, self._synced_at = 0, time.monotonic()

    def __enter__(self) -> Appender:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._sync()
        finally:
            os.close(self._file)


def _whole_lines(file: int) -> int:
    """Length in bytes of the part of an open file that ends with its last newline."""
    end = os.lseek(file, 0, os.SEEK_END)
    while end:
        start = max(0, end - 65536)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


@contextmanager
def writing(folder: Path, what: str = "this run", name: str = LOCK) -> Iterator[None]:
    """Hold an exclusive lock on a folder, or on what ``name`` stands for there, until the process dies at the latest.

    Raises:
        BusyError: another process holds it.
    """
    lock = open_regular(folder / name, 0)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            hint = "wait until it has ended" + (", or give this run another --results folder" if "run" in what else "")
            raise BusyError(f"another process is writing {what}", where=str(folder), hint=hint) from error
        yield
    finally:
        os.close(lock)


def clear(folder: Path) -> None:
    """Remove what the harness writes into a run folder; the manifest last, so that no row is left without one."""
    shutil.rmtree(folder / "shards", ignore_errors=True)
    raw = ("captions.jsonl", "parses.jsonl", "replies.*.jsonl", "probe.*.jsonl", "batches.*.json", "retrievals*.jsonl")
    for pattern in (*raw, *DERIVED, "*.tmp", "manifest.json"):
        for path in folder.glob(pattern):
            path.unlink()
