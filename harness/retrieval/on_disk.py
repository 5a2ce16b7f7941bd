"""The manifest of a gallery as it is read from a disk, and the sums of the files that it names."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import store
from harness.errors import CimError
from harness.resources import data
from harness.runs import form

MANIFEST = "manifest.json"
CHECKED = 1 << 28  # bytes of a file that is compared with its sum whenever a gallery is opened; larger ones by verify
ENCODER = {"name": str, "settings": {}}
FORM = {
    "format": int,
    "text_encoder?": ENCODER,
    "image_encoder?": ENCODER,
    "n": int,
    "files": {"*": str},
    "read?": int,
    "left_out?": int,
    "repeats?": {"*": int},
    "parts?": [{"folder": str, "sha256": str}],
}


def manifest(path: Path, written: int) -> dict[str, Any] | None:
    """The manifest at ``path``; None where there is none, CimError where it is damaged or not of format ``written``."""
    content = form.document(path, FORM, "cim gallery build --help")
    if content is not None and content["format"] != written:
        what = f"a gallery of format {content['format']!r} here"
        raise CimError(what, where=str(path.parent), hint="cim gallery build --help")
    return content


def check_sums(folder: Path, files: Mapping[str, str]) -> None:
    """CimError for the first of these files, none larger than ``CHECKED``, that has another sha256."""
    for name, sha in files.items():
        path = folder / name
        if store.present(path) and path.stat().st_size <= CHECKED and data.sha256(path) != sha:
            hint = "bring it back, or build the gallery again with --fresh"
            raise CimError("was changed after it was built", where=str(path), hint=hint)


def digest(files: Mapping[str, str]) -> str:
    """The sha256 that identifies a gallery: over the names and sha256 of its files."""
    return hashlib.sha256("\n".join(f"{name} {files[name]}" for name in sorted(files)).encode()).hexdigest()


def parts(folder: Path, manifest: Mapping[str, Any]) -> list[Path]:
    """The folders that hold a gallery's files, in the order of their rows: its own, or those that were joined.

    Raises:
        CimError: a part is not there, or is not the one that was joined.
    """
    folders = list[Path]()
    named = manifest.get("parts", [])
    if not all(isinstance(part, dict) and isinstance(part.get("folder"), str) and "sha256" in part for part in named):
        raise CimError("has parts without a folder and sha256", where=str(folder / MANIFEST), hint="join them again")
    for part in named:
        folders.append(folder / part["folder"])
        files = (store.read_document(folders[-1] / MANIFEST) or {}).get("files")
        if not isinstance(files, dict) or digest(files) != part["sha256"]:
            what = "is not the part that was joined" if files else "no finished gallery here"
            hint = f"bring it back, or join the parts of {folder.name} again"
            raise CimError(what, where=str(folders[-1]), hint=hint)
    return folders or [folder]
