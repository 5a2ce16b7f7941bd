"""The house keeps its shape: who imports whom, how long files are, what a start-up loads, nothing written twice."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ("harness", "tasks", "judges", "leaderboards")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
HEAVY = (
    "torch",
    "transformers",
    "vllm",
    "nltk",
    "scipy",
    "pandas",
    "matplotlib",
    "faiss",
    "open_clip",
    "pycocoevalcap",
)

# A module may import what stands in its own row or in an earlier one.
LAYERS = (
    ("types", "parts", "weights", "errors", "stats"),
    ("data", "checkpoint", "model_file", "form", "signature", "registry", "store", "manifest"),
    ("records", "scored", "cache", "java", "wordnet", "wordnet_words", "torchvision_hook", "unpack", "fetch"),
    ("nltk_data", "pretrained"),
    ("highlight", "thumbnail"),
    ("engines", "metrics", "parsers", "encoders", "retrieval", "rewards", "train"),
    ("model", "run", "needs", "probes"),
    ("caption", "encode", "parse", "judge", "agreement", "retrieve", "score"),
    ("compare", "contrasts", "verify", "report", "doctor", "parity", "study"),
    ("arguments", "terminal", "cli_places", "cli_stored", "cli_gallery", "cli_train", "cli"),
    ("__main__",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
FORBIDDEN = {
    "metrics": ("harness.engines", "tasks"),
    "engines": ("harness.metrics", "tasks"),
    "tasks": ("harness.engines", "harness.metrics", "harness.parsers", "harness.cli"),
}
OUTSIDE = {
    "tasks": ("harness.types", "harness.data", "tasks"),
    "judges": ("harness.types", "harness.parts", "judges"),
    "leaderboards": (
        *("harness.types", "harness.errors", "harness.stats", "harness.data", "harness.signature"),
        *("harness.registry", "harness.store", "harness.manifest", "harness.records", "harness.scored"),
        *("harness.parts", "harness.compare", "harness.highlight", "harness.thumbnail"),
        *("judges.taxonomy", "leaderboards"),
    ),
}


def imports(path: Path) -> set[str]:
    """Dotted names a file imports, ``from harness import data`` as ``harness.data``; typing-only ones left out."""
    tree, found = ast.parse(path.read_text(encoding="utf-8")), set[str]()
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            bare = node.module in PACKAGES
            found.update(f"{node.module}.{alias.name}" for alias in node.names) if bare else found.add(node.module)
    return found


def part(path: Path) -> str:
    """Which row of ``LAYERS`` a file of harness stands in."""
    below = path.relative_to(ROOT / "harness")
    return below.parts[0] if len(below.parts) > 1 else below.stem


@pytest.mark.parametrize("path", [p for p in FILES if p.is_relative_to(ROOT / "harness")], ids=str)
def test_harness_imports_only_what_stands_below(path: Path) -> None:
    name = part(path)
    if name == "__init__":
        return
    for imported in imports(path):
        if imported.startswith("harness."):
            other = imported.split(".")[1]
            assert RANK[other] <= RANK[name], f"{path} imports {imported}"
        assert not imported.startswith("leaderboards"), f"{path} imports {imported}"
        assert name == "metrics" or not imported.startswith("judges"), f"{path} imports {imported}"
        assert not imported.startswith(FORBIDDEN.get(name, ("-",))), f"{path} imports {imported}"


@pytest.mark.parametrize("path", [p for p in FILES if not p.is_relative_to(ROOT / "harness")], ids=str)
def test_the_other_packages_import_only_their_share(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    for imported in imports(path):
        if imported.split(".")[0] in PACKAGES:
            assert imported.startswith(OUTSIDE[package]), f"{path} imports {imported}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{path}:{node.lineno} {node.name}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_file_and_public_function_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), path
    for node in tree.body:
        public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
        assert not public or ast.get_docstring(node), f"{path}:{node.lineno}"


def test_no_function_body_stands_twice() -> None:
    bodies = defaultdict(list)
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                body = [line for line in node.body if not _is_docstring(line)]
                dump = "\n".join(ast.dump(line) for line in body)
                if len(body) > 1:
                    bodies[dump].append(f"{path}:{node.lineno} {node.name}")
    assert [places for places in bodies.values() if len(places) > 1] == []


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["eval", "--help"], ["train", "--help"], ["list"], ["list", "--json"], ["where"]], ids=str
)
def test_nothing_heavy_is_loaded_on_start_up(arguments: list[str]) -> None:
    code = (
        "import sys; from harness import cli\n"
        "try: cli.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        f"print('loaded', sorted(set(sys.modules) & set({HEAVY!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.rstrip().endswith("loaded []"), done.stdout


def test_the_import_test_sees_what_it_must(tmp_path: Path) -> None:
    path = tmp_path / "sample.py"
    path.write_text("from harness import cli\nimport tasks.demo\nfrom harness.engines.captions import read\n")
    assert imports(path) == {"harness.cli", "tasks.demo", "harness.engines.captions"}
