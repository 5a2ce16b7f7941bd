"""The house keeps its shape: who imports whom, how long files are, what a start-up loads, nothing written twice."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ("cim_harness", "cim_meteor", "harness", "tasks", "judges", "leaderboards")
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


def test_imports_keep_the_layers() -> None:
    """The contracts of ``[tool.importlinter]`` in pyproject.toml: layers, no circle, leaderboards run nothing."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "0 broken" in done.stdout, done.stdout + done.stderr


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
    "arguments",
    [*([*verb, "--help"] for verb in ([], ["eval"], ["train"], ["check"], ["audit"], ["list"])), ["list"], ["where"]],
    ids=str,
)
def test_nothing_heavy_is_loaded_on_start_up(arguments: list[str]) -> None:
    """Not even numpy for help."""
    heavy = (*HEAVY, "numpy") if "--help" in arguments else HEAVY
    code = (
        "import sys; from harness.command import cli\n"
        "try: cli.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        f"print('loaded', sorted(set(sys.modules) & set({heavy!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.rstrip().endswith("loaded []"), done.stdout
