"""Search is exact: adversarial near-ties, ties by row, blocks, float16 scans, torch; shards equal the whole."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.errors import CimError
from harness.retrieval import index, rows, search


def unit(drawn: NDArray[Any]) -> NDArray[np.float32]:
    """Rows at unit length, float32."""
    return (drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)).astype(np.float32)


def near_ties(n: int = 4000, width: int = 96, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Queries, and rows of which hundreds lie within float16 rounding of each other, some equal."""
    drawn = np.random.default_rng(seed)
    queries = unit(drawn.normal(size=(20, width)))
    rows = unit(drawn.normal(size=(n, width)))
    for at in range(len(queries)):
        some = slice(100 * at, 100 * at + 90)
        rows[some] = unit(queries[at] + 0.3 * unit(drawn.normal(size=width)) + 1e-5 * drawn.normal(size=(90, width)))
        rows[100 * at + 60 : 100 * at + 70] = rows[100 * at + 3]
    return queries, rows[drawn.permutation(n)]


def brute(queries: NDArray[np.float32], rows: NDArray[Any], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Every inner product in float64, best first, ties by the lower row."""
    scores = (queries[:, None, :].astype(np.float64) * rows[None].astype(np.float64)).sum(-1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), order


@pytest.mark.parametrize("device", [None, "cpu"])
@pytest.mark.parametrize("k", [1, 3, 50])
def test_a_float16_scan_scored_again_gives_the_float32_order(device: str | None, k: int) -> None:
    if device:
        pytest.importorskip("torch")
    queries, rows = near_ties()
    half = rows.astype(np.float16)
    scores, order = brute(queries, rows, k)
    top = search.exact(half, rows, device=device, block=700).find(queries, k)
    assert top[1].tolist() == order.tolist() and np.array_equal(top[0], scores)
    assert brute(queries, half, k)[1].tolist() != order.tolist()  # so float16 alone would be wrong
    alone = search.exact(half, device=device, block=700).find(queries, k)
    assert alone[1].tolist() == brute(queries, half, k)[1].tolist()


def test_a_margin_of_sixteen_is_not_what_makes_it_exact() -> None:
    """Of 90 rows closer than float16 can tell, the scan's best 19 are not the best 3: the bound asks for more."""
    queries, rows = near_ties()
    half = rows.astype(np.float16)
    coarse = brute(queries, half, 3 + search.MARGIN)[1]
    best = brute(queries, rows, 3)[1]
    assert any(not set(fine) <= set(some) for fine, some in zip(best.tolist(), coarse.tolist(), strict=True))


def test_ties_go_to_the_lower_row_wherever_blocks_begin() -> None:
    rows = np.tile(unit(np.random.default_rng(1).normal(size=(1, 33))), (500, 1))
    for block in (1, 7, 64, 10_000):
        top = search.exact(rows, block=block).find(rows[:4], 6)
        assert top[1].tolist() == [[0, 1, 2, 3, 4, 5]] * 4


def test_blocks_and_batches_change_nothing() -> None:
    queries, rows = near_ties(seed=3)
    whole = search.exact(rows).find(queries, 5)
    for block in (64, 999):
        top = search.exact(rows, block=block).find(queries, 5)
        assert np.array_equal(top[0], whole[0]) and np.array_equal(top[1], whole[1])
    single = [search.exact(rows).find(queries[at : at + 1], 5)[1][0].tolist() for at in range(len(queries))]
    assert single == whole[1].tolist()


@pytest.mark.parametrize("name", ["exact", "exact-cpu", "faiss-flat"])
def test_joined_parts_equal_the_whole(name: str) -> None:
    pytest.importorskip({"exact": "numpy", "exact-cpu": "torch"}.get(name, "faiss"))
    queries, whole = near_ties(seed=4)
    half, cuts = whole.astype(np.float16), [0, 500, 517, 2900, len(whole)]
    parts = [rows.joined([matrix[a:b] for a, b in pairwise(cuts)]) for matrix in (half, whole)]
    scores, order = index.by_name(name, half, whole).find(queries, 7)
    top = index.by_name(name, *parts).find(queries, 7)
    assert np.array_equal(top[0], scores) and np.array_equal(top[1], order)
    assert len(np.unique(np.searchsorted(cuts, order, side="right"))) >= 3  # the best lie in several parts
    assert np.array_equal(parts[0][np.array([[-1, 516], [0, 517]])], half[np.array([[-1, 516], [0, 517]])])
    assert np.array_equal(parts[0][490:2901], half[490:2901]) and parts[0][9:9].shape == (0, 96)


@pytest.mark.parametrize("resident", [False, True])
def test_a_gpu_s_scan_in_blocks_finds_what_a_resident_one_does(resident: bool) -> None:
    """The code that streams blocks to a GPU, on the CPU: whether rows are kept on the device changes nothing."""
    pytest.importorskip("torch")
    queries, whole = near_ties(seed=8)
    half = whole.astype(np.float16)
    scan = search._torch_scan(half, "cpu", 300, resident)
    top = search.certain(scan, whole, search.scan_error(96, True, False))(queries, 5)
    assert top[1].tolist() == brute(queries, whole, 5)[1].tolist()


def test_the_scan_takes_memory_by_its_blocks_not_by_the_rows() -> None:
    queries, peaks = near_ties()[0], list[int]()
    for n in (20_000, 80_000):
        half = unit(np.random.default_rng(0).normal(size=(n, 96))).astype(np.float16)
        tracemalloc.start()
        search.exact(half, block=2000).find(queries, 3)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < half.nbytes


def test_ranks_are_those_of_the_fine_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, rows = near_ties(n=2500, seed=7)
    half, own_scores = rows.astype(np.float16), brute(queries, rows, 40)[1][:, 20]
    scores = (queries[:, None, :].astype(np.float64) * rows[None].astype(np.float64)).sum(-1)
    wanted = 1 + (scores > scores[np.arange(len(queries)), own_scores][:, None]).sum(axis=1)
    monkeypatch.setattr(search, "BLOCK", 300)
    assert search.ranks(half, rows, queries, own_scores).tolist() == wanted.tolist()
    assert len(set(wanted.tolist())) > 1


def test_all_rows_may_be_asked_for_but_no_more() -> None:
    queries, rows = near_ties(n=2000)
    top = search.exact(rows[:40], block=16).find(queries, 40)
    assert top[1].tolist() == brute(queries, rows[:40], 40)[1].tolist()
    with pytest.raises(CimError, match="the gallery has 40 rows, k is 41"):
        search.exact(rows[:40]).find(queries, 41)
    with pytest.raises(CimError, match="caption embeddings have 7 dimensions, the gallery's 96"):
        search.exact(rows).find(queries[:, :7], 3)
    queries[3, 2] = np.inf
    with pytest.raises(CimError, match="the embedding of caption 3 is not finite"):
        search.exact(rows).find(queries, 3)


def test_faiss_flat_is_equal_and_graphs_are_marked_with_their_recall() -> None:
    pytest.importorskip("faiss")
    queries, rows = near_ties(seed=5)
    order = brute(queries, rows, 3)[1]
    flat = index.by_name("faiss-flat", rows.astype(np.float16), rows)
    assert not flat.approximate and flat.recall is None
    assert flat.find(queries, 3)[1].tolist() == order.tolist()
    for name in ("faiss-ivf", "faiss-hnsw"):
        built = index.by_name(name, rows)
        assert built.approximate and built.name == name and built.recall is not None and 0.2 < built.recall <= 1
        top = built.find(queries, 3)
        assert (np.diff(top[0], axis=1) <= 0).all()
    with pytest.raises(CimError, match=r"unknown search 'faiss-flt'; one of exact, exact-cpu, exact-cuda, faiss-flat"):
        index.by_name("faiss-flt", rows)


def test_cagra_is_refused_without_a_gpu_build_and_measured_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake of the GPU classes, of the names that faiss gives them, stands for a build that is not here."""
    faiss = pytest.importorskip("faiss")
    rows = near_ties(seed=6)[1]
    if not hasattr(faiss, "GpuIndexCagra"):
        with pytest.raises(
            CimError, match=r"faiss-cagra cannot run here: this build of faiss has no cuVS; pip install"
        ):
            index.by_name("faiss-cagra", rows)

    class Graph:
        def __init__(self, resources: str, width: int, metric: int, config: str) -> None:
            assert (resources, metric, config) == ("resources", faiss.METRIC_INNER_PRODUCT, "config")
            self.inner = faiss.IndexFlatIP(width)

        def train(self, given: np.ndarray) -> None:
            self.inner.add(given)

        def search(self, given: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            scores, neighbours = self.inner.search(given, k)
            return scores, np.where(neighbours % 50 == 0, -1, neighbours)  # misses some rows

    monkeypatch.setattr(faiss, "GpuIndexCagra", Graph, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0, raising=False)
    with pytest.raises(CimError, match="faiss-cagra cannot run here: faiss finds no GPU"):
        index.by_name("faiss-cagra", rows)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "StandardGpuResources", lambda: "resources", raising=False)
    monkeypatch.setattr(faiss, "GpuIndexCagraConfig", lambda: "config", raising=False)
    built = index.by_name("faiss-cagra", rows)
    assert built.approximate and built.recall is not None and 0.2 < built.recall < 1
