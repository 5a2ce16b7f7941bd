"""What works on this machine, the command that fixes what does not, and where things are.

Run with ``cim doctor`` and ``cim where``.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness import places as places_of_parts
from harness import registry
from harness.resources import data, fetch, hub, java, machine, paths, pretrained, wordnet
from harness.runs import manifest

Finding = tuple[str, str, str]


def places(results: str | None) -> dict[str, str]:
    """The folders and programs in use, by name."""
    return {
        "project": str(paths.PROJECT),
        "python": sys.executable,
        "data": str(paths.data_root()),
        "results": str(paths.results_root(results)),
        "models": ", ".join(
            filter(None, (str(places_of_parts.PROJECT / "harness" / "models"), os.environ.get("CIM_MODELS")))
        ),
        "parts": os.environ.get("CIM_PATH") or "none of your own (CIM_PATH)",
        "java": str(java.find_java() or java.missing_java()),
        "wordnet": str(wordnet.folder() or wordnet.missing_wordnet()),
    }


def examine(results: str | None) -> list[Finding]:
    """Rows of (part, ``ok``, ``absent`` or ``failed``, detail); only ``failed`` affects the exit code."""
    packages = manifest.provenance()["packages"]
    rows: list[Finding] = [("python", "ok", f"{platform.python_version()} at {sys.executable}")]
    rows.append(("packages", "ok", ", ".join(f"{name} {version}" for name, version in packages.items())))
    rows.append(_results(paths.results_root(results)))
    rows.extend((_gpu(), _hub()))
    rows.extend(_part(f"{kind} {name}", reason) for kind, name, reason in _parts())
    rows.extend(_data(name) for name in registry.names("tasks"))
    return rows


def together(rows: Sequence[Finding]) -> list[Finding]:
    """Rows of one state and detail as one, their parts named by kind: a reason stands once."""
    parts = dict[tuple[str, str], dict[str, list[str]]]()
    for part, state, detail in rows:
        kind, _, name = part.partition(" ")
        parts.setdefault((state, detail), {}).setdefault(kind, []).append(name)
    return [
        ("; ".join(f"{kind} {', '.join(names)}".rstrip() for kind, names in by_kind.items()), state, detail)
        for (state, detail), by_kind in parts.items()
    ]


def ready(rows: Sequence[Finding]) -> str:
    """One sentence: what this machine does now, and what brings the rest."""
    states = {part: state for part, state, _ in rows}
    metrics = [name for name in registry.names("metrics") if "@" not in name]
    of_texts = [name for name in metrics if registry.metric(name).needs <= {"references"}]
    computed = [name for name in of_texts if states[f"metric {name}"] == "ok"]
    parts = [f"ready: captions files are scored by {', '.join(computed)}"]
    wanting = {name: [model for model in pretrained.ALL.values() if _lacks(name, model)] for name in metrics}
    if weights := list(dict.fromkeys(model for lacking in wanting.values() for model in lacking)):
        names, size = ",".join(model.name for model in weights), sum(model.megabytes for model in weights) / 1000
        lacking = ", ".join(name for name, absent in wanting.items() if absent)
        parts.append(f"{lacking}: `cim data fetch {names}`, {size:.1f} GB")
    engines = [name for name in ("transformers", "vllm") if states[f"engine {name}"] == "ok"]
    device = "a GPU" if states["gpu"] == "ok" else "the CPU"
    parts.append(f"models with weights: {f'ready on {device}' if engines else '`make setup-models`'}")
    return "; ".join(parts)


def _lacks(metric: str, model: pretrained.Pretrained) -> bool:
    return model.name in registry.metric(metric).pretrained and pretrained.absent(model) is not None


def _part(name: str, reason: str | None) -> Finding:
    return (name, "absent", reason) if reason else (name, "ok", "can run here")


def _parts() -> Iterator[tuple[str, str, str | None]]:
    for name in registry.names("metrics"):
        yield "metric", name, registry.metric(name).missing()
    for name in registry.names("engines"):
        yield "engine", name, registry.engine(name).missing()
    for name in registry.names("parsers"):
        yield "parser", name, registry.parser(name).missing()
    for name in registry.names("encoders"):
        yield "encoder", name, registry.encoder(name).missing()


def _results(folder: Path) -> Finding:
    """Can a run be stored? Checks the nearest existing folder and writes nothing."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        return ("results", "failed", f"{folder} cannot be written; set CIM_RESULTS or --results")
    return ("results", "ok", f"{folder}, {shutil.disk_usage(nearest).free / 1e9:.0f} GB free")


def _gpu() -> Finding:
    seen = machine.gpus()
    if not seen:
        return ("gpu", "absent", "nvidia-smi shows none; captions files and embedded models need none")
    fault = machine.gpu_fault() or (machine.lock_fault() if machine.torch_build() is None else None)
    return ("gpu", "failed", fault) if fault else ("gpu", "ok", f"{len(seen)} x {seen[0]}")


def _hub() -> Finding:
    token = "a token for gated models" if hub.token() else "no token for gated models (HF_TOKEN)"
    return ("hub cache", "ok", f"{hub.cache()}, {hub.amount(hub.free())} free; {token}")


def _data(name: str) -> Finding:
    task = registry.task(name)
    faults = data.faults(task)
    if not faults:
        seen = fetch.state(task, thorough=False)
        return (f"data {name}", "ok", f"{data.folder(task)}" + (f"; {seen}" if seen.count else ""))
    listing = "; ".join(f"{file} {wrong}" for file, wrong in faults.items())
    state = "absent" if all(wrong == "is missing" for wrong in faults.values()) else "failed"
    return (f"data {name}", state, f"{listing}; run `cim data fetch {name}` or set CIM_DATA")
