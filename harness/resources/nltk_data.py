"""NLTK's English sentence splitter and part-of-speech tagger: found where NLTK looks, or brought and checked.

``punkt_tab`` and ``averaged_perceptron_tagger_eng`` decide where a caption's sentences end and which of its words
are nouns. Archives are checked against the sums of NLTK's index; the sums of the files that are here enter the
settings of the parser that reads them. A folder that holds the file ``TRAINED_FOR_TESTS`` is named ``test`` there.

Run: ``.venv/bin/python -m harness.resources.nltk_data``
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from harness.errors import CimError
from harness.resources import wordnet

COMMAND = ".venv/bin/python -m harness.resources.nltk_data"
FOR_TESTS = "TRAINED_FOR_TESTS"


@dataclass(frozen=True, slots=True)
class Resource:
    """A package of NLTK's data: its name, where it lies below a folder of NLTK's data, and the files that are read."""

    name: str
    place: Path
    files: tuple[str, ...]


PUNKT = Resource(
    "punkt_tab",
    Path("tokenizers/punkt_tab/english"),
    ("abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt"),
)
TAGGER = Resource(
    "averaged_perceptron_tagger_eng",
    Path("taggers/averaged_perceptron_tagger_eng"),
    tuple(f"averaged_perceptron_tagger_eng.{part}.json" for part in ("weights", "tagdict", "classes")),
)
RESOURCES = (PUNKT, TAGGER)


def root(resource: Resource) -> Path | None:
    """The first folder of NLTK's data that holds all files of a resource, or None."""
    return next((path for path in wordnet.search_path() if _holds(path / resource.place, resource)), None)


def missing() -> str | None:
    """Which resources are not here and the command that brings them; None where all are."""
    lacking = [resource.name for resource in RESOURCES if root(resource) is None]
    return f"NLTK's {' and '.join(lacking)} not on this machine: {COMMAND}" if lacking else None


def settings() -> dict[str, str]:
    """What identifies each resource here: 12 digits of its files' sha256, ``test``, or ``absent``."""
    return {resource.name: _identity(resource) for resource in RESOURCES}


def _identity(resource: Resource) -> str:
    folder = root(resource)
    if folder is None:
        return "absent"
    if (folder / resource.place / FOR_TESTS).is_file():
        return "test"
    paths = [folder / resource.place / name for name in resource.files]
    return _checksum(tuple(paths), tuple(path.stat().st_mtime_ns for path in paths))


@lru_cache(maxsize=16)
def _checksum(paths: tuple[Path, ...], _changed: tuple[int, ...]) -> str:
    digest = sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0" + sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def fetch(resources: Sequence[Resource] = RESOURCES) -> Iterator[Path]:
    """The folder of each resource, brought where it is not here (``wordnet.nltk_download``) and put in place whole.

    Raises:
        CimError: no source can be reached, or one sends something else.
    """
    home = Path(sys.prefix) / "nltk_data"
    for resource in resources:
        folder = root(resource)
        if folder is None:
            _bring(resource, home)
        yield (folder or home) / resource.place


def _bring(resource: Resource, home: Path) -> None:
    target = home / resource.place
    try:
        home.mkdir(parents=True, exist_ok=True)
        # Beside its final place, so that the last step is one rename.
        with tempfile.TemporaryDirectory(dir=home, prefix=".nltk-") as temporary:
            wordnet.nltk_download(resource.name, Path(temporary))
            staged = Path(temporary) / resource.place
            _check(staged, resource)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                target.replace(Path(temporary) / "incomplete")
            staged.replace(target)
    except (CimError, subprocess.SubprocessError, OSError) as error:
        hint = (
            f"the same command tries again, or unpack NLTK's {resource.name}.zip into {home / resource.place.parts[0]}"
        )
        raise CimError(f"{resource.name} could not be brought ({error})", hint=hint) from error


def _check(folder: Path, resource: Resource) -> None:
    """CimError unless the files are there and the tables of a tagger can be read."""
    if not _holds(folder, resource):
        raise CimError("files are missing from what was sent")
    for name in resource.files:
        if name.endswith(".json"):
            try:
                json.loads((folder / name).read_bytes())
            except ValueError as error:
                raise CimError(f"{name} is not readable JSON") from error


def _holds(folder: Path, resource: Resource) -> bool:
    return all((folder / name).is_file() for name in resource.files)


def main() -> int:
    """Brings what is missing and says where it is; 2 and one line on standard error where that fails."""
    try:
        for folder in fetch():
            print(f"NLTK's data: {folder}")
    except CimError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
