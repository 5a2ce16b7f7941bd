"""Search in random unit rows: ours beside ``faiss.IndexFlatIP``, each a process of its own on the same mapped file.

Results must be those of the exact search. Anonymous memory is what a process holds beyond the mapped file, at its
highest. Run with ``make bench ARGS="--parts search"``; sizes of one's own: ``python -m tests.bench_search ROWS DIMS``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.clock import measured
from tests.conftest import ROOT

ROWS, DIMS, QUERIES, K = 200_000, 768, 1280, 3
NAMES = ("exact", "exact-cpu", "faiss-flat")
BLOCK = 16384
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


def rows_file(path: Path, n: int, width: int) -> None:
    """Random unit rows, float16, written block by block; more cannot be found in them than chance gives."""
    open_memmap: Any = np.lib.format.open_memmap
    matrix, drawn = open_memmap(path, mode="w+", dtype=np.float16, shape=(n, width)), np.random.default_rng(0)
    for start in range(0, n, BLOCK):
        block = drawn.standard_normal((min(BLOCK, n - start), width), dtype=np.float32)
        matrix[start : start + BLOCK] = block / np.linalg.norm(block, axis=1, keepdims=True)
    matrix.flush()


def queries(width: int) -> np.ndarray:
    """Random unit queries (``QUERIES``, width), float32."""
    block = np.random.default_rng(1).standard_normal((QUERIES, width), dtype=np.float32)
    return block / np.linalg.norm(block, axis=1, keepdims=True)


def anonymous() -> float:
    """MB of anonymous memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e3


def alone(path: Path, name: str, results: Path) -> dict[str, Any]:
    """One search on the file: seconds to build and to search, highest anonymous MB, recall; rows to ``found``."""
    from harness.retrieval import index

    text = np.load(path, mmap_mode="c")
    asked, peak, done = queries(text.shape[1]), [0.0], threading.Event()
    before = anonymous()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], anonymous() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    building, searching = dict[str, float](), dict[str, float]()
    with measured(building):
        search = index.by_name(name, text)
    with measured(searching):
        rows = search.find(asked, K)[1]
    done.set()
    watcher.join()
    np.save(results, rows)
    return {"build": building, "search": searching, "anonymous": peak[0], "recall": search.recall}


def brute(path: Path, sample: int = 8) -> np.ndarray:
    """The best rows of the first queries by float64 products with every row."""
    text, asked, best = np.load(path, mmap_mode="r"), queries(np.load(path, mmap_mode="r").shape[1])[:sample], []
    for start in range(0, len(text), BLOCK):
        scores = asked.astype(np.float64) @ text[start : start + BLOCK].astype(np.float64).T
        top = np.argsort(-scores, axis=1, kind="stable")[:, :K]
        best.append((np.take_along_axis(scores, top, 1), top + start))
    scores, rows = (np.hstack(part) for part in zip(*best, strict=True))
    return np.take_along_axis(rows, np.argsort(-scores, axis=1, kind="stable")[:, :K], 1)


def main(
    say: Callable[[str], None], n: int = ROWS, width: int = DIMS, names: tuple[str, ...] = NAMES
) -> dict[str, Any]:
    """A row a search; exact ones must agree with the first, and that with brute force on eight queries."""
    from harness.retrieval import index

    measured_rows = dict[str, Any]()
    say(f"search, {n} x {width} float16 random unit rows on disk, {QUERIES} queries, k = {K}, one thread a process")
    with tempfile.TemporaryDirectory() as folder:
        path, expected = Path(folder) / "rows.npy", None
        rows_file(path, n, width)
        for name in names:
            command = [sys.executable, "-m", "tests.bench_search", str(path), name, f"{folder}/{name}.npy"]
            environment = {**os.environ, **ONE_THREAD}
            start = time.monotonic()
            done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            took = json.loads(done.stdout)
            rows = np.load(f"{folder}/{name}.npy")
            if expected is None:
                expected = rows
                assert np.array_equal(brute(path), rows[:8]), f"{name}: not the rows of brute force"
            same = float(np.mean([np.isin(ours, theirs) for ours, theirs in zip(expected, rows, strict=True)]))
            assert took["recall"] is not None or np.array_equal(rows, expected), f"{name}: other rows"
            estimate = index.memory(name, n, width) / 1e6
            say(
                f"  {name:<11} {took['search']['cpu']:7.2f} CPU s {took['search']['wall']:7.2f} s, "
                f"build {took['build']['cpu']:7.2f} CPU s; anonymous {took['anonymous']:6.0f} MB "
                f"(index by arithmetic {estimate:.0f}); "
                + ("equal rows" if took["recall"] is None else f"recall {took['recall']:.3f}, of these {same:.3f}")
            )
            measured_rows[name] = {**took, "same": same, "estimate": estimate, "process": time.monotonic() - start}
    return measured_rows


if __name__ == "__main__":
    if sys.argv[1].isdigit():
        main(print, int(sys.argv[1]), int(sys.argv[2]), tuple(sys.argv[3:]) or NAMES)
    else:
        print(json.dumps(alone(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))))
