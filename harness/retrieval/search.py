"""Exact search for the K most similar rows: a coarse scan by blocks, then an exact score of its results.

The scan keeps the best K + 16 rows per query by similarities that are off by at most ``error``; these rows are scored
again in float64 from the stored ones. If the K-th exact score is not above everything the scan left out, by that
bound, the query is scanned again for more rows. The result is therefore the exact order of float64 inner
products, ties by the lower row, whatever the block size, the precision of the scan or the number of shards; no
(queries, rows) matrix is ever stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import CimError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.retrieval.rows import Matrix

    Floats = NDArray[np.float64]
    Rows = NDArray[np.int64]

MARGIN = 16  # rows fetched beyond K
BLOCK = 16384  # gallery rows per step of the scan
FIRST = 128  # gallery rows of the first step
QUERIES = 256  # queries per step of the scan, whose scores then take 16 MB
GATHER = 1 << 22  # numbers gathered at once for the exact score
SHARE = 0.8  # of a GPU's free memory that rows may fill; larger galleries are copied there block by block

Scan = Callable[["NDArray[np.float32]", int], "tuple[NDArray[np.float32], Rows]"]
Find = Callable[["NDArray[np.float32]", int], "tuple[Floats, Rows]"]


@dataclass(frozen=True, slots=True)
class Search:
    """``find(queries (n, d), k)`` gives similarities (n, k), best first, and rows (n, k).

    ``recall`` is set for an index that may miss rows: its recall at K on sample queries. The name enters
    every signature.
    """

    name: str
    find: Find
    recall: float | None = None

    @property
    def label(self) -> str:
        """The name and, of an approximate search, its recall, as in signatures."""
        return self.name + (f" approximate recall {self.recall:.3f}" if self.recall is not None else "")

    @property
    def approximate(self) -> bool:
        """Whether rows may be missed."""
        return self.recall is not None


def best_first(similarities: NDArray[Any], rows: Rows, k: int) -> tuple[NDArray[Any], Rows]:
    """The best ``k`` of each line, best first, ties by the lower row."""
    order = np.lexsort((rows, -similarities), axis=-1)[:, :k]
    return np.take_along_axis(similarities, order, 1), np.take_along_axis(rows, order, 1)


def fine(queries: NDArray[np.float32], stored: Matrix, rows: Rows) -> Floats:
    """Inner products (n, m) of each query with its rows, one sum per pair, so that equal rows score equally."""
    products = np.empty(rows.shape)
    step = max(1, GATHER // max(1, rows.shape[1] * stored.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        gathered = stored[rows[part]].astype(np.float64)
        products[part] = (gathered * queries[part, None, :].astype(np.float64)).sum(axis=-1)
    return products


def check_queries(queries: NDArray[np.float32], width: int) -> None:
    """CimError unless queries are finite and of the gallery's width."""
    if queries.ndim != 2 or queries.shape[1] != width:
        dimensions = queries.shape[1] if queries.ndim == 2 else "no"
        hint = "take the text encoder that the gallery was built with"
        raise CimError(f"caption embeddings have {dimensions} dimensions, the gallery's {width}", hint=hint)
    bad = np.flatnonzero(~np.isfinite(queries).all(axis=1))
    if bad.size:
        raise CimError(f"the embedding of caption {bad[0]} is not finite ({bad.size} in all)", hint="check the encoder")


def exact(text: Matrix, stored: Matrix | None = None, *, device: str | None = None, block: int = BLOCK) -> Search:
    """Exact search in rows (N, d).

    Args:
        text: what is scanned, float16 or float32.
        stored: the same rows at the precision of the exact score; ``text`` if None.
        device: numpy if None, else torch on this device (``cpu``, ``cuda``, ``cuda:1``).
        block: rows per step.
    """
    scan = _numpy_scan(text, block) if device is None else _torch_scan(text, device, block)
    on_gpu = device is not None and device != "cpu"
    error = scan_error(text.shape[1], stored is not None or (on_gpu and text.dtype != np.float16), on_gpu)
    name = "exact" if device is None else f"exact-{device.partition(':')[0]}"
    return Search(name, certain(scan, text if stored is None else stored, error))


def certain(scan: Scan, stored: Matrix, error: float) -> Find:
    """Find the exact best rows with a scan whose scores are off by at most ``error``."""
    n, width = stored.shape

    def find(queries: NDArray[np.float32], k: int) -> tuple[Floats, Rows]:
        check_queries(queries, width)
        if k > n:
            raise CimError(f"the gallery has {n} rows, k is {k}", hint="build a larger one or lower k")
        similarities, rows = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int64)
        open_, fetch = np.arange(len(queries)), min(n, k + MARGIN)
        while open_.size:
            coarse, candidates = scan(queries[open_], fetch)
            scored, chosen = best_first(fine(queries[open_], stored, candidates), candidates, k)
            similarities[open_], rows[open_] = scored, chosen
            settled = scored[:, -1] > coarse.min(axis=1).astype(np.float64) + error
            open_ = open_[~settled] if fetch < n else open_[:0]
            fetch = min(n, 4 * fetch)
        return similarities, rows

    return find


def ranks(text: Matrix, stored: Matrix, queries: NDArray[np.float32], own_rows: Rows) -> Rows:
    """Rank (n,) of each query's own row: 1 + the number of rows strictly more similar, so that ties do not count."""
    check_queries(queries, text.shape[1])
    target = fine(queries, stored, own_rows[:, None])[:, 0]
    error, above = scan_error(text.shape[1], text is not stored, False), np.zeros(len(queries), dtype=np.int64)
    steps = ((start, min(len(text), start + BLOCK)) for start in range(0, len(text), BLOCK))
    for start, part in _float32(text, steps, BLOCK):
        for first in range(0, len(queries), QUERIES):
            some = slice(first, first + QUERIES)
            gap = queries[some] @ part.T - target[some, None]
            _not_finite(start, gap[0])
            above[some] += (gap > error).sum(axis=1)
            query, row = np.nonzero(np.abs(gap) <= error)  # within the error of the scan: decided by the exact score
            close = fine(queries[first + query], stored, start + row[:, None])[:, 0]
            np.add.at(above, first + query, close > target[first + query])
    return above + 1


def scan_error(width: int, rounded: bool, on_gpu: bool) -> float:
    """Bound on |scanned - fine| of L2-normalised embeddings (Cauchy-Schwarz): rounding of rows, queries and sum."""
    half = 2.0**-11 + width**0.5 * 2.0**-25
    return 1.01 * (width * 2.0**-24 + (half if rounded else 0.0) + (4 * half if on_gpu else 0.0))


def _not_finite(start: int, scores: NDArray[Any]) -> None:
    """A row that is not finite spoils its score with any finite query, so one query's scores show it."""
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        raise CimError(f"gallery row {start + bad[0]} is not finite", hint="cim gallery verify, then build it again")


def _numpy_scan(text: Matrix, block: int) -> Scan:
    def scan(queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], Rows]:
        best = np.full((len(queries), k), -np.inf, dtype=np.float32)
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        products = np.empty((min(QUERIES, len(queries)), min(block, len(text))), dtype=np.float32)
        for start, part in _float32(text, _blocks(len(text), block, k), block):
            for first in range(0, len(queries), QUERIES):
                some = slice(first, first + QUERIES)
                scores = products[: len(queries[some]), : len(part)]
                np.matmul(queries[some], part.T, out=scores)
                _not_finite(start, scores[0])
                above = scores > best[some].min(axis=1)[:, None]
                best[some], rows[some] = _merged(best[some], rows[some], *_chosen(scores, above), start)
        return best, rows

    return scan


def _blocks(n: int, block: int, k: int) -> Iterator[tuple[int, int]]:
    """Blocks of rows, each four times the one before: the better the current best, the fewer later rows enter."""
    start, step = 0, min(block, max(FIRST, 8 * k))
    while start < n:
        yield start, min(n, start + step)
        start, step = start + step, min(block, 4 * step)


def _float32(text: Matrix, steps: Iterable[tuple[int, int]], block: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """First row and float32 rows of each step; one buffer serves all, as new memory costs more than the conversion."""
    converted = None if text.dtype == np.float32 else np.empty((min(block, len(text)), text.shape[1]), dtype=np.float32)
    for start, end in steps:
        rows = text[start:end]
        if converted is not None:
            np.copyto(converted[: end - start], rows)
            rows = converted[: end - start]
        yield start, rows


def _chosen(scores: NDArray[np.float32], above: NDArray[np.bool_]) -> tuple[NDArray[np.float32], Rows]:
    """Scores marked ``above`` and their columns as matrices, padded with -inf to the longest line."""
    query, column = np.divmod(np.flatnonzero(above), scores.shape[1])
    counts = np.bincount(query, minlength=len(scores))
    place = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
    padded = np.full((len(scores), int(counts.max())), -np.inf, dtype=np.float32)
    columns = np.zeros(padded.shape, dtype=np.int64)
    padded[query, place], columns[query, place] = scores[query, column], column
    return padded, columns


def _merged(
    best: NDArray[np.float32], rows: Rows, candidates: NDArray[np.float32], columns: Rows, start: int
) -> tuple[NDArray[np.float32], Rows]:
    """The best of the previous and the new candidates, in any order."""
    scores, all_rows = np.hstack([best, candidates]), np.hstack([rows, columns + start])
    keep = np.argpartition(scores, -best.shape[1], axis=1)[:, -best.shape[1] :]
    return np.take_along_axis(scores, keep, 1), np.take_along_axis(all_rows, keep, 1)


def _torch_scan(text: Matrix, device: str, block: int, resident: bool | None = None) -> Scan:
    """A scan by torch; rows stay on a GPU that has room for them, else each block is copied there in turn."""
    import torch

    dtype = torch.float16 if device != "cpu" else torch.float32

    def as_tensor(start: int, end: int) -> torch.Tensor:
        # A memory map is shared, not copied, on the CPU; nothing here writes to it.
        return torch.from_numpy(np.asarray(text[start:end]))

    kept = None
    if _fits(text, device) if resident is None else resident:
        kept = torch.empty(text.shape, dtype=dtype, device=device)
        for start in range(0, len(text), block):
            kept[start : start + block] = as_tensor(start, start + block)

    def scan(queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], Rows]:
        batch = torch.from_numpy(np.ascontiguousarray(queries)).to(device, dtype)
        best = torch.full((len(queries), k), -torch.inf, dtype=dtype, device=device)
        rows = torch.full((len(queries), k), -1, dtype=torch.int64, device=device)
        buffer = torch.empty(
            (0 if kept is not None else min(block, len(text)), text.shape[1]), dtype=dtype, device=device
        )
        for start in range(0, len(text), block):
            end = min(len(text), start + block)
            part = buffer[: end - start].copy_(as_tensor(start, end)) if kept is None else kept[start:end]
            for first in range(0, len(queries), QUERIES):
                some = slice(first, first + QUERIES)
                scores = batch[some] @ part.T
                _not_finite(start, scores[0].float().cpu().numpy())
                top, at = scores.topk(min(k, scores.shape[1]), dim=1)
                all_scores, all_rows = torch.cat([best[some], top], 1), torch.cat([rows[some], at + start], 1)
                best[some], keep = all_scores.topk(k, dim=1)
                rows[some] = all_rows.gather(1, keep)
        return best.float().cpu().numpy(), rows.cpu().numpy()

    return scan


def _fits(text: Matrix, device: str) -> bool:
    """Whether float16 rows take at most ``SHARE`` of a GPU's free memory; never on a CPU, where files are mapped."""
    import torch

    return device != "cpu" and 2 * math.prod(text.shape) <= SHARE * torch.cuda.mem_get_info(device)[0]
