"""Names and parts of every kind: the folder is the registry.

A file ``tasks/docci500.py`` with a constant ``TASK`` is the task ``docci500``, one with ``TRAINING`` a training; a file
``harness/models/x.toml`` is the model ``x``. Names are read from the folders without importing
anything; a part is imported when it is loaded. Shown by ``cim list``.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib
import importlib.util
import os
import pkgutil
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from harness.errors import CimError
from harness.parts import Encoder, Engine, Judge, Metric, Parser, Reward
from harness.types import Task, Training

PACKAGES = {
    "tasks": ("tasks", "TASK"),
    "trainings": ("tasks", "TRAINING"),
    "metrics": ("harness.metrics", "METRIC"),
    "judges": ("judges", "JUDGE"),
    "rewards": ("harness.rewards", "REWARD"),
    "engines": ("harness.engines", "ENGINE"),
    "parsers": ("harness.parsers", "PARSER"),
    "encoders": ("harness.encoders", "ENCODER"),
}
KINDS = ("tasks", "trainings", "models", "metrics", "judges", "rewards", "engines", "parsers", "encoders")
SHARED = "tasks"  # the one folder that holds parts of two kinds, told apart by their constant
MODELS = Path(__file__).parent / "models"


def names(kind: str) -> list[str]:
    """Sorted names of one of ``KINDS``; modules that start with an underscore are not parts."""
    if kind == "models":
        return sorted({path.stem for folder in model_folders() for path in folder.glob("*.toml") if path.is_file()})
    package, constant = PACKAGES[kind]
    if importlib.util.find_spec(package) is None:
        return []
    path = importlib.import_module(package).__path__
    found = sorted(module.name for module in pkgutil.iter_modules(path) if not module.name.startswith("_"))
    return [name for name in found if package != SHARED or _assigns(f"{package}.{name}", constant)]


@functools.cache
def _assigns(module: str, constant: str) -> bool:
    """Does a module assign this constant at its top level? It is read, not imported."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return False
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    return any(isinstance(target, ast.Name) and target.id == constant for target in targets)


def about(kind: str, name: str) -> str:
    """First line of a part's own description, read without importing it."""
    if kind == "models":
        try:
            return str(tomllib.loads(model_file(name).read_bytes().decode()).get("about", ""))
        except (ValueError, RecursionError) as error:
            return f"{model_file(name)} is not a readable TOML file ({error})"
    spec = importlib.util.find_spec(f"{PACKAGES[kind][0]}.{name}")
    if spec is None or spec.origin is None:
        return ""
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n\n")[0].replace("\n", " ")


def check(kind: str, name: str, *, also: Iterable[str] = ()) -> str:
    """Return ``name`` if it is one of ``names(kind)`` or of ``also``; else an error with a suggestion."""
    known = list(dict.fromkeys([*names(kind), *also]))
    if name in known:
        return name
    stem, at, _ = name.partition("@")
    if at and stem in known:
        if name in (others := variants(kind, stem)):
            return name
        hint = f"variants: {', '.join([stem, *others])}" if others else f"{stem} has no variants"
        raise CimError(f"unknown variant {name!r}", hint=hint)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"known {kind}: {', '.join(known) or 'none'}"
    raise CimError(f"unknown {kind.removesuffix('s')} {name!r}", hint=hint)


@functools.cache
def _load(kind: str, name: str) -> object:
    package, constant = PACKAGES[kind]
    stem, _, variant = check(kind, name).partition("@")
    module = importlib.import_module(f"{package}.{stem}")
    part: object = module.VARIANTS[variant] if variant else getattr(module, constant)
    return part


def variants(kind: str, stem: str) -> list[str]:
    """Full names ``stem@variant`` of a part's variants: keys of the literal ``VARIANTS`` of its file, not imported."""
    spec = importlib.util.find_spec(f"{PACKAGES[kind][0]}.{stem}") if kind in PACKAGES else None
    if spec is None or spec.origin is None:
        return []
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="VARIANTS")], value=ast.Dict(keys=keys)):
                return [f"{stem}@{ast.literal_eval(key)}" for key in keys if key]
    return []


def task(name: str) -> Task:
    """The task of this name; CimError with a suggestion when there is none."""
    return cast(Task, _load("tasks", name))


def training(name: str) -> Training:
    """The training task of this name; CimError with a suggestion when there is none."""
    return cast(Training, _load("trainings", name))


def metric(name: str) -> Metric:
    """The metric of this name; CimError with a suggestion when there is none."""
    return cast(Metric, _load("metrics", name))


def engine(name: str) -> Engine:
    """The engine of this name; CimError with a suggestion when there is none."""
    return cast(Engine, _load("engines", name))


def parser(name: str) -> Parser:
    """The parser of this name; CimError with a suggestion when there is none."""
    return cast(Parser, _load("parsers", name))


def encoder(name: str) -> Encoder:
    """The encoder of this name; CimError with a suggestion when there is none."""
    return cast(Encoder, _load("encoders", name))


def judge(name: str) -> Judge:
    """The judge of this name; CimError with a suggestion when there is none."""
    return cast(Judge, _load("judges", name))


def reward(name: str) -> Reward:
    """The reward of this name; CimError with a suggestion when there is none."""
    return cast(Reward, _load("rewards", name))


def model_folders() -> list[Path]:
    """Folders that hold ``<name>.toml`` model files: the project's own, then ``$CIM_MODELS``."""
    extra = os.environ.get("CIM_MODELS")
    return [MODELS, Path(extra)] if extra else [MODELS]


def model_file(name: str) -> Path:
    """The TOML file of a model name; CimError with a suggestion when there is none."""
    check("models", name)
    return next(path for folder in model_folders() if (path := folder / f"{name}.toml").is_file())
