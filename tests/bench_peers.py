"""Other harnesses beside this one, each a process of its own, in turns on the same machine: start-up, cost of a sample
with a model that answers at once, and capevalkit's word metrics on the same captions.

Each peer is installed into an environment of its own below the cache, by ``uv``, packages as of ``AS_OF``. What cannot
be installed is left out and named. Run with ``make bench ARGS="--parts peers"``.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.clock import launched
from tests.conftest import ROOT

AS_OF = "2026-11-27"
PEERS = {
    "inspect_ai 0.3.285": ("inspect_ai==0.3.285",),
    "evalscope 1.14.1": ("evalscope==1.14.1",),
    "capevalkit 0.1.3": ("capevalkit==0.1.3", "pycocoevalcap==1.2"),
    # CPU torch, for CUDA's packages are several GB; a module of filelock that it patches is gone from version 4.
    "lmms-eval 0.7.3": ("lmms-eval==0.7.3", "torch==2.13.0+cpu", "torchvision==0.28.0", "filelock<4"),
}
TURNS, FEW = 3, 10
SCORES = {"bleu4": "BLEU-4", "meteor": "METEOR", "rouge_l": "ROUGE-L", "cider": "CIDEr"}
INSPECT = """from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import Score, mean, scorer
from inspect_ai.solver import generate

@scorer(metrics=[mean()])
def length():
    async def score(state, target):
        return Score(value=len(state.output.completion.split()))
    return score

@task
def words(n: int = 10):
    samples = [Sample(input=f"caption {i}", target="a reference") for i in range(n)]
    return Task(dataset=samples, solver=generate(), scorer=length())
"""

LMMS_TASK = """task: words
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: generate_until
doc_to_visual: !function words.visuals
doc_to_text: !function words.text
doc_to_target: response
process_results: !function words.length
metric_list:
  - metric: length
    aggregation: mean
    higher_is_better: true
"""
LMMS_FUNCTIONS = """def visuals(doc):
    return []

def text(doc, lmms_eval_specific_kwargs=None):
    return doc["query"]

def length(doc, results):
    return {"length": len(results[0].split())}
"""

Usage = Mapping[str, float]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One measure of a peer and of ours."""

    what: str
    peer: str
    unit: str
    theirs: float
    ours: float

    @property
    def ratio(self) -> float:
        """How many times theirs is ours."""
        return self.theirs / self.ours


def installed(name: str) -> tuple[Path, str]:
    """The ``bin`` folder of a peer's environment, and why it could not be made; empty where it could."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cim-harness" / "peers"
    folder, uv = cache / name.replace(" ", "-"), Path(sys.executable).with_name("uv")
    done, python = folder / "bin" / ".done", folder / "bin" / "python"
    links = os.environ.get("UV_FIND_LINKS") or ",".join(os.environ.get("PIP_FIND_LINKS", "").split())
    install = ("pip", "install", "-q", "--compile-bytecode", "--exclude-newer", AS_OF, "--python", python)
    commands: list[tuple[str | Path, ...]] = [
        (uv, "venv", "-q", "--clear", "--python", sys.executable, folder),
        (uv, *install, *(() if links else ("--torch-backend", "cpu")), *PEERS[name]),
    ]
    if name.startswith("lmms"):
        commands.append((python, "-m", "harness.resources.torchvision_hook"))
    for command in commands if not done.is_file() else ():
        environment = {**os.environ, "UV_FIND_LINKS": links, "PYTHONPATH": str(ROOT)}
        try:
            ran = subprocess.run(command, capture_output=True, text=True, env=environment)
        except OSError as error:
            return folder / "bin", f"{command[0]}: {error.strerror}"
        if ran.returncode:
            return folder / "bin", " ".join(ran.stderr.split())[:200]
    done.touch()
    return folder / "bin", ""


def used(command: Sequence[str | Path], folder: Path) -> Usage:
    """CPU seconds and peak memory in MB of a command; its failure ends the benchmark."""
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"CIM_RESULTS": str(folder / "results"), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment |= {"HF_HOME": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}
    needed = launched(command, folder, environment)
    return {"cpu": needed.cpu, "mb": needed.peak}


def in_turns(theirs: Callable[[], Usage], ours: Callable[[], Usage]) -> tuple[Usage, Usage]:
    """Both, once to warm up and then ``TURNS`` times in turns; the medians."""
    theirs(), ours()
    pairs = [(theirs(), ours()) for _ in range(TURNS)]
    both = [{key: statistics.median(pair[at][key] for pair in pairs) for key in pairs[0][at]} for at in (0, 1)]
    return both[0], both[1]


def each(measure: Callable[[int], Usage], n: int) -> Usage:
    """Milliseconds of CPU a sample between ``FEW`` and n samples, and the peak memory at n."""
    few, many = measure(FEW), measure(n)
    return {"ms": 1000 * (many["cpu"] - few["cpu"]) / (n - FEW), **many}


def _cim(*words: str | Path) -> list[str | Path]:
    return [sys.executable, "-m", "harness", *words]


def _ours(folder: Path, n: int) -> Usage:
    for name, key in (("captions", "caption"), ("references", "reference")):
        rows = [json.dumps({"id": f"s{number}", key: f"{key} {number}"}) + "\n" for number in range(n)]
        (folder / f"{name}{n}.jsonl").write_text("".join(rows))
    files = ("--model", f"captions{n}.jsonl", "--references", f"references{n}.jsonl")
    return used(_cim("eval", *files, "--metrics", "length", "--fresh"), folder)


def _inspect(programs: Path, folder: Path, n: int) -> Usage:
    (folder / "words.py").write_text(INSPECT)
    options = ("--model", "mockllm/model", "--display", "none", "--log-dir", folder / "logs")
    return used([programs / "inspect", "eval", "words.py", "-T", f"n={n}", *options], folder)


def _evalscope(programs: Path, folder: Path, n: int) -> Usage:
    place = _asked(folder, n).parent
    data = json.dumps({"general_qa": {"local_path": str(place), "subset_list": ["words"]}})
    options = ("--datasets", "general_qa", "--dataset-args", data, "--work-dir", folder / "work", "--no-timestamp")
    return used([programs / "evalscope", "eval", "--model", "mock", "--eval-type", "mock_llm", *options], folder)


def _lmms_eval(programs: Path, folder: Path, n: int) -> Usage:
    (folder / "words.yaml").write_text(LMMS_TASK.format(file=_asked(folder, n)))
    (folder / "words.py").write_text(LMMS_FUNCTIONS)
    shutil.rmtree(folder / "logs", ignore_errors=True)
    options = ("--include_path", folder, "--output_path", folder / "logs", "--log_samples", "--batch_size", "1")
    needed = used([programs / "lmms-eval", "eval", "--model", "dummy", "--tasks", "words", *options], folder)
    (samples,) = (folder / "logs").rglob("*_samples_words.jsonl")
    assert len(samples.read_text().splitlines()) == n, "it goes on after an error, and ends with exit code 0"
    return needed


def _asked(folder: Path, n: int) -> Path:
    """A file of n questions, alone in its folder."""
    file = folder / f"general_qa{n}" / "words.jsonl"
    file.parent.mkdir(exist_ok=True)
    rows = [json.dumps({"query": f"caption {number}", "response": "a reference"}) + "\n" for number in range(n)]
    file.write_text("".join(rows))
    return file


MEASURES = {"inspect": _inspect, "evalscope": _evalscope, "lmms-eval": _lmms_eval}


def _word_metrics(
    programs: Path, folder: Path, captions: Sequence[str], references: Sequence[str]
) -> tuple[Usage, Usage]:
    """capevalkit's worker and ``cim eval``, with intervals, controls and page; caches empty, scores equal."""
    for name, key, texts in (("captions", "caption", captions), ("references", "references", references)):
        rows = ({"id": f"{number:04d}", key: text if key == "caption" else [text]} for number, text in enumerate(texts))
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    theirs = [programs / "python", "-m", "capevalkit.metrics.pycocoevalcap_metrics", "--output", "theirs.json"]
    theirs += ["--predictions", "captions.jsonl", "--references", "references.jsonl"]
    theirs += ["--metrics", "bleu,meteor,rouge,cider"]
    files = ("--model", "captions.jsonl", "--references", "references.jsonl")
    ours = _cim("eval", *files, "--task", "beside", "--metrics", ",".join(SCORES), "--fresh")

    def from_empty_caches() -> Usage:
        shutil.rmtree(folder / "results", ignore_errors=True)
        return used(ours, folder)

    both = in_turns(lambda: used(theirs, folder), from_empty_caches)
    scores = json.loads((folder / "theirs.json").read_text())
    stored = json.loads((folder / "results" / "beside" / "captions" / "scores.json").read_text())["scores"]
    for row in stored:
        (value,) = row["values"].values()
        assert abs(value - 100 * scores[SCORES[row["metric"]]]["score"]) < 1e-4, row
    return both


def beside(name: str, programs: Path, n: int, captions: Sequence[str], references: Sequence[str]) -> Iterator[Row]:
    """The rows of one peer."""
    program = name.split()[0].removesuffix("_ai")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        theirs, ours = in_turns(
            lambda: used([programs / program, "--help"], folder), lambda: used(_cim("--help"), folder)
        )
        yield Row("start-up, `--help`", name, "CPU s", theirs["cpu"], ours["cpu"])
        if program == "lmms-eval":
            listed = [programs / program, "tasks", "list"]
            theirs, ours = in_turns(lambda: used(listed, folder), lambda: used(_cim("list", "tasks"), folder))
            yield Row("list of tasks, of which it has many more", name, "CPU s", theirs["cpu"], ours["cpu"])
        if program == "capevalkit":
            theirs, ours = _word_metrics(programs, folder, captions, references)
            what = f"BLEU, METEOR, ROUGE-L, CIDEr of {len(captions)} captions"
            yield Row(what, name, "CPU s", theirs["cpu"], ours["cpu"])
        else:
            measure = MEASURES[program]
            theirs, ours = in_turns(
                lambda: each(lambda k: measure(programs, folder, k), n), lambda: each(lambda k: _ours(folder, k), n)
            )
            what = f"{n} samples of a model that answers at once"
            yield Row(f"{what}: a sample beyond start-up", name, "ms CPU", theirs["ms"], ours["ms"])
            yield Row(what, name, "CPU s", theirs["cpu"], ours["cpu"])
        yield Row(f"{what}: largest process", name, "MB", theirs["mb"], ours["mb"])


def peers(say: Say, n: int, captions: Sequence[str], references: Sequence[str]) -> list[Row]:
    """Every row of every peer that can be installed."""
    rows = list[Row]()
    say(f"beside other harnesses, medians of {TURNS} turns, byte code written")
    for name in PEERS:
        programs, reason = installed(name)
        if reason:
            say(f"  {name} left out: {reason}")
            continue
        for row in beside(name, programs, n, captions, references):
            say(f"  {row.what:<62} {name:<20} {row.theirs:8.2f}  ours {row.ours:8.2f} {row.unit}  {row.ratio:5.1f}x")
            rows.append(row)
    return rows
