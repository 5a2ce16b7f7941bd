"""Reward speed: the batched scorer beside a server that takes one caption a request, as the released code does.

The reference does what Jia-hn/CIM:reward/reward_server.py and reward_manager/naive.py@870f58f5 do, with the same
weights: FastAPI, one request a caption, one after the other, encoded alone by sentence-transformers in float32, one
float32 product with all rows. Encoders are random (no weights are needed), the gallery is synthetic.
Run with ``make bench``.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.encoders import mpnet
from tests.conftest import ROOT

Say = Callable[[str], None]
K = 3
BATCHES = 3  # of new captions, whose mean is told: the server is warm as well after a thousand requests
JSON = {"Content-Type": "application/json"}  # FastAPI asks for it by now
WORDS = [f"word{number}" for number in range(2000)]
TINY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "model": TINY, "captions": 1280, "words": (10, 30), "rows": 20_000,
    },
    "mpnet size": {
        "model": {}, "captions": 96, "words": (60, 140), "rows": 100_000,
    },
}  # fmt: skip
ROWS = 100_000  # of the gallery whose memory is measured
MEMORY = """
import json, sys
import numpy as np
from pathlib import Path
from harness.retrieval import gallery
from harness.retrieval.scorer import CimScorer
def kilobytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))
before = kilobytes("RssAnon")
opened = gallery.open_folder(Path(sys.argv[1]))
ids = kilobytes("RssAnon") - before
drawn = np.random.default_rng(0).normal(size=(256, opened.text.shape[1])).astype(np.float32)
CimScorer(opened, lambda texts: drawn).score([str(n) for n in range(256)], opened.keys[:256])
own, mapped = kilobytes("RssAnon") - before, kilobytes("RssFile")
print(json.dumps({"ids": ids / 1e3, "anonymous": own / 1e3, "mapped": mapped / 1e3}))
"""


def tower(config: dict[str, int]) -> mpnet.Loaded:
    """A random MPNet with a tokenizer of made-up words, as encoder ``mpnet`` holds it."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import MPNetConfig, MPNetModel, PreTrainedTokenizerFast

    table = {word: number for number, word in enumerate(["<pad>", "<unk>", *WORDS])}
    words = Tokenizer(models.WordLevel(table, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>")
    torch.manual_seed(0)
    model = MPNetModel(MPNetConfig(vocab_size=len(table), **config), add_pooling_layer=False).eval()
    return mpnet.Loaded(model, tokens, "cpu")


def encode(loaded: mpnet.Loaded, texts: Sequence[str]) -> np.ndarray:
    """Embeddings (n, d), by the encoder that commands use."""
    return np.stack(list(mpnet.encode(loaded, texts)))


def captions(count: int, words: tuple[int, int]) -> list[str]:
    """Made-up captions of different lengths."""
    dice = random.Random(0)
    return [" ".join(dice.choices(WORDS, k=dice.randint(*words))) for _ in range(count)]


def synthetic(centres: np.ndarray, rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Caption vectors around the captions' own, at all distances, and image vectors, float32 unit rows."""
    drawn = np.random.default_rng(0)
    text = centres[drawn.integers(len(centres), size=rows)]
    spread = drawn.uniform(0.05, 1, size=(rows, 1)) * np.linalg.norm(centres - centres.mean(0), axis=1).mean()
    text = text + spread * drawn.normal(size=text.shape).astype(np.float32) / text.shape[1] ** 0.5
    image = drawn.normal(size=(rows, width))
    return tuple((part / np.linalg.norm(part, axis=1, keepdims=True)).astype(np.float32) for part in (text, image))  # type: ignore[return-value]


class OneByOne:
    """The released server: FastAPI, a caption a request, encoded and looked up alone in float32."""

    def __init__(self, encoder: Any, text: np.ndarray, image: np.ndarray, folder: str) -> None:
        import fastapi
        import torch
        import uvicorn
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

        encoder.model.save_pretrained(folder)
        encoder.tokens.save_pretrained(folder)
        tower = Transformer(folder, max_seq_length=384)
        model = SentenceTransformer(modules=[tower, Pooling(encoder.model.config.hidden_size)], device="cpu")
        text_rows, image_rows, app = torch.from_numpy(text), torch.from_numpy(image), fastapi.FastAPI()

        @app.post("/cim")
        @torch.no_grad()
        def cim(data: dict[str, Any]) -> float:
            query = model.encode(
                [data["response"]], convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=False
            )
            rows = torch.topk((query.float() @ text_rows.T).squeeze(0), k=data["k"]).indices
            vectors = image_rows.index_select(0, rows)
            weights = 0.5 ** torch.arange(len(rows), dtype=torch.float32)
            qir = float((weights * (vectors @ image_rows[data["index"]])).sum().item())
            return qir + float(torch.linalg.norm(vectors.mean(dim=0), ord=2).item())

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=self.port, log_level="error"))
        self._thread = threading.Thread(target=self.server.run, daemon=True)
        self._thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def score(self, texts: list[str], rows: list[int]) -> list[float]:
        """Rewards, request by request, as the released reward manager asks for them."""
        import requests

        rewards, url, none = list[float](), f"http://127.0.0.1:{self.port}/cim", {"http": "", "https": ""}
        for text, row in zip(texts, rows, strict=True):
            query = json.dumps({"response": text, "index": row, "k": K})
            answer = requests.post(url, data=query, proxies=none, headers=JSON)
            rewards.append(json.loads(answer.content.decode()))
        return rewards

    def close(self) -> None:
        """End the server."""
        self.server.should_exit = True
        self._thread.join()


def speed(say: Say, name: str, size: dict[str, Any], limit: int | None) -> dict[str, Any]:
    """One size: both ways on the same captions and gallery."""
    from harness.retrieval.scorer import CimScorer
    from harness.retrieval.search import exact as exact_search
    from tests.bench import measured
    from tests.galleries import of_arrays

    exact = tower(size["model"])
    count = min(size["captions"], limit or size["captions"])
    generated = captions((1 + BATCHES) * count, size["words"])
    texts, *others = (generated[at * count : (at + 1) * count] for at in range(1 + BATCHES))
    vectors = encode(exact, texts)
    rows = min(size["rows"], 100 * limit) if limit else size["rows"]
    text, image = synthetic(vectors, rows, 64 if name == "tiny" else 1024)
    own_rows = np.random.default_rng(1).integers(rows, size=len(texts)).tolist()
    opened = of_arrays(text, image, [f"g:{row}" for row in range(rows)])
    scorer = CimScorer(opened, partial(encode, exact))
    keys = [opened.keys[row] for row in own_rows]
    scorer.score(others[0][:8], keys[:8])
    theirs, ours = dict[str, float](), dict[str, float]()
    with tempfile.TemporaryDirectory() as folder:
        server = OneByOne(exact, text, image, folder)
        server.score(texts[:8], own_rows[:8])
        with measured(theirs):
            expected = server.score(texts, own_rows)
        server.close()
    batch = scorer.score(texts, keys)
    with measured(ours):
        for other in others:  # new texts each, as in training
            scorer.score(other, keys)
    ours = {kind: took / BATCHES if kind in ("cpu", "wall") else took for kind, took in ours.items()}
    best = exact_search(text).find(vectors, K)[1]
    changed = float(np.mean([~np.isin(fine, other) for fine, other in zip(best, batch.rows, strict=True)]))
    moved = np.abs(batch.reward - expected)
    assert changed <= 0.002 and np.median(moved) < 1e-5, f"{changed} of the row sets differ, rewards by {moved.max()}"
    ratio = {kind: theirs[kind] / ours[kind] for kind in ("cpu", "wall")}
    say(f"  {name}, B={len(texts)}, {rows} rows, float32")
    for label, took in (("one request per caption", theirs), ("CimScorer, one batch", ours)):
        each = len(texts) / took["wall"]
        say(f"    {label:<22} {took['cpu']:7.2f} CPU s {took['wall']:7.2f} s {each:9.1f} captions/s")
    say(f"    {ratio['cpu']:.1f}x CPU, {ratio['wall']:.1f}x wall")
    say(f"    top-{K} rows changed {100 * changed:.2f} %, mean |reward difference| {moved.mean():.2e}")
    return {"reference": theirs, "ours": ours, "changed": changed, "captions": len(texts)}


def memory(say: Say, rows: int) -> dict[str, Any]:
    """What a gallery takes: bytes a row by arithmetic, and measured on a smaller one, opened and scored with."""
    from harness import store
    from harness.resources.data import sha256
    from harness.retrieval import gallery

    a_row = 2 * (768 + 1024)
    with tempfile.TemporaryDirectory() as name:
        folder, drawn = Path(name), np.random.default_rng(0)
        for file, width in ((gallery.TEXT, 768), (gallery.IMAGE, 1024)):
            part = drawn.normal(size=(rows, width)).astype(np.float32)
            np.save(folder / file, (part / np.linalg.norm(part, axis=1, keepdims=True)).astype(np.float16))
        ids = ({"source": "g", "image": str(row), "image_sha256": None, "caption_sha256": ""} for row in range(rows))
        store.write_rows(folder / gallery.IDS, ids)
        files = {file: sha256(folder / file) for file in (gallery.TEXT, gallery.IMAGE, gallery.IDS)}
        store.write_document(folder / gallery.MANIFEST, {"format": gallery.FORMAT, "n": rows, "files": files})
        done = subprocess.run([sys.executable, "-c", MEMORY, name], capture_output=True, text=True, check=True)
    measured: dict[str, Any] = {**json.loads(done.stdout), "rows": rows, "bytes_a_row": a_row}
    say(f"  memory, mpnet and ViT-H-14: {a_row} bytes a row, {a_row * 1e6 / 1e9:.2f} GB for 1 M rows, twice in float32")
    say(
        f"    measured with {rows} rows, 256 captions scored: {measured['anonymous']:.0f} MB of its own "
        f"(ids {measured['ids']:.0f} MB), {measured['mapped']:.0f} MB of mapped files, which the system may take back"
    )
    return measured


def rewards(say: Say, limit: int | None = None) -> dict[str, Any]:
    """All rows; left out, with the reason, where torch is not installed."""
    from harness.command import cli

    needed = ("torch", "transformers", "sentence_transformers", "fastapi", "uvicorn")
    if lacking := [name for name in needed if importlib.util.find_spec(name) is None]:
        say(f"rewards left out: {', '.join(lacking)} not installed; `make setup-vllm`, extra `oracle`")
        return {}
    gc.set_threshold(cli.GARBAGE)  # as in every command, cim train among them; for both sides
    say(f"rewards, one thread; mean of {BATCHES} batches of new captions")
    speeds, start = {name: speed(say, name, size, limit) for name, size in SIZES.items()}, time.monotonic()
    speeds["memory"] = memory(say, min(ROWS, 1000 * limit) if limit else ROWS)
    say(f"    ({time.monotonic() - start:.0f} s)")
    return speeds


def apart(say: Say, limit: int | None) -> dict[str, Any]:
    """All rows from a process with one thread: what two threads gain depends on who else is on the machine."""
    command = [sys.executable, "-m", "tests.bench_cim", *([str(limit)] if limit else [])]
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **threads}, stdout=subprocess.PIPE, text=True, check=True
    )
    *lines, last = done.stdout.splitlines()
    for line in lines:
        say(line)
    result: dict[str, Any] = json.loads(last)
    return result


if __name__ == "__main__":
    print(json.dumps(rewards(print, int(sys.argv[1]) if len(sys.argv) > 1 else None)))
