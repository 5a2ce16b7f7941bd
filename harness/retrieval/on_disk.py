"""The manifest of a gallery as it is read from a disk, and the sums of the files that it names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import store
from harness.errors import CimError
from harness.resources import data
from harness.runs import form

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
