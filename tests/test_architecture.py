"""The house keeps its shape: who imports whom, how long files are, what a start-up loads, nothing written twice."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict

import pytest

from tests.conftest import ROOT

PACKAGES = ("cim_harness", "cim_meteor", "harness", "tasks", "judges", "leaderboards")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in FILES}
FUNCTION, CLASS = (ast.FunctionDef, ast.AsyncFunctionDef), ast.ClassDef
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


def test_files_and_functions_are_short() -> None:
    assert [path for path in TREES if path.read_text(encoding="utf-8").count("\n") > 300] == []
    functions = [(path, node) for path, tree in TREES.items() for node in ast.walk(tree) if isinstance(node, FUNCTION)]
    assert [f"{path}:{f.lineno} {f.name}" for path, f in functions if (f.end_lineno or 0) - f.lineno >= 60] == []


def test_every_file_and_public_function_says_what_it_is() -> None:
    assert [path for path, tree in TREES.items() if not ast.get_docstring(tree)] == []
    parts = [(path, part) for path, tree in TREES.items() for part in tree.body if isinstance(part, (*FUNCTION, CLASS))]
    public = [(path, part) for path, part in parts if not part.name.startswith("_")]
    assert [f"{path}:{part.lineno}" for path, part in public if not ast.get_docstring(part)] == []


def test_no_function_body_stands_twice() -> None:
    bodies = defaultdict(list)
    for path, tree in TREES.items():
        for node in ast.walk(tree):
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
