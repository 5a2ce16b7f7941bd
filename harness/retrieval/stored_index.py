"""Approximate indexes kept beside a gallery: built once, with their recall and the sha256 of the gallery they fit.

``indexes/<search>.faiss`` and ``indexes/<search>.json`` in the gallery's folder. Run with
``cim gallery index NAME --search faiss-ivf``; training and the reward server take a stored index where there is one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import store
from harness.errors import CimError
from harness.resources import data
from harness.retrieval.gallery import Gallery
from harness.retrieval.index import SAMPLE, SAMPLE_K, built, by_name, memory, require, searching
from harness.retrieval.search import Search

STORED = ("faiss-ivf", "faiss-hnsw")  # the others are exact, or live on a GPU
FOLDER = "indexes"


def of_gallery(name: str, gallery: Gallery) -> Search:
    """The search of this name in a gallery, by its stored index if it has one.

    Raises:
        CimError: as ``by_name``; or the stored index was damaged or made of another gallery.
    """
    require(name)
    path = (gallery.folder or Path()) / FOLDER / f"{name}.faiss"
    about = store.read_document(path.with_suffix(".json")) if gallery.folder and name in STORED else None
    if about is None:
        return by_name(name, gallery.text, gallery.text_fine)
    import faiss

    hint = f"cim gallery index {gallery.name} --search {name} --fresh"
    if about.get("gallery") != gallery.sha:
        raise CimError("was made of another gallery", where=str(path), hint=hint)
    if not path.is_file() or data.sha256(path) != about.get("sha256"):
        raise CimError("is not the index that was stored", where=str(path), hint=hint)
    recall = about.get("recall")
    if not isinstance(recall, float) or not 0 <= recall <= 1:
        raise CimError(f"has the recall {recall!r}", where=str(path.with_suffix(".json")), hint=hint)
    index = faiss.read_index(str(path))
    return searching(name, index, gallery.text, gallery.text_fine, recall)


def _write(faiss: Any, index: Any, path: Path) -> None:
    """Write an index, or nothing: faiss raises RuntimeError where the disk is full."""
    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:
        path.unlink(missing_ok=True)
        raise CimError("cannot be written", where=str(path), hint="check its rights and free space") from error


def build(name: str, gallery: Gallery, say: Callable[[str], None], *, fresh: bool = False) -> dict[str, Any]:
    """Build an index, measure its recall, store both, and return what is known of it; one that fits is kept.

    Raises:
        CimError: a search that has no index to store, no faiss, or an index of another gallery is in its place.
    """
    require(name)
    if name not in STORED or gallery.folder is None:
        raise CimError(f"search {name} keeps no index", hint=f"--search {' or '.join(STORED)}")
    path = gallery.folder / FOLDER / f"{name}.faiss"
    with store.writing(path.parent, "this index"):
        if fresh:
            path.with_suffix(".json").unlink(missing_ok=True)
        elif before := store.read_document(path.with_suffix(".json")):
            of_gallery(name, gallery)
            return before
        n, width = gallery.text.shape
        say(f"{name} of {n} rows of {width}: about {memory(name, n, width) / 1e9:.3f} GB of memory, as much on disk")
        import faiss

        start = time.monotonic()
        index = built(name, gallery.text)
        waiting = path.with_suffix(".tmp")
        _write(faiss, index, waiting)
        about = {
            "search": name,
            "gallery": gallery.sha,
            "recall": searching(name, index, gallery.text, gallery.text_fine).recall,
            "recall_at": SAMPLE_K,
            "recall_queries": min(SAMPLE, n),
            "bytes": waiting.stat().st_size,
            "seconds": round(time.monotonic() - start, 1),
            "sha256": data.sha256(waiting),
            "faiss": faiss.__version__,
        }
        waiting.replace(path)
        store.write_document(path.with_suffix(".json"), about)
    return about
