"""A gallery that somebody published as files: brought by the address and sha256 of its manifest, which pins the rest.

``manifest.json`` names the sha256 of the other files, which lie beside it. Each is checked before it gets its name, the
manifest comes last, so an interrupted call leaves no gallery and the same command goes on. Run with
``cim gallery fetch NAME URL SHA256``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from harness import store
from harness.errors import CimError
from harness.resources import data, fetch
from harness.retrieval.gallery import IDS, IMAGE, MANIFEST, TEXT, TEXT_FINE, open_folder
from harness.types import Archive, Track, untracked

FILES = (IDS, TEXT, TEXT_FINE, IMAGE)  # a manifest may name these, and nothing else is written
SUM = re.compile(r"[0-9a-f]{64}")


def bring(folder: Path, url: str, sha256: str, say: Callable[[str], None], track: Track = untracked) -> None:
    """Bring a gallery into a folder, unless it is there.

    Raises:
        CimError: another gallery is there, the address cannot be reached, or bytes are not those that are pinned.
        BusyError: another process is bringing it.
    """
    if not url.startswith(("https://", "http://")) or not url.endswith(f"/{MANIFEST}"):
        raise CimError(f"{url[:200]!r} is no address of a {MANIFEST}", hint=f"https://.../{MANIFEST}")
    if not SUM.fullmatch(sha256):
        raise CimError(f"{sha256[:80]!r} is no sha256", hint=f"64 hex digits: sha256sum {MANIFEST}")
    if (folder / MANIFEST).is_file():
        if data.sha256(folder / MANIFEST) != sha256:
            raise CimError("another gallery is here", where=str(folder), hint="another name, or delete it")
        say(f"{folder.name} is here: `cim gallery verify {folder.name}` reads every byte")
        return
    with store.writing(folder, "this gallery"):
        waiting = folder / f".{MANIFEST}"
        _file(waiting, url, sha256, say, track)
        content = store.read_document(waiting) or {}
        if "parts" in content:
            raise CimError("is of a gallery in parts", where=url, hint="fetch each part, then cim gallery join")
        listed = content.get("files")
        if not isinstance(listed, dict) or not {IDS, TEXT, IMAGE} <= listed.keys() <= {*FILES}:
            raise CimError(f"is no manifest of a gallery: its files are not {', '.join(FILES)}", where=url)
        for name in sorted(listed):
            _file(folder / name, url.removesuffix(MANIFEST) + name, str(listed[name]), say, track)
        waiting.replace(folder / MANIFEST)
    try:
        opened = open_folder(folder)
    except CimError:
        (folder / MANIFEST).unlink()
        raise
    say(f"{len(opened)} rows in {folder}, sha256 {opened.sha}")


def _file(path: Path, url: str, sha256: str, say: Callable[[str], None], track: Track) -> None:
    if path.is_file() and data.sha256(path) == sha256:
        return
    say(f"fetching {url}")
    archive = Archive(url=url, bytes=0, sha256=None, member=lambda _: "", licence="", source="", kept=0.0)
    fetch.download(archive, path.parent, say, track)
    part = path.parent / fetch.PART
    if (digest := data.sha256(part)) != sha256:
        part.unlink()
        raise CimError(f"{url} sent other bytes than are pinned", where=f"sha256 {digest}", hint="ask who published it")
    part.replace(path)
    (path.parent / fetch.STATE).unlink(missing_ok=True)
