"""Feed efficiency: tokens per second of the engine vLLM as ``cim eval`` feeds it, over bare ``LLM.chat``.

Both sides write the same greedy texts for the same images on one loaded engine, in turns; token ids are compared
before a time is printed. Images are opened from files on both sides. The checkpoint is small and random, so that what
the harness costs per request weighs more than it does beside a real model. Run: ``make bench ARGS="--parts feed"``.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

REQUESTS, NEW_TOKENS, ROUNDS = 128, 48, 5


def feed(say: Callable[[str], None], limit: int | None) -> dict[str, Any]:
    """Both sides in a process of their own; left out, with the reason, where vLLM is not installed."""
    if lacking := [name for name in ("torch", "vllm") if importlib.util.find_spec(name) is None]:
        say(f"feed efficiency left out: {', '.join(lacking)} not installed; `make setup-vllm`")
        return {}
    command = [sys.executable, "-m", "tests.bench_feed", str(limit or REQUESTS)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    say(f"feed efficiency of engine vllm, {measured['requests']} images, {NEW_TOKENS} tokens each, random tiny weights")
    for side in ("LLM.chat", "cim eval"):
        say(f"  {side:<10} {measured[side]:9.0f} tokens/s (median of {ROUNDS} rounds, in turns)")
    say(f"  {measured['efficiency']:.3f} (median of the rounds' ratios); target: at least 0.97")
    return measured


def measure(count: int) -> dict[str, Any]:
    """Tokens per second of both sides."""
    import numpy as np
    from PIL import Image

    from harness.engines import _weights, vllm
    from harness.types import Request
    from harness.weights import Sampling, Weights
    from tests import tiny_models

    with tempfile.TemporaryDirectory() as name:
        folder, dice = Path(name), np.random.default_rng(0)
        checkpoint = tiny_models.build(folder / "model", "qwen2_5_vl")
        requests = []
        for number in range(count):
            file = folder / f"{number:04d}.png"
            Image.fromarray(dice.integers(0, 256, (96, 128, 3), dtype=np.uint8)).save(file)
            requests.append(Request(file.stem, "Describe this image.", file))
        sampling, options = Sampling(max_tokens=NEW_TOKENS), {"max_model_len": 1024, "max_num_seqs": 64}
        weights = Weights(str(checkpoint), digest="random", sampling=sampling, vllm=options)
        processor = _weights.load_processor(weights)
        with vllm.opened(weights, processor) as llm:
            sides = {
                "LLM.chat": lambda: _chat(llm, requests),
                "cim eval": lambda: _ours(llm, weights, processor, requests),
            }
            # Ids, because texts of random bytes depend on who decodes them. The first call of each side warms it up.
            ids = {side: write() for side, write in sides.items()}
            differ = sum(ids["LLM.chat"][key] != ids["cim eval"][key] for key in ids["cim eval"])
            assert not differ, f"the two sides write different tokens for {differ} of {count} images"
            rates: dict[str, list[float]] = {side: [] for side in sides}
            for turn in range(ROUNDS):
                for side in sorted(sides, reverse=bool(turn % 2)):
                    start = time.monotonic()
                    tokens = sum(map(len, sides[side]().values()))
                    rates[side].append(tokens / (time.monotonic() - start))
    ratios = [ours / bare for ours, bare in zip(rates["cim eval"], rates["LLM.chat"], strict=True)]
    medians = {side: statistics.median(values) for side, values in rates.items()}
    return {**medians, "efficiency": statistics.median(ratios), "requests": count}


def _chat(llm: Any, requests: Any) -> dict[str, list[int]]:
    """Token ids by sample of one call of ``LLM.chat``, as its documentation shows it."""
    from PIL import Image
    from vllm import SamplingParams

    def conversation(request: Any) -> list[dict[str, Any]]:
        image = {"type": "image_pil", "image_pil": Image.open(request.image).convert("RGB")}
        return [{"role": "user", "content": [image, {"type": "text", "text": request.prompt}]}]

    settings = SamplingParams(temperature=0, max_tokens=NEW_TOKENS)
    outputs = llm.chat([conversation(request) for request in requests], settings, use_tqdm=False)
    written = zip(requests, outputs, strict=True)
    return {request.sample_id: list(output.outputs[0].token_ids) for request, output in written}


def _ours(llm: Any, weights: Any, processor: Any, requests: Any) -> dict[str, list[int]]:
    from harness.engines import _weights, vllm

    ids = dict[str, list[int]]()
    for written in vllm.write(llm, weights, processor, requests):
        _weights.completion(processor, written)  # decodes the text, as the engine does
        ids[written.request.sample_id] = written.ids
    return ids


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
