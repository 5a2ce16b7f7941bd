"""A study of the embedded world: a base captioner, arms trained from it with several seeds, all evaluated and compared.

Every stage is a command of its own (``cim gallery build``, ``cim train``, ``cim eval``), so each goes on where a killed
one stopped and none is made twice. An arm is compared with the base on the same test scenes by the paired tests of
``cim compare``; the table is kept in ``results/train/study.json``. Run with ``cim study`` (``make train-cim``: arms cim
and sft), ``cim study --arms all`` (``make ablation``).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import compare, manifest, scored, stats, store
from harness.errors import AlarmError, CimError
from harness.retrieval.gallery import place

BASE, TASK = "mini-base", "miniscenes"
FILE = "study.json"
ENCODERS = ("--text-encoder", "miniscenes_text", "--image-encoder", "miniscenes_image")
SCENES = 8000
OWN = 1120  # training scenes that preset mini sees: 70 steps of 16
SHOWN = ("objects f1", "attributes f1", "fine_names f1", "relation_qa", "length")


@dataclass(frozen=True, slots=True)
class Arm:
    """What is trained: options of ``cim train``, the gallery it looks captions up in, and the arm it begins from."""

    about: str
    options: tuple[str, ...] = ()
    gallery: str = "miniscenes"
    after: str | None = None


GALLERIES: dict[str, tuple[str, ...]] = {
    "miniscenes": (str(SCENES),),
    "miniscenes-1000": ("1000",),
    "miniscenes-3000": ("3000",),
    "miniscenes-own": (f"train:{OWN}", str(SCENES)),
}
ARMS: dict[str, Arm] = {
    "cim": Arm("GRC + QIR, source image not in the gallery"),
    "sft": Arm("supervised on medium captions of the training scenes", ("--stage", "sft")),
    "sft-cim": Arm("GRC + QIR, begun from arm sft", after="sft"),
    "qir": Arm("QIR alone", ("--rewards", "qir")),
    "grc": Arm("GRC alone: a negative control, which an alarm should stop", ("--rewards", "grc")),
    "include": Arm(
        "GRC + QIR, training scenes in the gallery and kept", ("--self-policy", "include"), "miniscenes-own"
    ),
    "gallery-1000": Arm("GRC + QIR, a gallery of 1,000 scenes", (), "miniscenes-1000"),
    "gallery-3000": Arm("GRC + QIR, a gallery of 3,000 scenes", (), "miniscenes-3000"),
}
DEFAULT = ("cim", "sft")


def chosen(given: Sequence[str]) -> list[str]:
    """Names of arms in the order they are made, those they begin from first; ``all`` for all.

    Raises:
        CimError: an unknown arm.
    """
    wanted = list(ARMS) if list(given) == ["all"] else list(given or DEFAULT)
    if strangers := [name for name in wanted if name not in ARMS]:
        raise CimError(f"unknown arm {strangers[0]!r}", where="--arms", hint=f"arms: {', '.join(ARMS)}, or all")
    needed = {ARMS[name].after for name in wanted}
    return [name for name in ARMS if name in wanted or name in needed]


def run_name(arm: str, seed: int) -> str:
    """The name of an arm's run."""
    return f"{arm}-seed{seed}"


def study(
    results: Path, arms: Sequence[str], seeds: int, metrics: Sequence[str], say: Callable[[str], None]
) -> dict[str, Any]:
    """Make what is missing; returns the table that is stored, a row an arm and seed.

    Raises:
        CimError: a command failed; what the others made is kept.
    """
    for name in dict.fromkeys(ARMS[arm].gallery for arm in arms):
        if not (place(name) / "manifest.json").is_file():
            sources = [part for split in GALLERIES[name] for part in ("--from", TASK, split)]
            say(f"gallery {name}")
            _command(say, "gallery", "build", name, *sources, *ENCODERS)
    _evaluate(results, BASE, BASE, metrics, say)
    rows = list[dict[str, Any]]()
    for seed in range(seeds):
        for arm in arms:
            rows.append(_arm(results, arm, seed, metrics, say))
            table = {"base": BASE, "task": TASK, "arms": {name: ARMS[name].about for name in arms}, "rows": rows}
            store.write_document(results / "train" / FILE, table)
    return table


def _arm(results: Path, arm: str, seed: int, metrics: Sequence[str], say: Callable[[str], None]) -> dict[str, Any]:
    name, made = run_name(arm, seed), ARMS[arm]
    folder = results / "train" / name
    if (manifest.read(folder) or {}).get("status") not in ("complete", "stopped"):
        say(f"train {name}: {made.about}")
        begin = str(results / "train" / run_name(made.after, seed)) if made.after else BASE
        options = ("--name", name, "--seed", str(seed), "--gallery", made.gallery, *made.options)
        _command(say, "train", "--model", begin, *options, "--results", str(results), may_stop=True)
    row = {"arm": arm, "seed": seed, "stopped": (manifest.read(folder) or {}).get("alarm")}
    if not (folder / "model.toml").is_file():
        return {**row, "values": {}}
    _evaluate(results, str(folder), name, metrics, say)
    base, own = (scored.load(results / TASK / one) for one in (BASE, name))
    tests = {one.label: one.test for one in compare.compare(base, own) if one.test is not None}
    return {**row, "values": {label: _told(test) for label, test in tests.items()}}


def _told(test: stats.Difference) -> dict[str, Any]:
    return {"base": test.a, "value": test.b, "difference": test.difference, "ci95": list(test.ci95)}


def _evaluate(results: Path, model: str, name: str, metrics: Sequence[str], say: Callable[[str], None]) -> None:
    if (manifest.read(results / TASK / name) or {}).get("status") == "complete":
        return
    say(f"evaluate {name} on {TASK}")
    chosen = ("--metrics", ",".join(metrics)) if metrics else ()
    _command(say, "eval", "--model", model, "--task", TASK, "--results", str(results), *chosen)


def _command(say: Callable[[str], None], *arguments: str, may_stop: bool = False) -> None:
    """Run ``cim`` in a process of its own, its progress passed on.

    Raises:
        CimError: it failed, but for a training run that an alarm stopped where that ``may_stop`` it.
    """
    command, last = [sys.executable, "-m", "harness", *arguments], ""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        for line in running.stderr or ():
            last = line.strip() or last
            if line.startswith(("train: ", "caption: ", "gallery parts: ", "cim: ")):
                say(f"  {line.rstrip()}")
    stopped = may_stop and running.returncode == AlarmError.exit_code and last.startswith("cim: alarm ")
    if running.returncode and not stopped:
        hint = "the same command goes on"
        what = f"`cim {' '.join(arguments[:3])}` ended with {running.returncode}: {last.removeprefix('cim: ')}"
        raise CimError(what, hint=hint)
