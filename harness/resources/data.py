"""A benchmark's files: where they are, whether they are whole, and where they come from.

Files lie in ``$CIM_DATA/<task>/`` under their original names (default: ``data/`` in the
project). They are checked by size and sha256 each time they are read, so a score can name the
bytes it was made from. ``cim data fetch docci500`` brings them, ``cim data verify docci500`` checks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.benchmark import build
from harness.errors import CimError
from harness.lines import Lines
from harness.resources import paths
from harness.store import regular
from harness.types import DataFile, Sample, Task

CHUNK = 1 << 20


def folder(task: Task) -> Path:
    """Folder of one benchmark's files."""
    return task.folder or paths.data_root() / task.name


def images(task: Task) -> Path:
    """Folder of one benchmark's images: ``images`` in the folder of its files.

    A task of which the files lie beside its module has a folder of its own name there, so that several tasks of one
    folder do not share their images.
    """
    if task.images is not None:
        return task.images
    shared = task.folder is not None and task.folder.name != task.name
    return folder(task) / task.name / "images" if shared else folder(task) / "images"


def fingerprint(task: Task) -> str:
    """Twelve hex digits that identify the bytes of all the task's files."""
    listing = "\n".join(f"{digest} {name}" for name, digest in sorted(digests(task).items()))
    return hashlib.sha256(listing.encode()).hexdigest()[:12]


def digests(task: Task) -> dict[str, str]:
    """sha256 of a task's files by name: the published one, else that of the bytes; "" where the file is not there."""
    places = {file.name: place(task, file) for file in task.files if not file.sha256}
    now = {name: sha256(path) if path.is_file() else "" for name, path in places.items()}
    return {file.name: file.sha256 or now[file.name] for file in task.files}


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes, read in chunks."""
    digest = hashlib.sha256()
    with regular(path).open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def place(task: Task, file: DataFile) -> Path:
    """Where a file of a benchmark lies."""
    return file.path or folder(task) / file.name


def fault(path: Path, file: DataFile) -> str | None:
    """What is wrong with a file on disk, or None."""
    if not path.exists():
        return "is missing"
    if file.by_hand and not file.sha256:
        return None
    size, digest = build.folder_digest(path, file.name) if path.is_dir() else (path.stat().st_size, "")
    if size != file.bytes:
        return f"has {size} bytes, {file.bytes} expected"
    if (digest := digest or sha256(path)) != file.sha256:
        return f"has sha256 {digest[:16]}..., {file.sha256[:16]}... expected"
    return None


def faults(task: Task) -> dict[str, str]:
    """File name to what is wrong with it; empty when the task's files are whole."""
    checked = {file.name: fault(place(task, file), file) for file in task.files}
    return {name: wrong for name, wrong in checked.items() if wrong}


def samples(task: Task) -> Sequence[Sample]:
    """The task's samples in the order of its reference file, after checking every file's sha256.

    Raises:
        CimError: no folder, a missing or changed file; says which and what to run.
    """
    root = folder(task)
    remedy = f"run `cim data fetch {task.name}` or point CIM_DATA at a folder that holds {task.name}/"
    if task.definition:
        remedy = "restore it, or give the benchmark another name"
    if not root.is_dir():
        raise CimError(f"no data folder for task {task.name}", where=str(root), hint=remedy)
    wrong_of = faults(task)
    for file in task.files:
        if file.name in wrong_of:
            raise CimError(wrong_of[file.name], where=str(place(task, file)), hint=file.by_hand or remedy)
    loaded = task.load(root)
    if isinstance(loaded, Lines):  # one row per id, counted when the task was made
        return loaded
    count = len(loaded) if task.count is None else task.count
    if len(loaded) != count or len({sample.id for sample in loaded}) != count:
        raise CimError(f"{len(loaded)} samples read, {count} distinct ones expected", where=str(root))
    asked = sum(len(sample.questions) + len(sample.facts) for sample in loaded)
    if task.questions not in (None, asked):
        raise CimError(f"{asked} questions read, {task.questions} expected", where=str(root))
    return loaded


def fetch(task: Task, say: Callable[[str], None]) -> None:
    """Bring every file that is missing or damaged, checking its sha256 before it gets its name.

    Args:
        task: whose files to bring.
        say: receives one line per file: name, size, licence, source.

    Raises:
        CimError: a file has no public address, cannot be reached, or arrives with other bytes.
    """
    for name in faults(task):
        file = next(file for file in task.files if file.name == name)
        if not file.url:
            what = f"{name} of task {task.name} has no public address"
            raise CimError(what, where=str(place(task, file)), hint=file.by_hand)
        say(f"{task.name}/{name}: {file.bytes / 1e6:.2f} MB, licence {task.licence}, from {task.source}")
        _download(file, folder(task))


def _download(file: DataFile, place: Path) -> None:
    import pooch
    import requests

    downloader = pooch.HTTPDownloader(progressbar=True, timeout=60)
    pooch.get_logger().setLevel("ERROR")
    try:
        place.mkdir(parents=True, exist_ok=True)
        pooch.retrieve(file.url, f"sha256:{file.sha256}", file.name, place, downloader=downloader)
    except requests.exceptions.RequestException as error:
        reason = type(error).__name__
        hint = f"check the network, or put the file there by hand and run `cim data verify {place.name}`"
        where = str(place / file.name)
        raise CimError(f"cannot be fetched from {file.url} ({reason})", where=where, hint=hint) from error
    except ValueError as error:
        raise CimError(f"{file.url} sent other bytes than expected", where=str(place / file.name)) from error
