"""Where WordNet 3.0 for NLTK comes from: found where NLTK looks, or brought, checked and put in place.

Accepted is what calls itself WordNet 3.0 and holds its 117,659 synsets. NLTK's archive and Debian's packages
agree in that; their bytes may differ, so ``checksum`` enters every signature.

Run: ``.venv/bin/python -m harness.resources.wordnet``
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from harness.errors import CimError
from harness.resources import packaged

COMMAND = ".venv/bin/python -m harness.resources.wordnet"
# Synsets of each part of speech in WordNet 3.0, counted in Debian's files (117,659 in all).
SYNSETS = {"adj": 18_156, "adv": 3_621, "noun": 82_115, "verb": 13_767}
# Debian wordnet-base 1:3.0-37, measured.
DEBIAN_SHA256 = {
    "data.adj": "c89120dfc1f046ddff4a631bf9b7e9fa1a36b5e86565a23bf82dbe14f30b88a7",
    "data.adv": "444a63bf3955080ab7524f5079cfc07ff9bc682cb98bdb1db73b0fb9829f1139",
    "data.noun": "fea17d2f9656611334eac790e5d69e47645fa180c4aa481fb4cd9b3520754ca2",
    "data.verb": "adcf43e35b581e8036d8b5a52d63d9cd3d3b4870b2720d3c03c799df44777bc2",
}
DEBIAN_PACKAGES = ("wordnet-base", "wordnet-sense-index")
DEBIAN_FOLDER = Path("usr/share/wordnet")
DPKG_STATUS = "/var/lib/dpkg/status"
# What decides which words are synonyms (morphological exceptions included), then what NLTK also opens.
DECISIVE = tuple(sorted(f"{kind}.{pos}" for kind in ("data", "index") for pos in SYNSETS)) + tuple(
    f"{pos}.exc" for pos in sorted(SYNSETS)
)
FILES = (*DECISIVE, "cntlist.rev", "index.sense", "lexnames")
# lexnames(5WN): the lexicographer files in order of their numbers, which Debian's packages only document.
LEXNAMES = (
    "adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute noun.body noun.cognition "
    "noun.communication noun.event noun.feeling noun.food noun.group noun.location noun.motive noun.object "
    "noun.person noun.phenomenon noun.plant noun.possession noun.process noun.quantity noun.relation noun.shape "
    "noun.state noun.substance noun.time verb.body verb.change verb.cognition verb.communication verb.competition "
    "verb.consumption verb.contact verb.creation verb.emotion verb.motion verb.perception verb.possession "
    "verb.social verb.stative verb.weather adj.ppl"
)
CATEGORY = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}
SERVER, TIMEOUT = "https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/packages", 20
# Folder and SHA-256 of NLTK's archives, as its index.xml lists them. The server could not be reached where this was
# written; the sum of punkt_tab is that of the copy in PyPI's llama-index-core 0.14.25.
ARCHIVES = {
    "wordnet": ("corpora", "cbda5ea6eef7f36a97a43d4a75f85e07fccbb4f23657d27b4ccbc93e2646ab59"),
    "punkt_tab": ("tokenizers", "e57f64187974277726a3417ca6f181ec5403676c717672eef6a748a7b20e0106"),
    "averaged_perceptron_tagger_eng": (
        "taggers",
        "6025f530624335c67d6547d44757b357b4e79bae030a0383e9887a92c1718f0b",
    ),
}
WHEELS = {"punkt_tab": packaged.PUNKT_WHEEL}


def search_path() -> list[Path]:
    """The folders of ``nltk.data.path`` on Linux and macOS, in its order (nltk 3.10.4, nltk/data.py)."""
    named = [Path(part).expanduser() for part in os.environ.get("NLTK_DATA", "").split(os.pathsep) if part]
    prefix = Path(sys.prefix)
    inside = [Path("~/nltk_data").expanduser(), *(prefix / part for part in ("nltk_data", "share/nltk_data"))]
    system = [Path(part) / "nltk_data" for part in ("/usr/share", "/usr/local/share", "/usr/lib", "/usr/local/lib")]
    return [*named, *inside, prefix / "lib" / "nltk_data", *system]


def folder() -> Path | None:
    """The first folder NLTK looks into that holds all of WordNet's files, or None."""
    candidates = (path / "corpora" / "wordnet" for path in search_path())
    return next((path for path in candidates if _holds(path, FILES)), None)


def missing_wordnet() -> str | None:
    """Why WordNet cannot be used and the command that brings it; None where it is there."""
    return None if folder() else f"WordNet 3.0 is not on this machine: {COMMAND}"


def checksum() -> str:
    """The first 12 hex digits of a sha256 over names and bytes of the files that decide on synonyms.

    Raises:
        CimError: WordNet is not on this machine.
    """
    place = folder()
    if place is None:
        raise CimError("WordNet 3.0 is not on this machine", hint=f"run {COMMAND}")
    return _checksum(place)


@cache
def _checksum(place: Path) -> str:
    digest = hashlib.sha256()
    for name in DECISIVE:
        digest.update(name.encode() + b"\0")
        digest.update(bytes.fromhex(_sha256(place / name)))
    return digest.hexdigest()[:12]


def fetch() -> Path:
    """WordNet's folder, brought from the first source that has it and put in place whole.

    Sources in order: NLTK's server, Debian's packages as installed, the same as a download (needs no root).

    Raises:
        CimError: no source has it; names each source's reason and what to do.
    """
    place = folder()
    if place is not None:
        return place
    home = Path(sys.prefix) / "nltk_data" / "corpora"
    reasons = []
    try:
        home.mkdir(parents=True, exist_ok=True)
        for name, source in SOURCES.items():
            # Beside its final place, so that the last step is one rename.
            with tempfile.TemporaryDirectory(dir=home, prefix=".wordnet-") as temporary:
                try:
                    return _put(source(Path(temporary)), home / "wordnet")
                except (CimError, subprocess.SubprocessError) as error:
                    reasons.append(f"{name}: {error}")
    except OSError as error:
        reasons.append(f"{home}: {error.strerror or error}")
    todo = (
        f"unpack NLTK's wordnet.zip into {home}, or sudo apt-get install {' '.join(DEBIAN_PACKAGES)} and run {COMMAND}"
    )
    raise CimError(f"WordNet 3.0 could not be brought ({'; '.join(reasons)})", hint=todo)


def nltk_download(package: str, temporary: Path) -> None:
    """Bring an archive of NLTK's data, check its SHA-256 and unpack it under ``temporary/<folder>/<package>``.

    It comes from NLTK's server, else from a wheel of PyPI that holds the same bytes, where one is known.

    Raises:
        CimError: no source can be reached, or sent something else.
    """
    folder, sha256 = ARCHIVES[package]
    try:
        _from_server(package, temporary / folder)
    except CimError as error:
        if package not in WHEELS:
            raise
        try:
            with packaged.brought(WHEELS[package]) as place:
                _unpack(place / f"{package}.zip", sha256, temporary / folder)
        except CimError as second:
            raise CimError(f"{error}; {second}") from second


def _unpack(archive: Path, sha256: str, target: Path) -> None:
    if not archive.is_file() or _sha256(archive) != sha256:
        raise CimError("is not the archive of NLTK's index", where=archive.name)
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(target)


def _from_server(package: str, target: Path) -> None:
    import pooch

    folder, sha256 = ARCHIVES[package]
    pooch.get_logger().setLevel("ERROR")
    downloader = pooch.HTTPDownloader(timeout=TIMEOUT)
    url = f"{SERVER}/{folder}/{package}.zip"
    try:
        archive = pooch.retrieve(url, f"sha256:{sha256}", f"{package}.zip", target, downloader=downloader)
        _unpack(Path(archive), sha256, target)
    except (
        OSError,
        ValueError,
        zipfile.BadZipFile,
    ) as error:  # a wrong sum is a ValueError
        raise CimError(f"{url}: {' '.join(str(error).split())[:200]}") from error


def _from_nltk(temporary: Path) -> Path:
    nltk_download("wordnet", temporary)
    return temporary / "corpora" / "wordnet"


def _from_debian_system(temporary: Path) -> Path:
    """Debian's installed packages."""
    return _from_debian(Path("/") / DEBIAN_FOLDER, temporary)


def _from_debian_download(temporary: Path) -> Path:
    """Debian's packages, downloaded and unpacked by an ordinary user, also where the machine has no package lists."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise CimError("no apt-get here")
    download = ["download", *DEBIAN_PACKAGES]
    try:
        _run(["apt-get", "-q", *download], temporary)
    except CimError:
        for part in ("state/lists/partial", "cache/archives/partial"):
            (temporary / part).mkdir(parents=True)
        folders = f"Dir::State={temporary}/state", f"Dir::Cache={temporary}/cache", f"Dir::State::status={DPKG_STATUS}"
        options = [word for setting in (*folders, "Debug::NoLocking=1") for word in ("-o", setting)]
        _run(["apt-get", "-q", *options, "update"], temporary)
        _run(["apt-get", "-q", *options, *download], temporary)
    for package in temporary.glob("wordnet-*.deb"):
        _run(["dpkg", "-x", str(package), str(temporary / "unpacked")], temporary)
    return _from_debian(temporary / "unpacked" / DEBIAN_FOLDER, temporary)


def _from_debian(source: Path, temporary: Path) -> Path:
    names = [name for name in FILES if name != "lexnames"]
    if not _holds(source, names):
        raise CimError(f"the packages {' and '.join(DEBIAN_PACKAGES)} are not installed")
    staged = temporary / "staged"
    staged.mkdir()
    for name in names:
        shutil.copyfile(source / name, staged / name)
    for name, expected in DEBIAN_SHA256.items():
        if _sha256(staged / name) != expected:
            raise CimError(f"{name} is not that of wordnet-base 1:3.0-37")
    lines = [f"{number:02d}\t{name}\t{CATEGORY[name.split('.')[0]]}\n" for number, name in enumerate(LEXNAMES.split())]
    (staged / "lexnames").write_text("".join(lines), encoding="ascii")
    return staged


SOURCES: dict[str, Callable[[Path], Path]] = {
    "NLTK's server": _from_nltk,
    "Debian, installed": _from_debian_system,
    "Debian, download": _from_debian_download,
}


def _put(staged: Path, target: Path) -> Path:
    """Checks what was brought and moves it to its place, over whatever incomplete copy is there."""
    if not _holds(staged, FILES):
        raise CimError("files are missing")
    for pos, count in SYNSETS.items():
        text = (staged / f"data.{pos}").read_bytes()
        synsets = sum(not line.startswith(b"  ") for line in text.splitlines())
        if b"WordNet 3.0 Copyright" not in text[:4096] or synsets != count:
            raise CimError(f"data.{pos} is not WordNet 3.0: {synsets} synsets, expected {count}")
    if target.exists():
        target.replace(staged.parent / "incomplete")
    return staged.replace(target)


def _holds(path: Path, names: Sequence[str]) -> bool:
    return all((path / name).is_file() for name in names)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _run(command: list[str], working: Path) -> None:
    """Runs a command quietly, 5 minutes at most; raises CimError with the end of what it said."""
    done = subprocess.run(
        command,
        cwd=working,
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
    )
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise CimError(f"{Path(command[0]).name} failed: {said[-200:] or f'exit {done.returncode}'}")


def main() -> int:
    """Brings WordNet and says where it is; 2 and one line on standard error where that fails."""
    try:
        print(f"WordNet 3.0: {fetch()}")
    except CimError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
