"""Speed, side by side: what the harness costs a sample, and our metrics beside their reference tools.

Every comparison asserts equal scores before it prints a time. CPU seconds count (user + system, child
processes included); wall time depends on who else is on the machine. Run with ``make bench``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests import (
    bench_boards,
    bench_cim,
    bench_feed,
    bench_match,
    bench_parse,
    bench_peers,
    bench_scale,
    bench_search,
    bench_table,
    controls,
)
from tests.clock import launched, measured
from tests.conftest import ROOT, SHARED

SAMPLES = 5000
CAPTIONS = 500
SENTENCE = "a red dog runs over wet grass while two cats sleep on the old wooden chair near a window with blue curtains"
WORDS = SENTENCE.split()
TASK = '''"""Synthetic: {samples} samples of one line."""
import hashlib
from pathlib import Path
from harness.types import DataFile, Sample, Task
FOLDER = Path(__file__).parent
CONTENT = (FOLDER / "samples.txt").read_bytes()
TASK = Task(
    name="synthetic", title="Synthetic", prompt="", count={samples}, provides=frozenset({{"references"}}),
    files=(DataFile("samples.txt", len(CONTENT), hashlib.sha256(CONTENT).hexdigest()),),
    load=lambda folder: [Sample(line, ("a reference",)) for line in CONTENT.decode().split()],
    licence="-", source="-", folder=FOLDER,
)
'''


def synthetic(samples: int, *options: str) -> dict[str, float]:
    """CPU seconds, wall seconds and peak MB of ``cim eval`` on a synthetic task, a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ids = [f"s{number:06d}" for number in range(samples)]
        (folder / "tasks").mkdir()
        (folder / "tasks" / "samples.txt").write_text("\n".join(ids))
        (folder / "tasks" / "synthetic.py").write_text(TASK.format(samples=samples))
        text = " ".join(WORDS * 5)
        (folder / "instant.jsonl").write_text(
            "".join(json.dumps({"sample_id": key, "caption": f"{key} {text}"}) + "\n" for key in ids)
        )
        command = [sys.executable, "-m", "harness", "eval", "--model", str(folder / "instant.jsonl")]
        command += ["--task", "synthetic", "--metrics", "length", "--json", *options]
        environment = {**os.environ, "CIM_RESULTS": str(folder / "results"), "CIM_PATH": name}
        return launched(command, ROOT, environment)._asdict()


def overhead(say: Callable[[str], None], samples: int) -> dict[str, Any]:
    """What the harness itself costs: captions file in, rows and scores out."""
    synthetic(1)  # writes byte code, so that neither run below pays for it
    single, many, full = synthetic(1, "--draws", "0"), synthetic(samples, "--draws", "0"), synthetic(samples)
    each = 1000 * (many["cpu"] - single["cpu"]) / max(1, samples - 1)
    say(f"harness overhead, {samples} samples, captions file, `length` only")
    rows = {"start-up (1 sample)": single, "no intervals": many, "with intervals": full}
    for label, row in rows.items():
        say(f"  {label:<30} {row['cpu']:6.2f} CPU s {row['wall']:6.2f} s {row['peak']:5.0f} MB")
    say(f"  a sample: {each:.3f} ms CPU beyond start-up, {1000 * many['cpu'] / samples:.3f} ms with it")
    say("  targets: 0.5 ms CPU a sample, 150 MB, 3.5 CPU s end to end, without intervals")
    return {"start": single, "samples": many, "with_intervals": full, "ms_a_sample": each}


def corpus() -> tuple[str, list[str], list[str]]:
    """500 long captions and references: DOCCI500 with the next image's reference, or made-up text without the data."""
    folder = Path(os.environ.get("CIM_DATA") or SHARED / "benchmarks")
    if (folder / "docci500").is_dir():
        references = controls.references(folder, "docci500")
        captions = controls.perturbed(references, "wrong_image")
        return "DOCCI500, the next image's reference as caption", list(captions.values()), list(references.values())
    texts = [" ".join(WORDS[(7 * i + j * j) % len(WORDS)] for j in range(122)) + "." for i in range(CAPTIONS)]
    return "made-up captions of 122 words", [" ".join(text.split()[9:]) for text in texts], texts


def _records(captions: list[str], references: list[str], parses: Any) -> Any:
    from harness.parts import Records
    from harness.types import Sample

    samples = [Sample(str(number), (text,)) for number, text in enumerate(references)]
    return Records(samples, captions, parses.parse, lambda _: [])


def _ours(names: list[str], captions: list[str], references: list[str]) -> tuple[dict[str, float], dict[str, float]]:
    from harness import registry
    from harness.runs import stats
    from harness.stages.parse import Parses

    seconds: dict[str, float] = {}
    values = {}
    with tempfile.TemporaryDirectory() as folder, measured(seconds), Parses(Path(folder)) as parses:
        for name in names:
            metric = registry.metric(name)
            columns = metric.measure(_records(captions, references, parses))
            values[name] = float(stats.point(stats.Column(columns.statistics, metric.aggregate))[0])
    return values, seconds


def _tokens(captions: list[str], references: list[str]) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    tokenizer = PTBTokenizer()
    both = [tokenizer.tokenize({i: [{"caption": t}] for i, t in enumerate(texts)}) for texts in (references, captions)]
    return both[0], both[1]


def _coco_words(captions: list[str], references: list[str]) -> dict[str, float]:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    gts, res = _tokens(captions, references)
    return {
        "bleu4": 100 * Bleu(4).compute_score(gts, res, verbose=0)[0][3],
        "cider": 100 * float(Cider().compute_score(gts, res)[0]),
        "rouge_l": 100 * float(Rouge().compute_score(gts, res)[0]),
    }


def _coco_meteor(captions: list[str], references: list[str]) -> dict[str, float]:
    from pycocoevalcap.meteor.meteor import Meteor

    gts, res = _tokens(captions, references)
    return {"meteor": 100 * Meteor().compute_score(gts, res)[0]}


def _nltk_characters(captions: list[str], references: list[str]) -> dict[str, float]:
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    smooth = SmoothingFunction().method3
    pairs = zip(references, captions, strict=True)
    scores = [round(100 * sentence_bleu([list(r)], list(c), smoothing_function=smooth), 4) for r, c in pairs]
    return {"bleu4_char": sum(scores) / len(scores)}


def _nltk_meteor(captions: list[str], references: list[str]) -> dict[str, float]:
    from nltk.translate.meteor_score import meteor_score

    scores = [meteor_score([r.split()], c.split()) for r, c in zip(references, captions, strict=True)]
    return {"meteor_nltk": 100 * sum(scores) / len(scores)}


BESIDE = {
    "tokens + BLEU + CIDEr + ROUGE": (["bleu4", "cider", "rouge_l"], _coco_words, "pycocoevalcap 1.2"),
    "tokens + METEOR 1.5": (["meteor"], _coco_meteor, "pycocoevalcap 1.2"),
    "character BLEU": (["bleu4_char"], _nltk_characters, "nltk"),
    "METEOR of NLTK": (["meteor_nltk"], _nltk_meteor, "nltk"),
}


def meteor(say: Callable[[str], None], limit: int) -> dict[str, Any]:
    """METEOR 1.5 itself on given tokens: the jar from its start on, ours from an empty memory on, equal statistics."""
    from pycocoevalcap.meteor.meteor import Meteor

    from harness.parsers import meteor15
    from harness.resources import java

    if reason := java.missing_java():
        say(f"METEOR 1.5 alone left out: {reason}")
        return {}
    _, captions, references = corpus()
    given, reference_tokens = _tokens(captions[:limit], references[:limit])
    with meteor15.PARSER.session():
        pass  # builds the paraphrase table if this machine has none yet
    theirs: dict[str, float] = {}
    with measured(theirs):
        scorer = Meteor()
        expected = [scorer._stat(reference_tokens[i][0], given[i]).split() for i in reference_tokens]
        scorer.meteor_p.communicate()
    ours: dict[str, float] = {}
    with measured(ours), meteor15.PARSER.session() as parse:
        scores = list(parse([meteor15.pair(given[i], reference_tokens[i][0]) for i in reference_tokens]))
    assert scores == [[float(number) for number in line] for line in expected], "statistics differ"
    ratios = f"{theirs['cpu'] / ours['cpu']:.1f}x CPU, {theirs['wall'] / ours['wall']:.1f}x wall"
    say(f"METEOR 1.5 alone, {len(scores)} captions, its tables read from disk; target: at least 5x")
    say(f"  {'the jar':<49} {theirs['cpu']:6.2f} CPU s {theirs['wall']:6.2f} s")
    say(f"  {'ours, equal statistics':<49} {ours['cpu']:6.2f} CPU s {ours['wall']:6.2f} s   {ratios}")
    return {"reference": theirs, "ours": ours}


def beside(say: Callable[[str], None], limit: int) -> dict[str, Any]:
    """Our metrics and their reference tools on the same 500 captions, equal scores first, then times."""
    from harness import registry

    title, captions, references = corpus()
    captions, references = captions[:limit], references[:limit]
    _nltk_characters(["a dog"], ["a dog"]), _nltk_meteor(["a dog"], ["a dog"])  # imports NLTK, opens WordNet
    say(f"metrics, {len(captions)} captions, empty caches ({title})")
    rows: dict[str, Any] = {}
    for label, (names, reference, tool) in BESIDE.items():
        if reason := next((r for name in names if (r := registry.metric(name).missing())), None):
            say(f"  {label:<30} left out: {reason}")
            continue
        theirs: dict[str, float] = {}
        with measured(theirs):
            expected = reference(captions, references)
        values, ours = _ours(names, captions, references)
        for name, value in expected.items():
            assert abs(values[name] - value) < 1e-6, f"{name}: ours {values[name]}, {tool} {value}"
        ratios = f"{theirs['cpu'] / ours['cpu']:.1f}x CPU, {theirs['wall'] / ours['wall']:.1f}x wall"
        say(f"  {label:<30} {tool:<18} {theirs['cpu']:6.2f} CPU s {theirs['wall']:6.2f} s")
        say(f"  {'':<30} {'ours, equal scores':<18} {ours['cpu']:6.2f} CPU s {ours['wall']:6.2f} s   {ratios}")
        rows[label] = {"tool": tool, "reference": theirs, "ours": ours}
    say("  target: tokens + BLEU + CIDEr + ROUGE at least 3x")
    return rows


def main() -> None:
    """Print all tables, or JSON."""
    arguments = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    arguments.add_argument("--json", action="store_true", help="print JSON only")
    arguments.add_argument("--parts", metavar="A[,B]", help="these parts only, such as overhead,matching")
    arguments.add_argument("--limit", type=int, help="this many samples and captions only; the times then mean little")
    given = arguments.parse_args()
    lines: list[str] = []
    say = lines.append if given.json else print
    say(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    limit = given.limit
    parts: dict[str, Callable[[], Any]] = {
        "overhead": lambda: overhead(say, limit or SAMPLES),
        "beside": lambda: beside(say, limit or CAPTIONS),
        "scene_graphs": lambda: bench_parse.parsing(say, min(limit, 2) if limit else bench_parse.CAPTIONS),
        "matching": lambda: bench_match.main(say, limit or CAPTIONS),
        "feed": lambda: bench_feed.feed(say, limit),
        "rewards": lambda: bench_cim.apart(say, limit),
        "search": lambda: bench_search.main(say, 100 * limit if limit else bench_search.ROWS),
        "meteor": lambda: meteor(say, limit or CAPTIONS),
        "peers": lambda: bench_peers.peers(
            say, limit or SAMPLES // 5, *(texts[: limit or CAPTIONS] for texts in corpus()[1:])
        ),
        "scale": lambda: bench_scale.scale(say, limit),
        "leaderboards": lambda: bench_boards.main(say, limit or bench_boards.MODELS),
    }
    wanted = given.parts.split(",") if given.parts else list(parts)
    measured_parts = {name: parts[name]() for name in wanted}
    if set(bench_table.PARTS) <= set(wanted) and not limit:
        bench_table.write(measured_parts)
    if given.json:
        print(json.dumps(measured_parts, indent=1, default=asdict))


if __name__ == "__main__":
    main()
