"""The command line: every verb and its options; a contract that users and checks rely on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from harness.command import judge_arguments, training_options
from harness.command.numbers import draws, positive, processes, real, whole
from harness.errors import CimError

STAGES = {
    "eval": "caption, parse, judge, retrieve and score; the same command resumes a killed one",
    "caption": "generate the missing captions",
    "parse": "parse captions and references for the metrics",
    "judge": "ask the judges that the metrics name; with --judge OTHER, measure its agreement with earlier ones",
    "retrieve": "look captions up in a gallery, for metric cim",
    "score": "compute every number from the stored rows",
}

# Commands of the leaderboards: each is a module with ``arguments(parser)`` and ``main(args, say, tell) -> exit code``.
BOARDS = {
    "report": "the page of one stored run, or RUN --against others; without RUN one page over all that is stored",
    "tables": "the paper's Tables 6 to 8, published and as run here, as Markdown, LaTeX, CSV and HTML",
    "table": "a table of your own runs for a paper: text, Markdown, LaTeX, CSV or HTML; best and significance marked",
    "facts": "what runs say of each fact of a benchmark: by kind, only one of them, none of them",
    "audit": "what the digits of a printed table allow; or recompute what can be checked in stored runs",
    "export": "stored runs in the forms of other tools: Every Eval Ever, the Hugging Face hub, parquet",
    "board": "a static site over all stored runs: ranks, intervals, a page per run",
    "check": "the regression gate: a stored run against a stored baseline",
    "baseline": "update the gate's baseline to a stored run",
}


class _Parser(argparse.ArgumentParser):
    """A parser that raises CimError, so that its errors are one line like all others."""

    def error(self, message: str) -> NoReturn:
        raise CimError(message, hint=f"{self.prog} --help")


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        sys.stdout.write(f"cim {version('cim-harness')}\n")
        parser.exit()


def _kinds() -> str:
    from harness.kinds import KINDS

    return ", ".join(KINDS)


def parser(given: Sequence[str] = ()) -> argparse.ArgumentParser:
    """All verbs; stages and leaderboards have options only where ``given`` names them, so that help is quick."""
    wanted = next((word for word in given if not word.startswith("-")), "")
    top = _Parser(prog="cim", description="Evaluate detailed image captions.", allow_abbrev=False)
    top.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    meteor = "every METEOR that the paper may have used, side by side, with its BLEU-4"
    for name, about in {**STAGES, "meteor": meteor}.items():
        stage = _add(verbs, name, about)
        if name == wanted:
            _stage(stage)
        if name == wanted != "meteor":
            stage.add_argument("--metrics", metavar="A[,B]", help="default: all that this machine can compute")
        if name == wanted == "caption":
            stage.add_argument("--shard", metavar="I/N", help="caption one of N parts, I from 0, as a Slurm array does")
        if name == wanted and name in ("caption", "parse"):
            _on_ray(stage)
        if name == wanted == "judge":
            judge_arguments.judge(stage, positive)
    compare = _add(verbs, "compare", "paired tests of stored runs against the first of them, and which is better")
    compare.add_argument("run_a", metavar="A", help="run folder, or run name: the baseline")
    compare.add_argument("runs", metavar="B", nargs="+", help="runs to compare with it; several get a column each")
    compare.add_argument("--task", help="task of the runs, where names are given")
    compare.add_argument("--wide", action="store_true", help="all columns, however narrow the terminal is")
    _plan(verbs, wanted)
    arena = _add(verbs, "arena", "a judge compares runs pair by pair: ratings, win rates, position bias")
    judge_arguments.arena(arena, positive, draws)
    verify = _add(verbs, "verify", "check a stored run: schema, hashes, counts, scores recomputed")
    verify.add_argument("run", help="run folder, or run name")
    verify.add_argument("--task", help="task of the run, where a name is given")
    _validate(verbs, wanted)
    listing = _add(verbs, "list", "what there is, by kind")
    listing.add_argument("kind", nargs="?", help=_kinds() if wanted == "list" else None)
    _add(verbs, "where", "the folders and programs in use")
    doctor = _add(verbs, "doctor", "what works on this machine, and the command that fixes what does not")
    doctor.add_argument("--parity", metavar="M", help="compare the engines transformers and vllm on this model")
    doctor.add_argument("--part", metavar="FILE", help="check that a user's part keeps the contracts of its kind")
    doctor.add_argument("--task", help="task whose first images --parity takes (default: the model's own)")
    doctor.add_argument("--limit", type=positive, default=16, metavar="N", help="how many images (default 16)")
    _data(verbs)
    _model(verbs)
    _gallery(verbs)
    training_options.train(_add(verbs, "train", "train a captioner on a reward; the same command resumes a killed one"))
    training_options.study(
        _add(verbs, "study", "train arms in the embedded environment, evaluate them and compare them with mini-base")
    )
    _watch(verbs, wanted)
    training_options.audit_reward(
        _add(verbs, "audit-reward", "what a reward pays for: edits of captions with known truth", results=False)
    )
    for name, about in BOARDS.items():
        board = verbs.add_parser(name, help=about, description=about, allow_abbrev=False)
        board.add_argument("--results", metavar="DIR", help="folder of all runs (default: $CIM_RESULTS, then results/)")
        if name == wanted:
            if name == "report":
                board.add_argument("run", nargs="?", help="run folder, or run name: write its own page again")
            from leaderboards import options

            options.OF[name](board)
    return top


def _plan(verbs: Any, wanted: str) -> None:
    verb = _add(verbs, "plan", "images and judge calls that a difference needs, and what the images there are can show")
    if wanted == "plan":
        from harness.command import plan

        plan.options(verb)


def _validate(verbs: Any, wanted: str) -> None:
    verb = _add(verbs, "validate", "does a metric agree with people? agreement with intervals and paired tests")
    if wanted == "validate":
        from harness.command import validate

        validate.options(verb)


def _watch(verbs: Any, wanted: str) -> None:
    verb = _add(verbs, "watch", "evaluate a trainer's checkpoints as it saves them, by metrics that are not its reward")
    if wanted == "watch":
        from harness.command import watch

        watch.options(verb)


def _data(verbs: Any) -> None:
    about = "fetch or verify a task's files, or weights that metrics need (factual, mpnet)"
    actions = verbs.add_parser("data", help=about, description=about, allow_abbrev=False).add_subparsers(
        dest="action", metavar="ACTION", required=True, parser_class=_Parser
    )
    verify = _add(actions, "verify", "check annotations, and count the images")
    verify.add_argument("tasks", help="task, set of `cim validate`, factual or mpnet, or several with commas")
    absent = dict.fromkeys(("model", "engine", "id_key", "caption_key", "system_key", "name"))
    verify.set_defaults(annotations_only=True, if_missing=False, **absent)
    pin = _add(actions, "pin", "print name, size and SHA-256 of files, ready to paste into a task", results=False)
    pin.add_argument("files", nargs="+", metavar="FILE", help="files of a new benchmark")
    fetch = _add(actions, "fetch", "fetch annotations, then images; the same command resumes a killed one")
    fetch.add_argument(
        "tasks", nargs="?", help="task, set of `cim validate`, factual or mpnet; several with commas (default: --for's)"
    )
    fetch.add_argument("--annotations-only", action="store_true", help="no images; captions files need none")
    fetch.add_argument(
        "--for", dest="model", metavar="M[,M2]", help="images only if this model needs them; its weights, too"
    )
    fetch.add_argument("--metrics", metavar="A[,B]", help="with --for: weights of these metrics (default: of all)")
    fetch.add_argument("--judge", metavar="J", help="with --for: weights of this judge (default: the tasks' own)")
    fetch.add_argument("--engine", metavar="NAME", help="with --for: the engine that runs the model")
    fetch.add_argument("--if-missing", action="store_true", help="print nothing if all files are there")
    fetch.set_defaults(id_key=None, caption_key=None, system_key=None, name=None)


def _model(verbs: Any) -> None:
    about = "bring a model's weights from the Hugging Face hub"
    actions = verbs.add_parser("model", help=about, description=about, allow_abbrev=False).add_subparsers(
        dest="action", metavar="ACTION", required=True, parser_class=_Parser
    )
    fetch = _add(actions, "fetch", "bring checkpoints: only safetensors, config and tokenizer; a killed one resumes")
    fetch.add_argument("names", metavar="NAME[,NAME]", help="models, or factual, mpnet (what metrics need)")
    fetch.add_argument("--dry-run", action="store_true", help="print size, licence and free disk; bring nothing")


def _gallery(verbs: Any) -> None:
    about = "build, join, index, fetch, verify or show a gallery of images and captions"
    actions = verbs.add_parser("gallery", help=about, description=about, allow_abbrev=False).add_subparsers(
        dest="action", metavar="ACTION", required=True, parser_class=_Parser
    )
    stages = {
        "build": "encode pairs into a gallery; the same command resumes a killed one",
        "fetch": "bring a published one by the address and sha256 of its manifest; the same command goes on",
        "join": "one gallery of several, which stay where they are; rows in the order of the parts",
        "index": "build an approximate search, measure its recall, and keep both beside the gallery",
        "verify": "check the bytes of its files, and that all embeddings are L2-normalised",
        "show": "what it holds and how it was built",
    }
    build, *others = (_add(actions, name, about, results=False) for name, about in stages.items())
    for action in (build, *others):
        action.add_argument("name", help="a folder, or a name under $CIM_DATA/galleries")
    others[0].add_argument("url", help="address of its manifest.json; its other files lie beside it")
    others[0].add_argument("sha256", help="of that manifest.json, from who published it")
    others[1].add_argument("parts", nargs="+", metavar="PART", help="two or more galleries, of the same encoders")
    others[2].add_argument("--search", required=True, choices=("faiss-ivf", "faiss-hnsw"), help="which index")
    others[2].add_argument("--fresh", action="store_true", help="build it anew")
    build.add_argument(
        "--from",
        dest="source",
        nargs="+",
        action="append",
        required=True,
        metavar=("KIND", "PATH"),
        help="KIND FILE [IMAGES], any number of times; kinds: refinedcaps densefusion docci jsonl folder webdataset; "
        "or a synthetic environment's name and N, its first rendered scenes",
    )
    build.add_argument("--text-encoder", default="mpnet", metavar="NAME", help="default: mpnet")
    build.add_argument("--image-encoder", default="vit_h_14", metavar="NAME", help="default: vit_h_14")
    build.add_argument("--shard", default="0/1", metavar="I/N", help="build one of N shards; one process per GPU")
    build.add_argument(
        "--workers", type=processes, metavar="N", help="threads that read images (default: cores, to 16)"
    )
    _on_ray(build)
    build.add_argument("--fine", action="store_true", help="also keep caption embeddings at float32")
    build.add_argument("--dedupe", action="store_true", help="drop pairs that repeat an image and its caption")
    build.add_argument("--drop-near", action="store_true", help="drop rows that show a benchmark's image")
    build.add_argument("--allow-missing", action="store_true", help="leave out pairs whose image is missing")
    build.add_argument("--fresh", action="store_true", help="discard what is stored of this gallery")


def _add(verbs: Any, name: str, about: str, *, results: bool = True) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=about, description=about, allow_abbrev=False)
    if results:
        verb.add_argument("--results", metavar="DIR", help="folder of all runs (default: $CIM_RESULTS, then results/)")
    verb.add_argument("--json", action="store_true", help="print JSON and nothing else on standard output")
    return verb


def _on_ray(verb: argparse.ArgumentParser) -> None:
    ray = verb.add_argument_group("on several machines (docs/scale.md)")
    ray.add_argument("--on", choices=("ray",), help="spread the work over a Ray cluster; the same files come of it")
    ray.add_argument(
        "--ray-address", metavar="HOST:PORT", help="of a cluster that runs (default: one for this command)"
    )
    ray.add_argument(
        "--actors", type=whole(1, 10_000), metavar="N", help="processes that load the model (default: all that fit)"
    )
    about = "default: 1 for a model that uses one, where the cluster has GPUs"
    ray.add_argument("--gpus-per-actor", type=_gpus, metavar="X", help=about)


def _gpus(text: str) -> float:
    value = real(0, 64)(text)
    if value > 1 and value != int(value):
        raise argparse.ArgumentTypeError("0, a part of 1, or a whole number")
    return value


def _stage(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--model",
        required=True,
        metavar="M[,M2]",
        help="name, captions (a file, a folder of .txt files, - for standard input), or folder of a stored run",
    )
    verb.add_argument("--task", metavar="T[,T2]", help="default: the task that the model or its captions belong to")
    verb.add_argument("--engine", metavar="NAME", help="run the model's weights with this engine instead of its file's")
    verb.add_argument(
        "--judge", metavar="J", help="model that answers judges' questions: name, or folder with model.toml"
    )
    verb.add_argument("--gallery", metavar="NAME", help="where metric cim looks captions up (default: the task's own)")
    about = "whether cim may retrieve an image's own gallery row or its near-duplicates (default: include)"
    verb.add_argument("--self-policy", choices=("include", "exclude", "exclude_near"), help=about)
    verb.set_defaults(among=(), shard=None, metrics=None, on=None)
    verb.add_argument(
        "--workers", type=processes, default=1, metavar="N", help="processes that load the model, each on its own GPUs"
    )
    verb.add_argument("--id-key", metavar="KEY", help="where a captions file has its ids (default: guessed, printed)")
    verb.add_argument(
        "--caption-key", metavar="K[,K2]", help="where it has its captions; a.b.0 is a path; several: a system each"
    )
    verb.add_argument("--system-key", metavar="KEY", help="where it says which system wrote a caption: a run each")
    verb.add_argument("--name", help="name of the run (default: the model's, or the file's; stdin for -)")
    verb.add_argument("--several", action="store_true", help="score every caption of an image that has several")
    benchmark = verb.add_argument_group("a benchmark of your own, without code (or --task FOLDER/task.toml)")
    benchmark.add_argument("--references", metavar="FILE", help="reference texts, in any form that captions may have")
    benchmark.add_argument(
        "--images", metavar="DIR", help="the images; alone: a benchmark for metrics without references"
    )
    benchmark.add_argument("--reference-id-key", metavar="KEY", help="where the references have their ids")
    benchmark.add_argument("--reference-key", metavar="KEY", help="where they have their texts")
    benchmark.add_argument("--prompt", metavar="TEXT", help="the caption prompt, in place of the task's")
    verb.add_argument("--ignore-unknown", action="store_true", help="leave out captions of ids that the task has not")
    verb.add_argument("--limit", type=positive, metavar="N", help="only the first N samples")
    verb.add_argument("--partial", action="store_true", help="score only the samples that a captions file holds")
    verb.add_argument("--fresh", action="store_true", help="discard what is stored of this run and start over")
    verb.add_argument("-v", "--verbose", action="store_true", help="all values, control rows, counts and signatures")
    verb.add_argument("--draws", type=draws, metavar="N", help="bootstrap resamples (default 10000; 0: no intervals)")
    verb.add_argument("--dry-run", action="store_true", help="print what would be done; write nothing")
