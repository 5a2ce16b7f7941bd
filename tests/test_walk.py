"""A newcomer's walk: the commands of the tutorials, in order, print what the tutorials say they print.

A block of commands may be followed by a block of text: its lines stand in the output in that order, results folder and
blanks aside; "..." stands for any lines. ``CIM_UPDATE_DOCS=1`` writes the blocks anew.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

TUTORIALS = ROOT / "docs" / "tutorials"
NAMES = (
    "my-captions",
    "my-images-and-references",
    "my-model-on-one-gpu",
    "train-with-the-cim-reward",
    "a-gate-and-a-board",
)
STEP = re.compile(r"^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


def _plain(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def _in_order(shown: list[str], printed: list[str]) -> str:
    """The first shown line that is not printed after the one before it; empty if all are."""
    at = 0
    for line in shown:
        if line == "...":
            continue
        try:
            at = printed.index(line, at) + 1
        except ValueError:
            return line
    return ""


@pytest.mark.parametrize("name", NAMES)
def test_a_tutorial_prints_what_it_says(name: str, tmp_path: Path) -> None:
    if not (ROOT / ".venv" / ".ok-dev").exists():
        pytest.skip("the tutorials need the environment that `make test` makes")
    text, results = (TUTORIALS / f"{name}.md").read_text(encoding="utf-8"), tmp_path / "results"
    launcher = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # of training in this process
    dropped = ("COLUMNS", "MAKEFLAGS", "CIM_DATA", "CIM_PATH", "CIM_MODELS", *launcher)
    variables = {name: value for name, value in os.environ.items() if name not in dropped}
    variables |= {"PATH": f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}", "CIM_RESULTS": str(results)}
    steps = list(STEP.finditer(text))
    assert steps, name
    shutil.copytree(TUTORIALS / "scenes", tmp_path / "docs" / "tutorials" / "scenes")
    for step in steps:
        commands = step[1]
        done = subprocess.run(
            ["bash", "-ec", commands],
            cwd=tmp_path,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        output = done.stdout.replace(str(results), "results").replace(str(tmp_path), ".")
        assert done.returncode == 0, f"{commands}\n{output}"
        if step[2] is not None:
            missing = _in_order(_plain(step[2]), _plain(output))
            assert not missing, f"{commands} does not print {missing!r}:\n{output}"
