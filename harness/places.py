"""Where parts lie: which file holds the part of a kind and name, and how that file is imported.

A folder with parts has one sub-folder per kind: ``tasks metrics judges rewards models engines parsers encoders``. A
task that is a package may have the same sub-folders, for parts that only it needs, and
``galleries``. Files and packages whose name starts with an underscore are not parts. Kinds ``tasks`` and ``trainings``
share a folder and are distinguished by the constant that a file assigns at its top level.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from harness.benchmark.definition import PINNED, TOML
from harness.errors import CimError
from harness.kinds import CONSTANTS

SUB_FOLDERS = {"trainings": "tasks"}  # the others are called as their kind
PROJECT = Path(__file__).parent.parent  # also where the packages are installed
_BESIDE_HARNESS = ("tasks", "judges")
_files: dict[tuple[str, str], Path] = {}  # parts named on the command line, by kind and name
_results: list[Path] = []  # folders of results: a benchmark without code is known where it was used


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part lies: its file (a package's ``__init__.py``), the module it is imported as where one is known."""

    origin: Path
    constant: str = ""
    module: str | None = None

    def imported(self) -> ModuleType:
        """The part's module.

        Raises:
            CimError: a file outside of this project cannot be imported; names file and line.
        """
        if self.module and self.module.split(".")[0] in ("harness", *_BESIDE_HARNESS):
            return importlib.import_module(self.module)
        try:
            return importlib.import_module(self.module) if self.module else _import_file(self.origin)
        except Exception as error:  # third-party code may raise anything on import
            line = error.lineno if isinstance(error, SyntaxError) else _line(error, self.origin)
            where = f"{self.origin}:{line}" if line else str(self.origin)
            raise CimError(f"cannot be imported ({type(error).__name__}: {error})", where=where) from error


def _line(error: Exception, origin: Path) -> int | None:
    frames = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == origin]
    return frames[-1] if frames else None


def _import_file(origin: Path) -> ModuleType:
    """Import a file under a unique module name, so that files with equal stems do not collide."""
    name = f"cim_part_{hashlib.sha256(str(origin).encode()).hexdigest()[:12]}_{_stem(origin)}"
    if name in sys.modules:
        return sys.modules[name]
    inside = [str(origin.parent)] if origin.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, origin, submodule_search_locations=inside)
    if spec is None or spec.loader is None:
        raise ImportError("not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickled functions look their module up by name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _stem(origin: Path) -> str:
    return origin.parent.name if origin.name in ("__init__.py", TOML, PINNED) else origin.stem


def of(kind: str) -> dict[str, Place]:
    """The places of all parts of one of ``KINDS``, by name.

    Raises:
        CimError: two places hold one name.
    """
    parts = _registered(kind)
    for results in _results if kind == "tasks" else ():
        for path in sorted(results.glob(f"*/{PINNED}")):
            parts.setdefault(path.parent.name, Place(path))
    return parts


def _registered(kind: str) -> dict[str, Place]:
    """As ``of``, without what a folder of results knows."""
    outside = tuple(os.environ.get(name, "") for name in ("CIM_PATH", "CIM_MODELS"))
    parts = dict(_of_project(kind))
    for name, place in [*_outside(kind, *outside), *_of_entry_points(kind)]:
        _put(parts, kind, name, place)
    for (of_kind, name), origin in _files.items():
        if of_kind == kind:
            _put(parts, kind, name, Place(origin, CONSTANTS.get(kind, "")))
    return parts


def _put(places: dict[str, Place], kind: str, name: str, place: Place) -> None:
    other = places.setdefault(name, place)
    if other.origin.resolve() != place.origin.resolve():
        what = f"two {kind} are called {name}: {other.origin} and {place.origin}"
        raise CimError(what, hint="rename one, or take its folder out of CIM_PATH")


@functools.cache
def _of_project(kind: str) -> dict[str, Place]:
    folder = SUB_FOLDERS.get(kind, kind)
    inner = f"{folder}" if folder in _BESIDE_HARNESS else f"harness.{folder}"
    roots = [(PROJECT.joinpath(*inner.split(".")), inner)]
    roots += [(package / folder, f"tasks.{package.name}.{folder}") for package in _packages(PROJECT / "tasks")]
    places = dict[str, Place]()
    for root, module in roots:
        for name, origin in _parts(root, kind):
            _put(places, kind, name, Place(origin, CONSTANTS.get(kind, ""), f"{module}.{name}"))
    return places


def _packages(tasks: Path) -> list[Path]:
    return [file.parent for file in sorted(tasks.glob("*/__init__.py")) if not file.parent.name.startswith("_")]


def _parts(folder: Path, kind: str) -> Iterator[tuple[str, Path]]:
    """Name and file of each part of a kind in a folder."""
    if kind == "models":
        yield from ((path.stem, path) for path in sorted(folder.glob("*.toml")) if path.is_file())
        return
    files = [(path.stem, path) for path in folder.glob("*.py")] + [
        (path.name, path / "__init__.py") for path in folder.glob("*/")
    ]
    if kind == "tasks":
        definitions = [*folder.glob("*.toml"), *folder.glob(f"*/{TOML}")]
        yield from ((_stem(path), path) for path in sorted(definitions) if path.is_file())
    for name, origin in sorted(files):
        shared = kind in ("tasks", "trainings")
        if not name.startswith("_") and origin.is_file() and (not shared or assigns(origin, CONSTANTS[kind])):
            yield name, origin


def _outside(kind: str, paths: str, models: str) -> Iterator[tuple[str, Place]]:
    """Parts of the folders of ``CIM_PATH``, which must exist, and of ``CIM_MODELS``."""
    sub_folder = SUB_FOLDERS.get(kind, kind)
    folders = list[Path]()
    for entry in filter(None, paths.split(os.pathsep)):
        root = Path(entry).expanduser().absolute()
        if not root.is_dir():
            raise CimError("is no folder", where=f"CIM_PATH: {entry}", hint="a folder with tasks/, metrics/, ... in it")
        folders += [root / sub_folder, *(package / sub_folder for package in _packages(root / "tasks"))]
    if models and kind == "models":
        folders.append(Path(models))
    for folder in folders:
        for name, origin in _parts(folder, kind):
            yield name, Place(origin, CONSTANTS.get(kind, ""))


@functools.cache
def _entry_points() -> tuple[importlib.metadata.EntryPoint, ...]:
    installed = importlib.metadata.distributions()
    return tuple(
        point for package in installed for point in package.entry_points if point.group.startswith("cim_harness.")
    )


def _of_entry_points(kind: str) -> Iterator[tuple[str, Place]]:
    """Parts that installed packages declare: ``name = "module"`` or ``"module:CONSTANT"`` in ``cim_harness.<kind>``.

    The value of a model is the package whose folder holds ``<name>.toml``.
    """
    for point in _entry_points():
        if point.group != f"cim_harness.{kind}":
            continue
        origin = _origin(point.module)
        if origin and kind == "models":
            origin = origin.parent / f"{point.name}.toml"
        if origin is None or not origin.is_file():
            where = f"entry point {point.group}: {point.name}"
            what = f"{origin or f'module {point.module}'} is not there"
            raise CimError(what, where=where, hint="reinstall that package")
        yield point.name, Place(origin, point.attr or CONSTANTS.get(kind, ""), point.module)


def _origin(module: str) -> Path | None:
    """The file of a module; packages around it are not imported, as ``importlib.util.find_spec`` would."""
    top, *inner = module.split(".")
    spec, name = importlib.util.find_spec(top), top
    for stem in inner:
        if spec is None or spec.submodule_search_locations is None:
            return None
        name = f"{name}.{stem}"
        spec = importlib.machinery.PathFinder.find_spec(name, list(spec.submodule_search_locations))
    return Path(spec.origin) if spec and spec.origin else None


def brought(folder: str, name: str) -> Path | None:
    """``<folder>/<name>`` of the first task that is a package and has it, such as a gallery that ships with a task."""
    roots = [
        PROJECT,
        *(Path(entry).expanduser() for entry in os.environ.get("CIM_PATH", "").split(os.pathsep) if entry),
    ]
    candidates = (package / folder / name for root in roots for package in _packages(root / "tasks"))
    return next((path for path in candidates if path.exists()), None)


def add(kind: str, file: Path) -> str:
    """Make the part in a file known under its stem, which is returned.

    Raises:
        CimError: no such file, or another part has its name.
    """
    if not file.is_file():
        raise CimError("no such file", where=str(file), hint=f"cim list {kind}")
    origin = file.absolute()
    _put(_registered(kind), kind, _stem(origin), Place(origin))
    _files[kind, _stem(origin)] = origin
    return _stem(origin)


def remember(results: Path) -> None:
    """Make the benchmarks without code known that were used for runs in this folder, and in no other."""
    _results[:] = [results]


def forget() -> None:
    """Forget the files and folders that were made known."""
    _files.clear()
    _results.clear()
    _entry_points.cache_clear()


def kind_of(file: Path) -> str:
    """The kind of part that a file holds, by the constant it assigns.

    Raises:
        CimError: none, or not readable as Python.
    """
    if file.suffix == ".toml":
        return "tasks" if file.name == TOML else "models"
    kinds = [kind for kind, constant in CONSTANTS.items() if assigns(file, constant)]
    if not kinds:
        hint = f"a part assigns one of {', '.join(CONSTANTS.values())}"
        raise CimError("holds no part", where=str(file), hint=hint)
    return kinds[0]


def assigns(file: Path, constant: str) -> bool:
    """Whether a file assigns this constant at its top level; it is read, not imported."""
    return constant in _assigned(file, file.stat().st_mtime_ns)


@functools.cache
def _assigned(file: Path, _: int) -> frozenset[str]:
    try:
        return frozenset(_targets(tree(file).body))
    except CimError:
        return frozenset(CONSTANTS.values())  # not readable: whoever loads it is told why


def _targets(body: Iterable[ast.stmt]) -> Iterator[str]:
    for node in body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def tree(file: Path) -> ast.Module:
    """The syntax tree of a file; CimError when it is not Python."""
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError) as error:
        line = error.lineno if isinstance(error, SyntaxError) else None
        raise CimError(f"is not Python ({error})", where=f"{file}:{line or 1}") from error
