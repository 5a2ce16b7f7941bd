"""Names and parts of every kind: a folder is the registry, and a part is one file with one constant.

A file ``tasks/docci500.py`` with a constant ``TASK`` is the task ``docci500``, one with ``TRAINING`` a training; a file
``models/x.toml`` is the model ``x``. Parts are looked for in four places (``places.py``): this project, with what a
benchmark's own package brings; folders of ``$CIM_PATH`` (and ``$CIM_MODELS``); entry points ``cim_harness.<kind>``;
files named on the command line. A name in two places is refused. Names are read without importing a part; a part is
imported when it is loaded. Shown by ``cim list``.
"""

from __future__ import annotations

import ast
import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from harness import places
from harness.benchmark import definition
from harness.errors import CimError
from harness.kinds import CONSTANTS, KINDS
from harness.parts import Encoder, Engine, Judge, Metric, Parser, Reward
from harness.places import Place
from harness.types import Task
from harness.worlds import Training

__all__ = ["CONSTANTS", "KINDS", "Place"]

DEFINED = (".toml", ".json")  # files of benchmarks without code
LISTED = 24  # names in an error; of more it says how many there are
FACTS = ("about", "engine", "checkpoint", "revision", "memory_gb", "licence", "gated", "unavailable")  # of models

_loaded: dict[tuple[str, str, str], object] = {}  # by kind, name and origin: two checks of one file import it once


def names(kind: str) -> list[str]:
    """Sorted names of one of ``KINDS``; CimError where two places hold one name."""
    return sorted(places.of(kind))


def about(kind: str, name: str) -> str:
    """First line of a part's description, read without importing it."""
    if kind == "models":
        return str(facts(name)["about"])
    origin = places.of(kind)[name].origin
    if kind == "tasks" and origin.suffix in DEFINED:
        return definition.read(origin).texts.get("title", "a benchmark without code")
    docstring = ast.get_docstring(places.tree(origin)) or ""
    return docstring.partition("\n\n")[0].replace("\n", " ")


def facts(model: str) -> dict[str, Any]:
    """What a model's file says of it to a reader: each of ``FACTS``, None where it says nothing; read leniently."""
    content = stated(places.of("models")[model].origin)
    return {name: content.get(name, "" if name == "about" else None) for name in FACTS}


def stated(model_file: Path) -> dict[str, Any]:
    """What a model's file says, read leniently."""
    try:
        return tomllib.loads(model_file.read_bytes().decode())
    except (ValueError, RecursionError) as error:
        return {"about": f"{model_file} is not a readable TOML file ({error})"}


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
    listed = ", ".join(known) if len(known) <= LISTED else f"{len(known)}, listed by `cim list {kind}`"
    hint = f"did you mean {close[0]}?" if close else f"known {kind}: {listed or 'none'}"
    raise CimError(f"unknown {kind.removesuffix('s')} {name!r}", hint=hint)


def named(kind: str, text: str) -> str:
    """The name of a part given on a command line: a name, or a ``.py`` (models: ``.toml``) file, which is then known.

    Raises:
        CimError: unknown name, no such file, or another part has the file's name.
    """
    suffixes = {"models": (".toml",), "tasks": (".py", *DEFINED)}.get(kind, (".py",))
    if kind == "tasks" and (Path(text) / definition.TOML).is_file():
        return places.add(kind, Path(text) / definition.TOML)
    if Path(text).suffix in suffixes:
        return places.add(kind, Path(text))
    return check(kind, text)


def variants(kind: str, stem: str) -> list[str]:
    """Full names ``stem@variant`` of a part's variants: keys of the literal ``VARIANTS`` of its file, not imported."""
    place = places.of(kind).get(stem) if kind in CONSTANTS else None
    for node in places.tree(place.origin).body if place and place.origin.suffix == ".py" else ():
        match node:
            case ast.Assign(targets=[ast.Name(id="VARIANTS")], value=ast.Dict(keys=keys)):
                return [f"{stem}@{ast.literal_eval(key)}" for key in keys if key]
    return []


def load(kind: str, name: str) -> object:
    """The part of this name; CimError with a suggestion when there is none, or when its file is at fault."""
    stem, _, variant = check(kind, name).partition("@")
    place = places.of(kind)[stem]
    key = (kind, name, f"{place.origin}@{place.origin.stat().st_mtime_ns}")  # a definition may change
    if key not in _loaded and kind == "tasks" and place.origin.suffix in DEFINED:
        from harness.benchmark import build

        _loaded[key] = build.from_file(place.origin)
    if key not in _loaded:
        module = place.imported()
        if variant:
            _loaded[key] = module.VARIANTS[variant]
        else:
            part = getattr(module, place.constant, None)
            if getattr(part, "name", None) != stem:
                what = f"has no constant {place.constant}" if part is None else f"{place.constant} is not named {stem}"
                raise CimError(what, where=str(place.origin), hint="the name of a part is that of its file")
            _loaded[key] = part
    return _loaded[key]


def forget() -> None:
    """Forget loaded parts and files named before, for tests that change what is there."""
    _loaded.clear()
    places.forget()


def task(name: str) -> Task:
    """The task of this name; CimError with a suggestion when there is none."""
    return cast(Task, load("tasks", name))


def training(name: str) -> Training:
    """The training task of this name; CimError with a suggestion when there is none."""
    return cast(Training, load("trainings", name))


def metric(name: str) -> Metric:
    """The metric of this name; CimError with a suggestion when there is none."""
    return cast(Metric, load("metrics", name))


def engine(name: str) -> Engine:
    """The engine of this name; CimError with a suggestion when there is none."""
    return cast(Engine, load("engines", name))


def parser(name: str) -> Parser:
    """The parser of this name; CimError with a suggestion when there is none."""
    return cast(Parser, load("parsers", name))


def encoder(name: str) -> Encoder:
    """The encoder of this name; CimError with a suggestion when there is none."""
    return cast(Encoder, load("encoders", name))


def judge(name: str) -> Judge:
    """The judge of this name; CimError with a suggestion when there is none."""
    return cast(Judge, load("judges", name))


def reward(name: str) -> Reward:
    """The reward of this name; CimError with a suggestion when there is none."""
    return cast(Reward, load("rewards", name))


def model_file(name: str) -> Path:
    """The TOML file of a model name; CimError with a suggestion when there is none."""
    return places.of("models")[check("models", name)].origin
