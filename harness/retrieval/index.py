"""Search by name: exact, or a faiss index (flat; or IVF, HNSW, CAGRA: approximate, with their measured recall).

Needs ``faiss-cpu`` or ``faiss-gpu``; CAGRA needs a build with cuVS and a GPU, and was never run. An approximate index
may miss rows, so it is for galleries too large to scan; its results are scored again in float64, which corrects
their order but restores no missed row.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import CimError
from harness.resources import devices
from harness.retrieval.search import (
    BLOCK,
    MARGIN,
    Find,
    Search,
    best_first,
    certain,
    check_queries,
    exact,
    fine,
    scan_error,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.retrieval.rows import Matrix
    from harness.retrieval.search import Floats, Rows

NAMES = ("exact", "exact-cpu", "exact-cuda", "faiss-flat", "faiss-ivf", "faiss-hnsw", "faiss-cagra")
LINKS = 32  # of a row of faiss-hnsw in every layer but the lowest, which has twice as many
TRAINED, SAMPLED = 40, 64  # fewest rows a list of faiss-ivf, and rows a list from which the lists are made
SAMPLE, SAMPLE_K = 256, 3  # gallery rows used as queries to measure recall, and how deep


def require(name: str) -> None:
    """CimError unless there is such a search and it can run here."""
    if name not in NAMES:
        raise CimError(f"unknown search {name!r}", hint=f"one of {', '.join(NAMES)}")
    if name.startswith("faiss") and importlib.util.find_spec("faiss") is None:
        raise CimError(f"search {name} needs faiss", hint="pip install faiss-cpu; or --search exact")
    if name == "exact-cuda" and devices.torch_device() == "cpu":
        raise CimError("search exact-cuda finds no GPU that torch can use", hint="--search exact")


def by_name(name: str, text: Matrix, stored: Matrix | None = None) -> Search:
    """The search of this name in rows ``text``; ``stored`` are the rows at the precision of the exact score.

    Raises:
        CimError: no such search, its library is not installed, or no GPU answers for ``exact-cuda``.
    """
    require(name)
    if name.startswith("faiss"):
        return searching(name, built(name, text), text, stored)
    device = devices.torch_device() if name == "exact-cuda" else None if name == "exact" else "cpu"
    return exact(text, stored, device=device)


def memory(name: str, n: int, width: int) -> int:
    """Bytes of an index of rows (n, width), by arithmetic; 0 for exact search, whose rows stay in the file."""
    links = {"faiss-ivf": 8, "faiss-hnsw": 4 * (2 * LINKS + 1) + 12, "faiss-cagra": 4 * 64}
    if not name.startswith("faiss"):
        return 0
    return n * (4 * width + links.get(name, 0)) + (4 * width * _lists(n) if name == "faiss-ivf" else 0)


def _lists(n: int) -> int:
    return max(1, min(int(4 * n**0.5), n // TRAINED))


def built(name: str, text: Matrix) -> Any:
    """A faiss index of rows (N, d), float32, filled block by block so that no second copy of the rows is made."""
    import faiss

    n, width = text.shape
    index: Any
    if name == "faiss-flat":
        index = faiss.IndexFlatIP(width)
    elif name == "faiss-ivf":
        lists = _lists(n)
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, lists, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = max(1, lists // 16)
        sample = np.sort(np.random.default_rng(0).choice(n, min(n, SAMPLED * lists), replace=False))
        index.train(np.ascontiguousarray(text[sample], dtype=np.float32))
    elif name == "faiss-cagra":  # its graph is built of what it is trained on
        return _cagra(faiss, np.ascontiguousarray(text[:], dtype=np.float32))
    else:
        index = faiss.IndexHNSWFlat(width, LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = 200, 128
    for start in range(0, n, BLOCK):
        index.add(np.ascontiguousarray(text[start : start + BLOCK], dtype=np.float32))
    return index


def searching(name: str, index: Any, text: Matrix, stored: Matrix | None, recall: float | None = None) -> Search:
    """Search through a faiss index; the recall of an approximate one is measured against exact search, if not given."""
    truth = text if stored is None else stored
    if name == "faiss-flat":
        return Search(name, certain(index.search, truth, scan_error(text.shape[1], stored is not None, False)))
    find = _approximate(index, truth)
    return Search(name, find, _recall(find, text, stored) if recall is None else recall)


def _cagra(faiss: Any, rows: NDArray[np.float32]) -> Any:
    """A graph on the GPU (arXiv 2308.15136), trained on all rows at once.

    Raises:
        CimError: this faiss was built without cuVS, or no GPU answers.
    """
    cagra = getattr(faiss, "GpuIndexCagra", None)
    if cagra is None or faiss.get_num_gpus() == 0:
        what = "this build of faiss has no cuVS" if cagra is None else "faiss finds no GPU"
        hint = "pip install faiss-gpu-cuvs on a machine with a GPU; or --search faiss-hnsw"
        raise CimError(f"search faiss-cagra cannot run here: {what}", hint=hint)
    index = cagra(faiss.StandardGpuResources(), rows.shape[1], faiss.METRIC_INNER_PRODUCT, faiss.GpuIndexCagraConfig())
    index.train(rows)
    return index


def _approximate(index: Any, stored: Matrix) -> Find:
    def find(queries: NDArray[np.float32], k: int) -> tuple[Floats, Rows]:
        check_queries(queries, stored.shape[1])
        rows = index.search(np.ascontiguousarray(queries, dtype=np.float32), min(len(stored), k + MARGIN))[1]
        scores = np.where(rows < 0, -np.inf, fine(queries, stored, np.maximum(rows, 0)))
        return best_first(scores, rows, k)

    return find


def _recall(find: Find, text: Matrix, stored: Matrix | None) -> float:
    """Share of the exact nearest rows that the index finds; the query row itself, always found, does not count."""
    n = len(text)
    sample = np.random.default_rng(0).choice(n, min(SAMPLE, n), replace=False)
    queries, k = np.asarray(text[sample], dtype=np.float32), min(n, SAMPLE_K + 1)
    exact_rows, index_rows = exact(text, stored).find(queries, k)[1], find(queries, k)[1]
    pairs = [
        (set(nearest.tolist()) - {row}, set(returned.tolist()))
        for nearest, returned, row in zip(exact_rows, index_rows, sample.tolist(), strict=True)
    ]
    hits = sum(len(nearest & returned) for nearest, returned in pairs)
    return hits / max(1, sum(len(nearest) for nearest, _ in pairs))
