"""Speed of matching beside capture-metric 0.1.13, and of scoring a stored run again; called by ``tests.bench``.

Graphs are fakes of real size and vectors are stubs of 768 numbers, the same for both sides (``fake_scenes.py``); the
time of neither a parser nor an encoder is in any row. Run with ``make bench``, or ``python -m tests.bench_match``.
"""

from __future__ import annotations

import gc
import importlib.util
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests import capture_oracle, controls, fake_scenes

ROOT = Path(__file__).resolve().parent.parent
SIZE = 768
CAPTIONS = 500
FIRST, LATER, RESCORE = 10, 20, 2.0  # targets: times as fast with empty and with warm caches; CPU seconds
TURNS = 3
KINDS = ("generated", "wrong_image")  # of captions: near their references, and far
LEFT_OUT = ("meteor", "meteor_nltk")


def benchmarks() -> Path:
    """Where the annotation files of both benchmarks lie."""
    return Path(os.environ.get("CIM_DATA") or ROOT.parent / "shared" / "benchmarks")


def _vectors(phrases: Sequence[str], _: int = 0) -> Any:
    return np.stack([fake_scenes.vector(phrase, SIZE) for phrase in phrases]).astype(np.float32)


def _records(task: str, limit: int, kind: str) -> Any:
    from harness import registry

    samples = registry.task(task).load(benchmarks() / task)[:limit]
    texts = fake_scenes.captions(controls.references(benchmarks(), task), kind)
    return fake_scenes.records(samples, [texts[sample.id] for sample in samples], lambda *_: [])


def _theirs(records: Any) -> Callable[[], tuple[list[float], float]]:
    """A function to CAPTURE by the reference's own loop, and its CPU seconds; WordNet is open and vectors are known."""
    from nltk.corpus import wordnet

    oracle = capture_oracle.reference(_vectors)
    wordnet.synsets("dog")
    graphs = [
        (capture_oracle.graph(fake_scenes.graph(s.references[0])), capture_oracle.graph(fake_scenes.graph(caption)))
        for s, caption in zip(records.samples, records.captions, strict=True)
    ]

    def measured() -> tuple[list[float], float]:
        start = time.process_time()
        scores = [100 * oracle.compute_f_score(true, candidate)[0] for true, candidate in graphs]
        return scores, time.process_time() - start

    measured()  # once for the stub, whose vectors stay
    return measured


def _ours(records: Any, results: Path) -> tuple[list[float], float]:
    """CAPTURE by the metric as ``cim score`` calls it, caches in ``results``, and its CPU seconds."""
    from harness import registry
    from harness.metrics import _scenes
    from harness.stages.parse import Parses

    with Parses(results) as parses:

        def parse(name: str, texts: Sequence[str]) -> list[Any]:
            return [fake_scenes.graph(t) for t in texts] if name == "scene_graph" else parses.parse(name, texts)

        given = replace(records, parse=parse, encode=parses.encode, shared={})
        _scenes.scenes(given, "scene_graph")  # the reference is handed lists as well
        start = time.process_time()
        measured = registry.metric("capture").measure(given)
        return measured.values[:, 0].tolist(), time.process_time() - start


def _in_turns(records: Any) -> list[float]:
    """CPU seconds of the reference, of ours with empty and with warm caches: medians of turns, after one to warm up."""
    reference, turns = _theirs(records), list[tuple[float, ...]]()
    for _ in range(1 + TURNS):
        with tempfile.TemporaryDirectory() as folder:
            (expected, theirs), (cold, first), (warm, later) = (
                reference(),
                *(_ours(records, Path(folder)) for _ in "12"),
            )
        for scores in (cold, warm):
            assert np.abs(np.array(scores) - expected).max() < 1e-4, "scores differ"
        turns.append((theirs, first, later))
    return [statistics.median(times) for times in zip(*turns[1:], strict=True)]


def matching(say: Callable[[str], None], limit: int) -> dict[str, Any]:
    """Captions a second of both benchmarks' matching: the reference, ours with empty caches, ours with warm ones."""
    from harness import registry
    from harness.command import cli
    from harness.resources import wordnet, wordnet_words

    gc.set_threshold(cli.GARBAGE)  # as in every command; for both sides
    say(f"matching, {limit} captions of each benchmark, graphs given, stub vectors of {SIZE} numbers, WordNet open")
    lacking = [name for name in ("capture_metric", "sentence_transformers") if not importlib.util.find_spec(name)]
    if reason := wordnet.missing_wordnet() or ", ".join(lacking):
        say(f"  left out: {reason}")
        return {}
    wordnet_words.lemma_names(wordnet.folder() or Path())("dog")
    kept, registry.encoder = registry.encoder, lambda name: fake_scenes.encoder(name, size=SIZE)
    rows = dict[str, Any]()
    try:
        for task, kind in itertools.product(controls.FILES, KINDS):
            theirs, first, later = _in_turns(_records(task, limit, kind))
            say(
                f"  {task + ', ' + kind:<24} capture-metric 0.1.13 {theirs:6.2f} CPU s {limit / theirs:6.0f} captions/s"
            )
            for label, seconds in (("empty caches", first), ("warm caches", later)):
                speed = f"{limit / seconds:6.0f} captions/s  {theirs / seconds:5.1f}x"
                say(f"  {'':<24} ours, {label:<15} {seconds:6.2f} CPU s {speed}")
            rows[f"{task} {kind}"] = {"reference": theirs, "first": first, "later": later}
    finally:
        registry.encoder = kept
    totals = {name: sum(row[name] for row in rows.values()) for name in ("reference", "first", "later")}
    ratios = [totals["reference"] / totals[name] for name in ("first", "later")]
    say(f"  all: {ratios[0]:.1f}x with empty caches (target {FIRST}), {ratios[1]:.1f}x with warm ones (target {LATER})")
    return rows | {"all": totals}


def faked(arguments: Sequence[str]) -> int:
    """``cim`` with the fake parser and encoder in place of the real ones; says whether WordNet was opened."""
    from harness import registry
    from harness.command import cli
    from harness.resources import wordnet_words

    real = registry.parser
    registry.parser = lambda name: fake_scenes.parser(name) if name.startswith("scene_graph") else real(name)
    registry.encoder = lambda name: fake_scenes.encoder(name, size=SIZE)
    code = cli.main(arguments)
    opened = wordnet_words.lemma_names.cache_info().currsize > 0 or "nltk" in sys.modules
    print(f"WordNet was {'opened' if opened else 'not opened'}", file=sys.stderr)
    return code


def rescoring(say: Callable[[str], None], limit: int) -> dict[str, Any]:
    """CPU seconds of ``cim score`` on a stored run with warm caches, every metric but METEOR, page included."""
    from harness import registry

    task = registry.task("docci500")
    metrics = [name for name in registry.names("metrics") if name not in LEFT_OUT]
    given = task.provides - {"gallery"}  # neither a gallery nor a judge is here
    metrics = [n for n in metrics if registry.metric(n).needs <= given and not registry.metric(n).judge]
    captions = list(fake_scenes.captions(controls.references(benchmarks(), "docci500"), "generated").items())[:limit]
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "stored.jsonl"
        path.write_text("".join(json.dumps({"sample_id": k, "caption": text}) + "\n" for k, text in captions))
        command = [sys.executable, "-m", "tests.bench_match", "score", "--model", str(path), "--task", "docci500"]
        command += ["--partial", "--metrics", ",".join(metrics)]
        environment = {**os.environ, "CIM_DATA": str(benchmarks()), "CIM_RESULTS": f"{name}/results"}
        environment["OMP_NUM_THREADS"] = "1"
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else every start compiles 400 files again
        eval_first = [*command[:3], "eval", *command[4:]]
        subprocess.run(eval_first, cwd=ROOT, env=environment, check=True, capture_output=True)
        start = time.monotonic()
        running = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        _, status, usage = os.wait4(running.pid, 0)
        told = running.stderr.read() if running.stderr else ""
    assert status == 0 and told.endswith("WordNet was not opened\n"), told
    times = {"cpu": usage.ru_utime + usage.ru_stime, "wall": time.monotonic() - start}
    say(f"scoring a stored run again, {len(captions)} captions, warm caches: {', '.join(metrics)}")
    say(f"  cim score, report.html included {times['cpu']:6.2f} CPU s {times['wall']:6.2f} s   (target {RESCORE:g} s)")
    return times


def main(say: Callable[[str], None], limit: int = CAPTIONS) -> dict[str, Any]:
    """Both tables; nothing without the annotation files."""
    if not (benchmarks() / "docci500").is_dir():
        say(f"matching and re-scoring left out: no annotation files under {benchmarks()}")
        return {}
    return {"matching": matching(say, limit), "rescoring": rescoring(say, limit)}


if __name__ == "__main__":
    sys.exit(faked(sys.argv[1:]) if len(sys.argv) > 1 else print(json.dumps(main(print))))
