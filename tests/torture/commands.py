"""The commands that make a workspace, and those that read what the others made."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SCENES, N = "miniscenes", 12  # captions of the two runs that most commands read
RUN = f"results/{SCENES}/terse"
TRAINED = "train --model mini-base --gallery tiny --steps 2 --name tiny --no-probe --set max_completion_length=16"
WATCHED = "watch {work}/../results/train/tiny --model mini-base --task {scenes} --metrics objects --images 4"
GALLERY = "--text-encoder miniscenes_text --image-encoder miniscenes_image"
OWN = "--references {work}/references.jsonl --draws 20 --metrics"
SHORT: Mapping[str, str] = {
    "scenes": SCENES,
    "one": "{work}/terse.jsonl --task miniscenes --partial",
    "both": "{work}/terse.jsonl,{work}/detailed.jsonl --task miniscenes --partial",
    "pair": "terse detailed --task miniscenes",
    "words": "bleu4,cider,length,rouge_l --draws 20",
    "eee": "export terse --task miniscenes --to eee --organization x --out {work}/eee",
}


@dataclass(frozen=True, slots=True)
class Command:
    """A command line of ``cim``; ``{work}`` stands for the folder of inputs and of what is written outside of results.

    ``files`` are, below the workspace, what it makes or changes; of a reading command, what it must not be misled by.
    ``weights`` says whether it loads torch, or reads what a command that does has written.
    """

    name: str
    text: str
    files: tuple[str, ...]
    weights: bool = False

    def words(self, root: Path) -> list[str]:
        """Its words in a workspace."""
        named = next((path.name for path in root.glob("results/references-*")), "references")
        places = {"work": str(root / "work"), "benchmark": named}
        return [word.format(**places) for word in shlex.split(self.text)]


def _c(name: str, text: str, *files: str, weights: bool = False) -> Command:
    for short, long in SHORT.items():
        text = text.replace("{" + short + "}", long)
    return Command(name, text, files, weights)


# In an order in which each finds what it reads. The last words of a name tell commands of one verb apart.
MAKING = (
    _c("eval words", "eval --model demo-terse,demo-detailed --metrics {words}", "results/demo"),
    _c("gallery build", f"gallery build tiny --from miniscenes 40 {GALLERY}", "data", weights=True),
    _c("caption", "caption --model {both}", f"results/{SCENES}"),
    _c(
        "caption images",
        "caption --model mini-base --task {scenes} --limit 8",
        f"results/{SCENES}/mini-base",
        weights=True,
    ),
    _c("parse", "parse --model {one}", "results/.cache/parses"),
    _c("judge", "judge --model {both} --controls", f"results/{SCENES}"),
    _c("retrieve", "retrieve --model {one} --gallery tiny", RUN, weights=True),
    _c("score", "score --model {both} --draws 20", f"results/{SCENES}"),
    _c("label", "judge --model {one} --label 10 --out {work}/sheet.csv", "work"),
    _c("labels", "judge --model {one} --labels {work}/sheet.csv", RUN),
    _c("arena", "arena {pair} --judge rule-judge --draws 20", "results/arena"),
    _c("benchmark", f"eval --model {{work}}/captions.jsonl {OWN} bleu4,length", "results/references-*"),
    _c("validate", f"validate --on {{work}}/ratings.csv {OWN} cider,length", "results/.validity"),
    _c("baseline", "baseline terse --task {scenes} --into {work}/baseline", "work/baseline", weights=True),
    _c("board", "board", "results/.leaderboards/board"),
    _c("report", "report", "results/.leaderboards/report"),
    _c("export", "{eee}", "work/eee"),
    _c("audit", "audit --runs", "results/.leaderboards/audit"),
    _c("train", f"{TRAINED}", "results/train", weights=True),
    _c("watch", f"{WATCHED} --once --no-stop", "results/.watched", weights=True),
)
# Commands that read, and the files whose damage each must notice.
READING = (
    _c(
        "score words",
        "score --model demo-terse --metrics {words} --json",
        "results/demo/demo-terse/*",
        "results/.cache/parses/*",
    ),
    _c(
        "score",
        "score --model {one} --draws 20 --json",
        f"{RUN}/*",
        "results/.cache/parses/*",
        "results/.cache/vectors/*/*",
    ),
    _c("verify", "verify terse --task {scenes} --json", f"{RUN}/*"),
    _c("table", "table {pair} --json", f"{RUN}/*"),
    _c("compare", "compare {pair} --json", f"{RUN}/*"),
    _c("facts", "facts {pair} --json", f"{RUN}/*"),
    _c(
        "check",
        "check terse --task {scenes} --baseline {work}/baseline/miniscenes/terse --json",
        f"work/baseline/{SCENES}/terse/*",
        f"{RUN}/*",
        weights=True,
    ),
    _c("report run", "report terse --task {scenes} --json", f"{RUN}/*"),
    _c("report", "report --json", f"{RUN}/*", "results/train/tiny/*"),
    _c("board", "board --json", f"{RUN}/*", "results/.validity/*", "results/.leaderboards/board/*"),
    _c("audit", "audit --runs --json", f"{RUN}/*"),
    _c("export", "{eee} --json", f"{RUN}/*", "work/eee/*/*/*/*/*"),
    _c(
        "labels",
        "judge --model {one} --labels {work}/sheet.csv",
        *(f"{RUN}/{name}" for name in ("labels.*", "captions.jsonl", "judged.jsonl", "replies.*")),
        "work/sheet.csv",
    ),
    _c(
        "arena",
        "arena {pair} --judge rule-judge --draws 20 --json",
        "results/arena/*/*/*",
        f"{RUN}/captions.jsonl",
        f"{RUN}/manifest.json",
    ),
    _c(
        "benchmark",
        f"eval --model {{work}}/captions.jsonl {OWN} bleu4,length --json",
        "results/references-*/*",
        "results/references-*/*/*",
        "work/captions.jsonl",
        "work/references.jsonl",
    ),
    _c(
        "benchmark by name",
        "score --model captions --task {benchmark} --metrics length --draws 20 --json",
        "results/references-*/*",
        "results/references-*/*/*",
    ),
    _c(
        "validate",
        f"validate --on {{work}}/ratings.csv {OWN} cider,length --json",
        "results/.validity/*",
        "work/ratings.csv",
        "work/references.jsonl",
    ),
    _c("gallery show", "gallery show tiny --json", "data/galleries/tiny/*", weights=True),
    _c("gallery verify", "gallery verify tiny --json", "data/galleries/tiny/*", weights=True),
    _c(
        "gallery build",
        f"gallery build tiny --from miniscenes 40 {GALLERY} --json",
        "data/galleries/tiny/*",
        weights=True,
    ),
    _c(
        "retrieve",
        "retrieve --model {one} --gallery tiny --json",
        "data/galleries/tiny/*",
        f"{RUN}/retrievals*",
        weights=True,
    ),
    _c("train", f"{TRAINED} --json", "results/train/tiny/*", "results/train/tiny/*/*", weights=True),
    _c(
        "watch",
        f"{WATCHED} --once --no-stop --json",
        "results/.watched/tiny/*",
        "results/.watched/tiny/*/*/*",
        "results/train/tiny/*/*",
        weights=True,
    ),
)
