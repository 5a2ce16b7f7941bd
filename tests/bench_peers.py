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
}
LEFT_OUT = "lmms-eval 0.7.3: not installed, it needs several GB of CUDA packages"
PROGRAMS = {"inspect_ai 0.3.285": "inspect", "evalscope 1.14.1": "evalscope", "capevalkit 0.1.3": "capevalkit"}
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
    done = folder / "bin" / ".done"
    if not done.is_file():
        for words in (
            ("venv", "-q", "--clear", "--python", sys.executable, folder),
            ("pip", "install", "-q", "--compile-bytecode", "--exclude-newer", AS_OF, "--python", folder / "bin/python",
             *PEERS[name]),
        ):  # fmt: skip
            try:
                made = subprocess.run([uv, *words], capture_output=True, text=True)
            except OSError as error:
                return folder / "bin", f"uv: {error.strerror}"
            if made.returncode:
                return folder / "bin", " ".join(made.stderr.split())[:200]
        done.touch()
    return folder / "bin", ""


def used(command: Sequence[str | Path], folder: Path) -> Usage:
    """CPU seconds and peak memory in MB of a command; its failure ends the benchmark."""
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"CIM_RESULTS": str(folder / "results"), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    needed = launched(command, folder, environment)
    return {"cpu": needed.cpu, "mb": needed.peak}


def in_turns(theirs: Callable[[], Usage], ours: Callable[[], Usage]) -> tuple[Usage, Usage]:
    """Both, once to warm up and then ``TURNS`` times in turns; the medians."""
    theirs(), ours()
    pairs = [(theirs(), ours()) for _ in range(TURNS)]
    both = [{key: statistics.median(pair[at][key] for pair in pairs) for key in pairs[0][at]} for at in (0, 1)]
    return both[0], both[1]


def each(one: Callable[[int], Usage], n: int) -> Usage:
    """Milliseconds of CPU a sample between ``FEW`` and n samples, and the peak memory at n."""
    few, many = one(FEW), one(n)
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
    place = folder / f"general_qa{n}"
    place.mkdir(exist_ok=True)
    rows = [json.dumps({"query": f"caption {number}", "response": "a reference"}) + "\n" for number in range(n)]
    (place / "words.jsonl").write_text("".join(rows))
    data = json.dumps({"general_qa": {"local_path": str(place), "subset_list": ["words"]}})
    options = ("--datasets", "general_qa", "--dataset-args", data, "--work-dir", folder / "work", "--no-timestamp")
    return used([programs / "evalscope", "eval", "--model", "mock", "--eval-type", "mock_llm", *options], folder)


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
    found = json.loads((folder / "theirs.json").read_text())
    stored = json.loads((folder / "results" / "beside" / "captions" / "scores.json").read_text())["scores"]
    for row in stored:
        (value,) = row["values"].values()
        assert abs(value - 100 * found[SCORES[row["metric"]]]["score"]) < 1e-4, row
    return both


def beside(name: str, programs: Path, n: int, captions: Sequence[str], references: Sequence[str]) -> Iterator[Row]:
    """The rows of one peer."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        theirs, ours = in_turns(
            lambda: used([programs / PROGRAMS[name], "--help"], folder), lambda: used(_cim("--help"), folder)
        )
        yield Row("start-up, `--help`", name, "CPU s", theirs["cpu"], ours["cpu"])
        if name.startswith("capevalkit"):
            theirs, ours = _word_metrics(programs, folder, captions, references)
            what = f"BLEU, METEOR, ROUGE-L, CIDEr of {len(captions)} captions"
            yield Row(what, name, "CPU s", theirs["cpu"], ours["cpu"])
        else:
            one = _inspect if name.startswith("inspect") else _evalscope
            theirs, ours = in_turns(
                lambda: each(lambda k: one(programs, folder, k), n), lambda: each(lambda k: _ours(folder, k), n)
            )
            what = f"{n} samples of a model that answers at once"
            yield Row(f"{what}: a sample beyond start-up", name, "ms CPU", theirs["ms"], ours["ms"])
            yield Row(what, name, "CPU s", theirs["cpu"], ours["cpu"])
        yield Row(f"{what}: largest process", name, "MB", theirs["mb"], ours["mb"])


def peers(say: Say, n: int, captions: Sequence[str], references: Sequence[str]) -> list[Row]:
    """Every row of every peer that can be installed."""
    rows = list[Row]()
    say(f"beside other harnesses, medians of {TURNS} turns, byte code written; {LEFT_OUT}")
    for name in PEERS:
        programs, reason = installed(name)
        if reason:
            say(f"  {name} left out: {reason}")
            continue
        for row in beside(name, programs, n, captions, references):
            say(f"  {row.what:<62} {name:<20} {row.theirs:8.2f}  ours {row.ours:8.2f} {row.unit}  {row.ratio:5.1f}x")
            rows.append(row)
    return rows
