"""One gallery of several that stay where they are: a manifest that names them, with the sums of the merged files.

Its rows, scores and sha256 are those of the gallery that one build of all the parts' sources, in this order, makes:
nothing is copied, every byte is read once. Run with ``cim gallery join NAME PART PART ...``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import store
from harness.errors import CimError
from harness.retrieval.gallery import IDS, MANIFEST, digest, open_folder
from harness.retrieval.merge import repeats
from harness.retrieval.rows import sha256

ALIKE = ("format", "text_encoder", "image_encoder", "dims", "fine", "dedupe")


def join(folder: Path, parts: Sequence[Path]) -> dict[str, Any]:
    """Write the manifest of a gallery in parts, and return it.

    Raises:
        CimError: fewer than two parts, one that is in parts itself, other encoders or settings, one id for two
            different images, a repeated pair where the parts have none, or another gallery in the folder.
    """
    if len(parts) < 2:
        raise CimError(f"{len(parts)} part", hint="cim gallery join NAME PART PART ...")
    manifests = [dict(open_folder(part).manifest) for part in parts]
    for part, manifest in zip(parts, manifests, strict=True):
        if "parts" in manifest:
            raise CimError("is in parts itself", where=str(part), hint="name its parts instead")
        if differing := [name for name in (*ALIKE, "files") if _alike(manifest, name) != _alike(manifests[0], name)]:
            what = f"was built with other {', '.join(differing)} than {parts[0]}"
            raise CimError(what, where=str(part), hint="build it as the others were")
    repeated, pairs = repeats([row for part in parts for row in store.read_rows(part / IDS)])
    if manifests[0].get("dedupe") and pairs:
        what = f"{len(pairs)} pairs of one part are in another, though the parts leave out such pairs"
        raise CimError(what, where=str(folder), hint="build the parts without --dedupe, or of disjoint sources")
    files = {name: sha256([part / name for part in parts]) for name in manifests[0]["files"]}
    dropped = sum(manifest.get("repeats", {}).get("dropped", 0) for manifest in manifests)
    content = {
        **{name: manifests[0][name] for name in ALIKE if name in manifests[0]},
        "sources": [source for manifest in manifests for source in manifest.get("sources", ())],
        "benchmarks": {name: text for manifest in manifests for name, text in manifest.get("benchmarks", {}).items()},
        "n": sum(manifest["n"] for manifest in manifests),
        "repeats": {**repeated, "dropped": dropped},
        **{name: sum(manifest.get(name, 0) for manifest in manifests) for name in ("read", "left_out")},
        "sha256": digest(files),
        "files": files,
        "parts": [
            {"folder": os.path.relpath(part.resolve(), folder.resolve()), "sha256": digest(manifest["files"])}
            for part, manifest in zip(parts, manifests, strict=True)
        ],
    }
    with store.writing(folder, "this gallery"):
        before = store.read_document(folder / MANIFEST)
        if before is not None and before.get("sha256") != content["sha256"]:
            raise CimError("another gallery is here", where=str(folder), hint="give it another name, or delete it")
        store.write_document(folder / MANIFEST, content)
    return content


def _alike(manifest: dict[str, Any], name: str) -> Any:
    return sorted(manifest["files"]) if name == "files" else manifest.get(name)
