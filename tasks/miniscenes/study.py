"""A study of the embedded world: a base captioner, arms trained from it with several seeds, all evaluated and compared.

Every stage is a command of its own (``cim gallery build``, ``cim train``, ``cim eval``), so each goes on where a killed
one stopped and none is made twice. An arm is compared with the base on the same test scenes (``contrasts.py``); from
two seeds on its captions are compared as well when shortened to their first sentence, and to the length of the base's,
which tells better captions from longer ones. The table is kept in ``results/train/study.json``. Run with ``cim study``
(``make train-cim``: arms cim, length-kl and sft) or ``cim study --arms all --pearson`` (``make ablation``), which also
looks up 3,000 captions of random detail in galleries of three sizes, for the correlation of reward and quality, and
audits the reward (``cim audit-reward``).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import registry, store
from harness.errors import AlarmError, CimError
from harness.resources import data, paths
from harness.retrieval.gallery import place
from harness.runs import manifest, stored_run
from tasks.miniscenes import contrasts

BASE, TASK = "mini-base", "miniscenes"
FILE, AUDIT = "study.json", "reward_audit.json"
ENCODERS = ("--text-encoder", "miniscenes_text", "--image-encoder", "miniscenes_image")
SCENES = 8000
OWN = 1120  # training scenes that preset mini sees: 70 steps of 16
PEARSON = "miniscenes_pearson"
RANDOM = {
    "random-detail": "miniscenes",
    "random-detail-1000": "miniscenes-1000",
    "random-detail-3000": "miniscenes-3000",
}
COMPARED = "fine_names,attributes,objects,length,cim"
VIEWED = "objects,attributes,fine_names,relation_qa,statements,length"


@dataclass(frozen=True, slots=True)
class Arm:
    """What is trained: options of ``cim train``, the gallery it looks captions up in, and the arm it begins from.

    ``start`` is a module that writes another start model; ``caught`` names the alarms of which one must stop a
    negative control.
    """

    about: str
    options: tuple[str, ...] = ()
    gallery: str = "miniscenes"
    after: str | None = None
    start: str | None = None
    caught: tuple[str, ...] = ()


GALLERIES: dict[str, tuple[str, ...]] = {
    "miniscenes": (str(SCENES),),
    "miniscenes-1000": ("1000",),
    "miniscenes-3000": ("3000",),
    "miniscenes-own": (f"train:{OWN}", str(SCENES)),
}
ARMS: dict[str, Arm] = {
    "cim": Arm("GRC + QIR, source image not in the gallery"),
    "length-kl": Arm(
        "GRC + QIR, each word costs 0.008, KL 0.1", ("--rewards", "grc,qir,length=-0.008", "--set", "beta=0.1")
    ),
    "sft": Arm("supervised on medium captions of the training scenes", ("--stage", "sft")),
    "sft-cim": Arm("GRC + QIR, begun from arm sft", after="sft"),
    "kl": Arm("GRC + QIR, KL 0.2 in place of 0.04", ("--set", "beta=0.2")),
    "length": Arm("GRC + QIR, each word costs 0.008", ("--rewards", "grc,qir,length=-0.008")),
    "per-term": Arm(
        "GRC and QIR, each normalised by its own deviation", ("--set", "multi_objective_aggregation=normalize_then_sum")
    ),
    "exclude-near": Arm("GRC + QIR, near-duplicates of the source image excluded", ("--self-policy", "exclude_near")),
    "qir": Arm("QIR alone", ("--rewards", "qir")),
    "grc": Arm("GRC alone: a negative control", ("--rewards", "grc"), caught=("truth",)),
    "include": Arm(
        "GRC + QIR, training scenes in the gallery and kept", ("--self-policy", "include"), "miniscenes-own"
    ),
    "gallery-1000": Arm("GRC + QIR, a gallery of 1,000 scenes", (), "miniscenes-1000"),
    "gallery-3000": Arm("GRC + QIR, a gallery of 3,000 scenes", (), "miniscenes-3000"),
    "collapse": Arm(
        "GRC alone, fast, two alarms tolerated: a negative control",
        ("--rewards", "grc", "--tolerate", "truth,ungrounded", "--set", "learning_rate=7e-4", "--set", "beta=0.02"),
        caught=("distinct",),
    ),
    "weak": Arm(
        "GRC + QIR, a start model that hardly sees: a negative control",
        start="tasks.miniscenes.weaken",
        caught=("distinct",),
    ),
}
DEFAULT = ("cim", "length-kl", "sft")


def chosen(names: Sequence[str]) -> list[str]:
    """Names of arms in the order they are made, those they begin from first; ``all`` for all.

    Raises:
        CimError: an unknown arm.
    """
    wanted = list(ARMS) if list(names) == ["all"] else list(names or DEFAULT)
    if strangers := [name for name in wanted if name not in ARMS]:
        raise CimError(f"unknown arm {strangers[0]!r}", where="--arms", hint=f"arms: {', '.join(ARMS)}, or all")
    needed = {ARMS[name].after for name in wanted}
    return [name for name in ARMS if name in wanted or name in needed]


def run_name(arm: str, seed: int) -> str:
    """The name of an arm's run."""
    return f"{arm}-seed{seed}"


def study(
    results: Path,
    arms: Sequence[str],
    seeds: Sequence[int],
    metrics: Sequence[str],
    say: Callable[[str], None],
    pearson: bool = False,
) -> dict[str, Any]:
    """Make what is missing; returns the table that is stored: one row per arm and seed, then means over seeds.

    Args:
        pearson: also look up the captions of the correlation study.

    Raises:
        CimError: a command failed; what the others made is kept.
    """
    galleries = [ARMS[arm].gallery for arm in arms] + (list(RANDOM.values()) if pearson else [])
    build_galleries(dict.fromkeys(galleries), say)
    evaluate(results, BASE, BASE, metrics, say)
    if pearson:
        _correlate(results, say)
    rows = list[dict[str, Any]]()
    table = {"base": BASE, "task": TASK, "arms": {name: ARMS[name].about for name in arms}, "rows": rows}
    for seed in seeds:
        for arm in arms:
            rows.append(_arm(results, arm, seed, metrics, say))
            if len(seeds) > 1 and rows[-1]["values"] and not ARMS[arm].caught:
                _views(results, run_name(arm, seed), say)
            contrasts.correct(rows)
            store.write_document(results / paths.TRAINED / FILE, table)
    if len(seeds) > 1:
        table |= _over_seeds(results, rows)
        store.write_document(results / paths.TRAINED / FILE, table)
    return table


def build_galleries(names: Iterable[str], say: Callable[[str], None]) -> None:
    """Build the galleries of the study that are not there."""
    for name in names:
        if not (place(name) / "manifest.json").is_file():
            sources = [part for split in GALLERIES[name] for part in ("--from", TASK, split)]
            say(f"gallery {name}")
            command(say, "gallery", "build", name, *sources, *ENCODERS)


def _over_seeds(results: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over seeds against the base, and of each arm against the first."""
    runs, viewed = dict[str, dict[int, stored_run.StoredRun]](), dict[str, dict[int, stored_run.StoredRun]]()
    for row in rows:
        if row["values"]:
            name = run_name(row["arm"], row["seed"])
            runs.setdefault(row["arm"], {})[row["seed"]] = stored_run.load(results / TASK / name)
            for view, about in VIEWS.items():
                if (folder := results / TASK / f"{name}-{view}").is_dir():
                    viewed.setdefault(f"{row['arm']}, {about}", {})[row["seed"]] = stored_run.load(folder)
    base = stored_run.load(results / TASK / BASE)
    table = {"means": contrasts.means(base, runs), "views": contrasts.means(base, viewed)}
    first = next(iter(runs), None)
    return {**table, "than": first, "between": contrasts.between(runs, first)} if first else table


def first_sentence(caption: str, _: str) -> str:
    """A caption up to its first full stop."""
    sentence, stop, _rest = caption.partition(" .")
    return sentence + stop


def cut(caption: str, base: str) -> str:
    """A caption cut to as many words as the base wrote about the same scene."""
    return " ".join(caption.split()[: len(base.split())])


VIEWS = {"first": "first sentences", "cut": f"cut to the length of {BASE}'s"}
SHORTENED: Mapping[str, Callable[[str, str], str]] = {"first": first_sentence, "cut": cut}


def _views(results: Path, name: str, say: Callable[[str], None]) -> None:
    """Evaluate shortened captions of a run, each kind as a run of its own."""
    before, after = (stored_run.load(results / TASK / run).files.completions() for run in (BASE, name))
    for view, shorten in SHORTENED.items():
        run = f"{name}-{view}"
        if _complete(results / TASK / run):
            continue
        say(f"evaluate {name}, {VIEWS[view]}")
        file = results / paths.TRAINED / f"{run}.jsonl"
        texts = {sample: shorten(str(after[sample].text or ""), str(before[sample].text or "")) for sample in after}
        store.write_rows(file, [{"sample_id": sample, "caption": text} for sample, text in texts.items()])
        options = ("--task", TASK, "--metrics", VIEWED, "--draws", "0", "--results", str(results))
        command(say, "eval", "--model", str(file), *options)


def uncaught(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Negative controls that no alarm of theirs stopped, and what did."""
    missed = [row for row in rows if row["caught"] and row["stopped"] not in row["caught"]]
    return [
        f"control {row['arm']}, seed {row['seed']}, was to be stopped by {' or '.join(row['caught'])}, "
        f"was by {row['stopped'] or 'none'}"
        for row in missed
    ]


def _correlate(results: Path, say: Callable[[str], None]) -> None:
    """Captions of random detail in galleries of three sizes, and the audit of the reward."""
    varied = next(iter(registry.training("cim_rl").worlds.values())).varied
    for name, gallery in RANDOM.items():
        if _complete(results / PEARSON / name):
            continue
        say(f"evaluate {name} on {PEARSON}")
        file = results / paths.TRAINED / f"{name}.jsonl"
        samples = data.samples(registry.task(PEARSON))
        store.write_rows(file, [{"sample_id": sample.id, "caption": varied(sample.id)} for sample in samples])
        options = ("--task", PEARSON, "--gallery", gallery, "--metrics", COMPARED, "--results", str(results))
        command(say, "eval", "--model", str(file), *options)
    if not (kept := results / paths.TRAINED / AUDIT).is_file():
        say("audit the reward")
        command(say, "audit-reward", "cim", "--gallery", "miniscenes", "--out", str(kept))


def _complete(run: Path) -> bool:
    return (manifest.read(run) or {}).get("status") == "complete"


def _arm(results: Path, arm: str, seed: int, metrics: Sequence[str], say: Callable[[str], None]) -> dict[str, Any]:
    name, recipe = run_name(arm, seed), ARMS[arm]
    folder = results / paths.TRAINED / name
    if not _ended(folder):
        say(f"train {name}: {recipe.about}")
        begin = str(results / paths.TRAINED / run_name(recipe.after, seed)) if recipe.after else BASE
        if recipe.start:
            begin = str(results / paths.TRAINED / f"{arm}-start")
            command(say, begin, module=recipe.start)
        train(say, folder, seed, ("--model", begin, "--gallery", recipe.gallery, *recipe.options))
    stopped = (manifest.read(folder) or {}).get("alarm")
    row = {"arm": arm, "seed": seed, "stopped": stopped, "caught": list(recipe.caught)}
    if not (folder / "model.toml").is_file():
        return {**row, "values": {}}
    evaluate(results, str(folder), name, metrics, say)
    base, trained = (stored_run.load(results / TASK / run) for run in (BASE, name))
    return {**row, "values": contrasts.against(base, trained)}


def _ended(folder: Path) -> bool:
    return (manifest.read(folder) or {}).get("status") in ("complete", "stopped")


def train(say: Callable[[str], None], folder: Path, seed: int, options: Sequence[str]) -> None:
    """Train a run, unless it has ended; one that an alarm stops has ended."""
    if not _ended(folder):
        naming = ("--name", folder.name, "--seed", str(seed), "--results", str(folder.parent.parent))
        command(say, "train", *options, *naming, may_stop=True)


def evaluate(results: Path, model: str, name: str, metrics: Sequence[str], say: Callable[[str], None]) -> None:
    """Evaluate a model on the test scenes, unless a run of this name is complete."""
    if _complete(results / TASK / name):
        return
    say(f"evaluate {name} on {TASK}")
    chosen = ("--metrics", ",".join(metrics)) if metrics else ()
    command(say, "eval", "--model", model, "--task", TASK, "--results", str(results), *chosen)


def command(say: Callable[[str], None], *arguments: str, may_stop: bool = False, module: str = "harness") -> None:
    """Run ``cim``, or another module, in a process of its own, its progress passed on.

    Raises:
        CimError: it failed, but for a training run that an alarm stopped where that ``may_stop`` it.
    """
    command, last = [sys.executable, "-m", module, *arguments], ""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        for line in running.stderr or ():
            last = line.strip() or last
            if line.startswith(("train: ", "caption: ", "gallery parts: ", "cim: ")):
                say(f"  {line.rstrip()}")
    stopped = may_stop and running.returncode == AlarmError.exit_code and last.startswith("cim: alarm ")
    if running.returncode and not stopped:
        name = "cim" if module == "harness" else f"python -m {module}"
        what = f"`{name} {' '.join(arguments[:3])}` ended with {running.returncode}: {last.removeprefix('cim: ')}"
        raise CimError(what, hint="the same command goes on")
