"""What ``--model M`` means: a captions file, a folder, a model's name, or the name of a stored run.

In this order: ``x.jsonl`` is a captions file; a folder with ``model.toml`` is a model, one with
``manifest.json`` a stored run; a name
in ``harness/models`` (or ``$CIM_MODELS``) is that TOML file; a name under the results folder is that
stored run. A TOML file is read strictly: an unknown key or a wrong type names file, key and line.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any

from harness import manifest, registry
from harness.engines import captions
from harness.errors import CimError
from harness.types import Model

TOML = "model.toml"
KEYS: dict[str, type] = {"about": str, "engine": str, "captions": str, "tasks": list}
REQUIRED = ("about", "engine")


def resolve(given: str, results: Path, task: str | None = None) -> list[Model]:
    """The models that one ``--model`` value means; more than one only for a run stored under several tasks.

    Raises:
        CimError: no such file, folder or name (with a suggestion), or one that is not well formed.
    """
    path = Path(given)
    if path.suffix == ".jsonl" and not path.is_dir():
        return [_captions_file(path)]
    if path.is_dir() and ("/" in given or (path / manifest.NAME).is_file() or (path / TOML).is_file()):
        return [from_toml(path / TOML) if (path / TOML).is_file() else _stored(path)]
    stored = [run.parent for run in sorted(results.glob(f"*/{_literal(given)}/{manifest.NAME}"))]
    if given not in registry.names("models") and stored:
        return [_stored(run) for run in stored if task in (None, run.parent.name)] or [_stored(stored[0])]
    registry.check("models", given, also=[run.name for run in results.glob("*/*") if (run / manifest.NAME).is_file()])
    return [from_toml(registry.model_file(given))]


def _literal(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name.replace("/", "_"))


def run_name(stem: str, where: Path) -> str:
    """A file's or folder's stem as the name of a run; CimError for one that makes no folder name."""
    if not stem or stem.startswith(".") or not stem.isprintable() or any(letter in '\\/:*?"<>|' for letter in stem):
        hint = "rename it: a run's folder gets this name"
        raise CimError(f"{stem!r} cannot be the name of a run", where=str(where), hint=hint)
    return stem


def _captions_file(path: Path, name: str | None = None, tasks: tuple[str, ...] = ()) -> Model:
    path = path.absolute()
    name = run_name(name or path.stem, path)
    digest = captions.read(path).sha256
    return Model(name, "captions", path, {"engine": "captions", "sha256": digest}, tasks=tasks)


def _stored(folder: Path) -> Model:
    folder = folder.absolute()
    stored = manifest.read(folder)
    if stored is None:
        hint = f"a model folder holds {TOML}, a stored run {manifest.NAME}"
        raise CimError("no model in this folder", where=str(folder), hint=hint)
    if stored.get("status") == "running":
        hint = "finish it with the command that began it"
        raise CimError("stored run is not finished", where=str(folder), hint=hint)
    settings = stored.get("settings", {})
    try:
        task, limit, model = settings["task"]["name"], settings["samples"]["limit"], settings["model"]
    except (KeyError, TypeError) as error:
        raise CimError(f"manifest lacks {error}", where=str(folder / manifest.NAME)) from error
    return Model(run_name(folder.name, folder), "replay", folder, model, tasks=(task,), limit=limit)


def from_toml(path: Path) -> Model:
    """The model of a TOML file, read strictly.

    Raises:
        CimError: not TOML, unknown or missing key, wrong type; names file and line.
    """
    content = _strict(path)
    name = path.resolve().parent.name if path.name == TOML else path.stem
    tasks = tuple(content.get("tasks", ()))
    if content["engine"] == "captions":
        if "captions" not in content:
            raise CimError("key 'captions' is missing", where=str(path), hint="engine 'captions' reads that file")
        return _captions_file(path.parent / content["captions"], name, tasks)
    registry.check("engines", content["engine"])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Model(name, content["engine"], path, {"engine": content["engine"], "sha256": digest}, tasks=tasks)


def _strict(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode("utf-8")
        content = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CimError(f"is not a readable TOML file ({error})", where=str(path)) from error
    for key, value in content.items():
        where = f"{path}:{_line(text, key)}"
        if key not in KEYS:
            raise CimError(f"unknown key {key!r}", where=where, hint=f"known keys: {', '.join(KEYS)}")
        if not isinstance(value, KEYS[key]):
            raise CimError(f"key {key!r} must be {KEYS[key].__name__}, found {type(value).__name__}", where=where)
    for key in REQUIRED:
        if key not in content:
            raise CimError(f"key {key!r} is missing", where=str(path), hint=f"required keys: {', '.join(REQUIRED)}")
    return content


def _line(text: str, key: str) -> int:
    found = re.search(rf"^[ \t]*\[*[ \t]*[\"']?{re.escape(key)}[\"']?\s*[\]=.]", text, flags=re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else 1
