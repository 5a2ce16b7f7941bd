"""What ``--model M`` means: captions, a folder, a model's name, or the name of a stored run.

In this order: ``x.toml`` is a model file, any other file one of captions, ``-`` captions on standard input; a folder
with ``model.toml``, a checkpoint or a LoRA adapter is a model (``bare_folder.py``), one with ``manifest.json`` alone a
stored run, another with .txt files one of captions; a name of the registry (``cim list models``) is its TOML file; a
name under the results folder is that stored run. Weights are identified by their bytes: a different checkpoint of the
same name is a different model.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import registry
from harness.engines import captions
from harness.errors import CimError
from harness.forms import sources
from harness.models import model_file
from harness.resources import checkpoint
from harness.resources.paths import TRAINED
from harness.runs import manifest, stored_run
from harness.stages import bare_folder
from harness.types import Model
from harness.weights import LOSSY, Price, Sampling, Server, Weights

TOML = "model.toml"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True, slots=True)
class File:
    """How a captions file is read: the keys of ids, captions, systems (None: guessed), and the name of its run."""

    id_key: str | None = None
    caption_key: str | None = None
    system_key: str | None = None
    name: str | None = None


def resolve(
    given: str, results: Path, task: str | None = None, engine: str | None = None, file: File | None = None
) -> list[Model]:
    """The models that one ``--model`` value means; several for a run stored under several tasks, or systems of a file.

    Args:
        engine: runs the model's weights in place of the engine its file names.
        file: how a captions file is read.

    Raises:
        CimError: no such file, folder or name (with a suggestion), or a malformed one.
    """
    path = Path(given)
    if engine is not None:
        registry.check("engines", engine)
    if path.suffix == ".toml" and path.is_file():
        return [from_toml(path, engine)]
    named = given in registry.names("models")
    if path == sources.STDIN or _is_captions(path, named):
        _no_engine(engine, given)
        return _captions_file(path, file=file or File())
    if path.is_dir() and ("/" in given or _known(path)):
        if (path / TOML).is_file():
            return [from_toml(path / TOML, engine)]
        if bare_folder.is_model(path):
            content, base = bare_folder.content(path)
            return [_of_content(content, base, run_name(path.resolve().name, path), engine)]
        _no_engine(engine, given)
        return [_stored(path)]
    stored = stored_run.folders(results, name=given.replace("/", "_"))
    if (results / TRAINED / given / TOML).is_file() and given not in registry.names("models") and not stored:
        return [from_toml(results / TRAINED / given / TOML, engine)]
    if given not in registry.names("models") and stored:
        _no_engine(engine, given)
        return [_stored(run) for run in stored if task in (None, run.parent.name)] or [_stored(stored[0])]
    registry.check("models", given, also=[run.name for run in stored_run.folders(results)])
    return [from_toml(registry.model_file(given), engine)]


def run_name(stem: str, where: Path) -> str:
    """A file's or folder's stem as the name of a run; CimError if it is no valid folder name."""
    unsuitable = not stem.isprintable() or any(letter in '\\/:*?"<>|' for letter in stem)
    if not stem or stem.startswith((".", *stored_run.COMMANDS)) or unsuitable:
        hint = "rename it: a run's folder gets this name"
        raise CimError(f"{stem!r} cannot be the name of a run", where=str(where), hint=hint)
    return stem


def _is_captions(path: Path, named: bool) -> bool:
    """A file, there or not, or a folder of .txt files that is no model and no run; registered names go first."""
    if path.is_dir():
        return not named and not _known(path) and sources.is_folder(path)
    return path.suffix in captions.SUFFIXES or (path.is_file() and not named)


def _known(folder: Path) -> bool:
    """A folder with a model or a stored run."""
    return any((folder / name).is_file() for name in (manifest.NAME, TOML)) or bare_folder.is_model(folder)


def _captions_file(
    path: Path, name: str | None = None, tasks: tuple[str, ...] = (), file: File | None = None
) -> list[Model]:
    """One model per system of a captions file."""
    file, path = file or File(), path if path == sources.STDIN else path.absolute()
    stem = "stdin" if path == sources.STDIN else path.name if path.is_dir() else path.stem
    stem = Path(stem).stem if path.suffix == ".gz" else stem
    name = run_name(file.name or name or stem, path)
    keys = {"id_key": file.id_key, "caption_key": file.caption_key, "system_key": file.system_key}
    content = captions.read(path, **keys)
    settings = {"engine": "captions", "sha256": content.sha256, **{key: text for key, text in keys.items() if text}}
    if len(content.systems) == 1 and "" in content.systems:
        return [Model(name, "captions", path, settings, tasks=tasks)]
    names = {system: run_name(f"{name}-{system.replace('/', '_')}", path) for system in content.systems}
    return [Model(names[system], "captions", path, {**settings, "system": system}, tasks=tasks) for system in names]


def _stored(folder: Path) -> Model:
    folder = folder.absolute()
    stored = manifest.read(folder)
    if stored is None:
        hint = f"a model folder holds {TOML}, a stored run {manifest.NAME}, captions .txt files"
        raise CimError("no model in this folder", where=str(folder), hint=hint)
    if stored.get("status") == "running":
        hint = "finish it with the command that started it"
        raise CimError("stored run is not finished", where=str(folder), hint=hint)
    settings = stored.get("settings", {})
    try:
        task, limit, model = settings["task"]["name"], settings["samples"]["limit"], settings["model"]
    except (KeyError, TypeError) as error:
        raise CimError(f"manifest lacks {error}", where=str(folder / manifest.NAME)) from error
    return Model(run_name(folder.name, folder), "replay", folder, model, tasks=(task,), limit=limit)


def from_toml(path: Path, engine: str | None = None) -> Model:
    """The model of a TOML file, read strictly.

    Args:
        engine: runs the weights in place of the file's own engine.

    Raises:
        CimError: not TOML, unknown or missing key, wrong value, a broken checkpoint; names file and line.
    """
    name = path.resolve().parent.name if path.name == TOML else path.stem
    return _of_content(model_file.read(path), path, name, engine)


def _of_content(content: Mapping[str, Any], path: Path, name: str, engine: str | None) -> Model:
    """The model of a checked TOML file, to which its paths are relative."""
    if reason := content.get("unavailable"):
        raise CimError(f"cannot run here: {reason}", where=f"model {name}")
    tasks = tuple(content.get("tasks", ()))
    for task in tasks:
        registry.check("tasks", task)
    if content["engine"] == "captions":
        if "captions" not in content:
            raise CimError("key 'captions' is missing", where=str(path), hint="engine 'captions' reads that file")
        _no_engine(engine, str(path))
        (model, *others) = _captions_file(path.parent / content["captions"], name, tasks)
        if others:
            hint = f"name that file itself: --model {path.parent / content['captions']}"
            raise CimError(f"its captions are of {1 + len(others)} systems", where=str(path), hint=hint)
        return model
    chosen = engine or content["engine"]
    registry.check("engines", chosen)
    if "openai" in (content["engine"], chosen):
        return _served(content, path, name, tasks, engine)
    if registry.engine(chosen).describe is None:
        _no_engine(engine, str(path))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return Model(name, chosen, path, {"engine": chosen, "sha256": digest}, tasks=tasks)
    weights = _weights(content, path)
    if reason := registry.engine(chosen).refuses(weights):
        raise CimError(reason, where=str(path), hint="run it with --engine vllm")
    settings = {"engine": chosen, **weights.settings()}
    if chosen == "vllm":
        settings["max_model_len"] = weights.vllm.get("max_model_len")  # a caption that reaches it is truncated
        settings |= {key: weights.vllm[key] for key in LOSSY if key in weights.vllm}
    return Model(name, chosen, path, settings, tasks=tasks, weights=weights, price=_price(content))


def _price(content: Mapping[str, Any]) -> Price | None:
    return Price(**content["price"]) if "price" in content else None


def _served(content: Mapping[str, Any], path: Path, name: str, tasks: tuple[str, ...], engine: str | None) -> Model:
    """The model of a server, which no other engine can run."""
    _no_engine(engine, str(path))
    table = content.get("openai", {})
    for key in ("base_url", "model"):
        if key not in table:
            hint = "engine 'openai' asks that server for that model"
            raise CimError(f"key 'openai.{key}' is missing", where=str(path), hint=hint)
    server = Server(
        **{**table, "omit": tuple(table.get("omit", ()))},
        revision=content.get("revision"),
        system=content.get("system"),
        thinking=content.get("thinking"),
        sampling=Sampling(**content.get("sampling", {})),
    )
    return Model(
        name,
        "openai",
        path,
        {"engine": "openai", **server.settings()},
        tasks=tasks,
        server=server,
        price=_price(content),
    )


def _no_engine(engine: str | None, where: str) -> None:
    if engine is not None:
        hint = "--engine is for models with a checkpoint"
        raise CimError(f"cannot be run by engine {engine!r}", where=where, hint=hint)


def _weights(content: Mapping[str, Any], path: Path) -> Weights:
    """The weights that a checked TOML file names; a folder beside it is checked and hashed."""
    if "checkpoint" not in content:
        hint = "a hub id, or a folder relative to this file"
        raise CimError("key 'checkpoint' is missing", where=str(path), hint=hint)
    given, image = content["checkpoint"], content.get("image", {})
    folder = (path.parent / given).resolve()
    local = folder.exists() or not HUB_ID.fullmatch(given)
    if content.get("trust_remote_code") and (local or path.name == TOML):
        hint = f"code runs only from the hub, at a revision that a file of yours names ({TOML} comes with a folder)"
        raise CimError("key 'trust_remote_code' does not go with a checkpoint folder", where=str(path), hint=hint)
    adapter = (path.parent / content["adapter"]).resolve() if "adapter" in content else None
    return Weights(
        checkpoint=str(folder) if local else given,
        digest=checkpoint.digest(folder) if local else None,
        revision=content.get("revision"),
        dtype=content.get("dtype", "auto"),
        system=content.get("system"),
        sampling=Sampling(**content.get("sampling", {})),
        **image,
        image_placeholder=content.get("image_placeholder"),
        trust_remote_code=content.get("trust_remote_code", False),
        thinking=content.get("thinking"),
        vllm=content.get("vllm", {}),
        adapter=None if adapter is None else str(adapter),
        adapter_digest=None if adapter is None else checkpoint.adapter_digest(adapter),
    )
