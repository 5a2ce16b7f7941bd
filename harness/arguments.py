"""The command line: every verb and its options; a contract that users and checks rely on."""

from __future__ import annotations

import argparse
import importlib.metadata
from typing import Any, NoReturn

from harness.errors import CimError

STAGES = {
    "eval": "caption, parse, judge and score; the same command goes on where a killed one stopped",
    "caption": "make the captions that are missing",
    "parse": "parse captions and references for the metrics",
    "judge": "ask the judges that the metrics name",
    "score": "compute every number from the stored rows",
}


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like all others."""

    def error(self, message: str) -> NoReturn:
        raise CimError(message, hint=f"{self.prog} --help")


def parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    top = _Parser(prog="cim", description="Evaluate detailed image captions.", allow_abbrev=False)
    top.add_argument("--version", action="version", version=f"cim {importlib.metadata.version('cim-harness')}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, about in STAGES.items():
        stage = _add(verbs, name, about)
        _stage(stage)
        stage.add_argument("--metrics", metavar="A[,B]", help="default: all that this machine can compute")
    meteor = _add(verbs, "meteor", "every METEOR that the paper may have used, side by side, with its BLEU-4")
    _stage(meteor)
    meteor.set_defaults(metrics=None)
    compare = _add(verbs, "compare", "paired test on two stored runs")
    compare.add_argument("run_a", help="run folder, or run name")
    compare.add_argument("run_b", help="run folder, or run name")
    compare.add_argument("--task", help="task of both runs, where names are given")
    verify = _add(verbs, "verify", "check a stored run: schema, hashes, counts, scores made again")
    verify.add_argument("run", help="run folder, or run name")
    verify.add_argument("--task", help="task of the run, where a name is given")
    report = _add(verbs, "report", "make report.html of a stored run again, from its files alone")
    report.add_argument("run", help="run folder, or run name")
    report.add_argument("--task", help="task of the run, where a name is given")
    listing = _add(verbs, "list", "what there is, by kind")
    listing.add_argument("kind", nargs="?", help="tasks, models, metrics, judges, rewards, engines or parsers")
    _add(verbs, "where", "the folders and programs in use")
    doctor = _add(verbs, "doctor", "what works on this machine, and the command that mends what does not")
    doctor.add_argument("--parity", metavar="M", help="compare the engines transformers and vllm on this model")
    doctor.add_argument("--task", help="task whose first images --parity takes (default: the model's own)")
    doctor.add_argument("--limit", type=_positive, default=16, metavar="N", help="how many images (default 16)")
    _data(verbs)
    return top


def _data(verbs: Any) -> None:
    about = "fetch or verify a task's files"
    actions = verbs.add_parser("data", help=about, description=about, allow_abbrev=False).add_subparsers(
        dest="action", metavar="ACTION", required=True, parser_class=_Parser
    )
    verify = _add(actions, "verify", "are annotations whole, and how many images are there")
    verify.add_argument("tasks", help="task, or several with commas")
    verify.set_defaults(annotations_only=True, model=None, if_missing=False)
    fetch = _add(
        actions, "fetch", "bring annotations, then images; the same command goes on where a killed one stopped"
    )
    fetch.add_argument("tasks", nargs="?", help="task, or several with commas (default: those of --for)")
    fetch.add_argument("--annotations-only", action="store_true", help="no images; captions files need none")
    fetch.add_argument("--for", dest="model", metavar="M[,M2]", help="images only if this model looks at them")
    fetch.add_argument("--if-missing", action="store_true", help="say nothing when all files are there")


def _add(verbs: Any, name: str, about: str) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = verbs.add_parser(name, help=about, description=about, allow_abbrev=False)
    made.add_argument("--results", metavar="DIR", help="folder of all runs (default: $CIM_RESULTS, then results/)")
    made.add_argument("--json", action="store_true", help="print JSON and nothing else on standard output")
    return made


def _stage(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--model", required=True, metavar="M[,M2]", help="name, captions file (.jsonl), or folder of a stored run"
    )
    made.add_argument("--task", metavar="T[,T2]", help="default: the task that the model or its captions belong to")
    made.add_argument("--engine", metavar="NAME", help="run the model's weights with this engine, not with its file's")
    made.set_defaults(among=())
    made.add_argument("--limit", type=_positive, metavar="N", help="only the first N samples")
    made.add_argument("--partial", action="store_true", help="score only the samples that a captions file holds")
    made.add_argument("--fresh", action="store_true", help="discard what is stored of this run and begin anew")
    made.add_argument("--draws", type=_count, metavar="N", help="bootstrap draws (default 10000; 0: no intervals)")
    made.add_argument("--dry-run", action="store_true", help="say what would be done; write nothing")


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a whole number of 1 or more")
    return int(text)


def _count(text: str) -> int:
    return 0 if text == "0" else _positive(text)
