"""Runs that come by pull request: ``.ci/submissions`` lets a whole run pass and stops an edited one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli import Cim
from tests.conftest import ROOT
from tests.edits import document

pytestmark = pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".venv" / "bin" / "python").exists(),
    reason="needs git and the environment of this folder: run `make test`",
)


def git(folder: Path, *arguments: str) -> str:
    """Run git in a repository that knows no user's settings."""
    identity = ("-c", "user.name=someone", "-c", "user.email=someone@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """This project's code as it stands, in a repository of its own with one commit, with this environment."""
    folder = tmp_path / "repository"
    for name in (".ci", "harness", "judges", "tasks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "weights"))
    for name in (".gitignore", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "the project")
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


@pytest.fixture
def submitted(cim: Cim, repository: Path) -> Path:
    """A run's folder in the repository, to be committed."""
    assert cim("eval", "--model", "demo-terse", "--metrics", "bleu4_char,length").code == 0
    folder = repository / "results" / "demo" / "demo-terse"
    shutil.copytree(cim.results / "demo" / "demo-terse", folder, ignore=shutil.ignore_patterns("*.html", ".lock"))
    return folder


def checked(repository: Path) -> subprocess.CompletedProcess[str]:
    """Commit what is there, past .gitignore, and run the script against the commit before."""
    git(repository, "add", "-f", "results")
    git(repository, "commit", "-qm", "a run", "--allow-empty")
    return subprocess.run([".ci/submissions", "HEAD~1"], cwd=repository, capture_output=True, text=True)


def test_a_whole_run_passes(repository: Path, submitted: Path) -> None:
    done = checked(repository)
    assert done.returncode == 0, done
    assert "== results/demo/demo-terse" in done.stdout and "failed" not in done.stdout


def test_an_edited_score_is_found(repository: Path, submitted: Path) -> None:
    document("scores.json", lambda content: content["scores"][0]["values"].update(score=77.0))(submitted)
    done = checked(repository)
    assert done.returncode == 1 and "77.0" in done.stdout


def test_a_page_is_not_taken(repository: Path, submitted: Path) -> None:
    (submitted / "report.html").write_text("<script>alert(1)</script>")
    done = checked(repository)
    assert (
        done.returncode == 1 and "holds other files than JSON of a run: results/demo/demo-terse/report" in done.stderr
    )


def test_without_a_run_there_is_nothing_to_do(repository: Path) -> None:
    (repository / "results" / "baseline").mkdir(parents=True)
    (repository / "results" / "baseline" / "note.json").write_text("{}")
    done = checked(repository)
    assert done.returncode == 0 and done.stdout == "no run was added or changed\n"


def test_a_task_that_nobody_knows_and_a_folder_without_a_manifest(repository: Path) -> None:
    for name in ("nowhere", "demo"):
        (repository / "results" / name / "x").mkdir(parents=True)
        (repository / "results" / name / "x" / "scores.json").write_text("{}")
    done = checked(repository)
    assert done.returncode == 1 and done.stdout.count("== results/") == 2
    assert "unknown task 'nowhere'" in done.stderr and "no stored run" in done.stderr
