"""Checkpoints from the Hugging Face hub: where a commit lies in its cache, whether it is whole, and how it is brought.

Only files that engines read are brought, never pickled weights. Size, licence and free disk are told before the
download, which the same command resumes. Nothing here asks the network but ``remaining``, ``licence`` and ``fetch``.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import CimError
from harness.resources import checkpoint

COMMIT = re.compile(r"[0-9a-f]{40}")
FILES = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.model", "*.tiktoken")
CODE = ("*.py",)  # of a checkpoint whose remote code is trusted
# Second copies of weights: Mistral's and Llama's own format, and exports for other libraries.
COPIES = ("consolidated*", "original/*", "onnx/*", "openvino/*", "*/*.safetensors", "*.bin.*")
TOKENIZER = ("tokenizer.json", "*.model", "vocab.*", "*.tiktoken", "tekken.json")
MEGABYTE, GIGABYTE = 1e6, 1e9
EVERY = 15.0  # seconds between two lines of progress without a terminal


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint on the hub: its name here, hub id, revision, files, and what is known of licence and gate."""

    name: str
    hub_id: str
    revision: str | None
    files: tuple[str, ...] = FILES
    licence: str | None = None
    gated: bool = False

    @property
    def where(self) -> str:
        """Hub id and commit in short."""
        return f"{self.hub_id}@{(self.revision or 'main')[:12]}"

    @property
    def page(self) -> str:
        """Its address on the hub."""
        return f"https://huggingface.co/{self.hub_id}"


def cache() -> Path:
    """The hub's cache folder (huggingface_hub 1.x, constants.py), without loading that package to ask."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or home) / "hub").expanduser()


def snapshot(hub_id: str, revision: str | None) -> Path:
    """Where the cache keeps a revision; the folder need not be there."""
    place = cache() / f"models--{hub_id.replace('/', '--')}"
    reference = place / "refs" / (revision or "main")
    if not COMMIT.fullmatch(revision or "") and reference.is_file():
        revision = reference.read_text(encoding="utf-8").strip()
    return place / "snapshots" / (revision or "main")


def here(source: Source) -> Path | None:
    """The folder of a checkpoint that is whole: config, tokenizer and all weights, and no file on its way."""
    folder = snapshot(source.hub_id, source.revision)
    try:
        checkpoint.check(folder)
    except CimError:
        return None
    tokens = any(any(folder.glob(name)) for name in TOKENIZER)
    arriving = any((folder.parent.parent / "blobs").glob("*.incomplete"))
    return folder if tokens and not arriving else None


def amount(size: float) -> str:
    """Bytes as a reader wants them: ``16.6 GB`` or ``440 MB``."""
    return f"{size / GIGABYTE:.1f} GB" if size >= GIGABYTE else f"{size / MEGABYTE:.3g} MB"


def free() -> float:
    """Bytes free where the cache is, or will be."""
    place = cache().absolute()
    return shutil.disk_usage(next(path for path in (place, *place.parents) if path.exists())).free


def refuse(source: Source, size: float | None) -> None:
    """Say what stands in the way of a download of so many bytes, without asking the hub.

    Raises:
        CimError: the licence is gated and no token is here, or the disk is too small.
    """
    if source.gated and not token():
        hint = f"accept the licence at {source.page} and set HF_TOKEN"
        raise CimError(f"{source.name} is gated ({source.licence or 'see its page'}) and no token is here", hint=hint)
    if size and free() < size:
        hint = "make room, or point HF_HOME at a larger disk"
        what = f"{source.name}: {amount(size)} are needed, {amount(free())} are free"
        raise CimError(what, where=str(cache()), hint=hint)


def token() -> bool:
    """Is there a token of the hub: in the environment, or stored by ``hf auth login``?"""
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    stored = Path(os.environ.get("HF_TOKEN_PATH") or home / "token")
    return any(os.environ.get(name) for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")) or stored.is_file()


def remaining(source: Source) -> int:
    """Bytes that are still to be brought, asked of the hub; CimError where it cannot be reached or refuses."""
    with _asking(source) as library, _without_bars():
        files = library.snapshot_download(**_wanted(source), dry_run=True)
        return sum(file.file_size or 0 for file in files if file.will_download)


def licence(source: Source) -> str:
    """The licence that the model file states, else the hub; CimError where it cannot be reached or refuses."""
    if source.licence:
        return source.licence
    with _asking(source) as library:
        card = library.HfApi().model_info(source.hub_id, revision=source.revision).card_data
        return str(getattr(card, "license", None) or "not stated")


def fetch(source: Source, say: Callable[[str], None]) -> Path:
    """Bring a checkpoint into the hub's cache, resuming an earlier call; returns its folder.

    Raises:
        CimError: gated, no room, the hub cannot be reached, lacks the revision, or a file of it.
    """
    refuse(source, None)
    size = remaining(source)
    refuse(source, size)
    say(f"{source.name}: {amount(size)} to download, licence {licence(source)}, {source.page}")
    with _asking(source) as library, _progress(source, size, say):
        return Path(library.snapshot_download(**_wanted(source)))


def _wanted(source: Source) -> dict[str, Any]:
    files = {"allow_patterns": list(source.files), "ignore_patterns": list(COPIES)}
    return {"repo_id": source.hub_id, "revision": source.revision, **files}


@contextlib.contextmanager
def _asking(source: Source) -> Iterator[Any]:
    """huggingface_hub, its errors as one line each."""
    try:
        import huggingface_hub
        from httpx import HTTPError
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            LocalEntryNotFoundError,
            OfflineModeIsEnabled,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ImportError as error:
        raise CimError("huggingface_hub is not installed", hint="run `make setup-models`") from error
    try:
        yield huggingface_hub
    except GatedRepoError as error:
        hint = f"accept the licence at {source.page} and set HF_TOKEN"
        raise CimError("is gated and not open to you", where=source.where, hint=hint) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        hint = "check checkpoint and revision in its TOML file; a private one needs HF_TOKEN"
        raise CimError("the hub has no such checkpoint", where=source.where, hint=hint) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, HTTPError, OSError) as error:
        hint = "check the network; the same command goes on"
        raise CimError(f"hub download failed ({type(error).__name__})", where=source.where, hint=hint) from error


@contextlib.contextmanager
def _progress(source: Source, size: int, say: Callable[[str], None]) -> Iterator[None]:
    """The hub's own bars on a terminal; elsewhere a line now and then with what has arrived."""
    if sys.stderr.isatty():
        yield
        return
    blobs, done = snapshot(source.hub_id, source.revision).parent.parent / "blobs", threading.Event()
    before = _bytes(blobs)

    def report() -> None:
        while not done.wait(EVERY):
            say(f"{source.name}: {amount(_bytes(blobs) - before)} of {amount(size)}")

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        with _without_bars():
            yield
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    before = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            enable_progress_bars()


def _bytes(folder: Path) -> int:
    sizes = 0
    for path in folder.glob("*"):
        with contextlib.suppress(OSError):  # renamed as it was completed
            sizes += path.stat().st_size
    return sizes
