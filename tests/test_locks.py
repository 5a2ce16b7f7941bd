"""The lock file of GPU machines: whole for every supported Python, hashed, and a resolution that uv itself accepts."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

LOCK = ROOT / "requirements" / "gpu.lock"
PYTHONS = ("3.11", "3.12", "3.13")
# The oldest glibc that its wheels run on (llguidance): Ubuntu 20.04, Debian 11.
PLATFORM = "x86_64-manylinux_2_31"
UV = shutil.which("uv", path=str(Path(sys.executable).parent))


def pins(python: str) -> dict[str, str]:
    """Name to version of what the lock installs on Linux x86_64 with this Python."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    versions = dict[str, str]()
    for line in LOCK.read_text().splitlines():
        if not re.match(r"[a-z0-9]", line):
            continue
        requirement = Requirement(line.rstrip("\\ "))
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert requirement.name not in versions, f"{requirement.name} stands twice for Python {python}"
            versions[requirement.name] = str(requirement.specifier).removeprefix("==")
    return versions


@pytest.mark.parametrize("python", PYTHONS)
def test_lock_satisfies_what_the_project_asks_for(python):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    versions = pins(python)
    wanted = [Requirement(text) for name in ("gpu", "models", "engine", "train", "report") for text in extras[name]]
    for requirement in wanted:
        if requirement.name != "cim-harness":
            assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement
    # vLLM's own bound above Python 3.11, which `--no-deps` would hide.
    assert python == "3.11" or int(versions["setuptools"].split(".")[0]) < 81


@pytest.mark.parametrize("python", PYTHONS)
def test_resolver_takes_the_lock_as_it_is(python):
    assert UV, "uv comes with make"
    system = ["--python-version", python, "--python-platform", PLATFORM]
    extras = [word for name in ("gpu", "train", "report") for word in ("--extra", name)]
    command = [UV, "pip", "compile", "-q", "pyproject.toml", *extras, *system, "-c", str(LOCK), "--no-annotate"]
    answer = subprocess.run([*command, "--no-header"], cwd=ROOT, capture_output=True, text=True)
    if re.search(r"error sending request|dns error|Failed to fetch|connection", answer.stderr, re.IGNORECASE):
        pytest.skip("PyPI cannot be reached: the lock is not resolved again")
    assert answer.returncode == 0, answer.stderr
    resolved = dict(line.split("==") for line in answer.stdout.split() if "==" in line)
    assert {name.split("[")[0]: version for name, version in resolved.items()} == pins(python)


@pytest.mark.parametrize("lock", sorted(LOCK.parent.glob("*.lock")), ids=lambda lock: lock.name)
def test_every_package_of_every_lock_has_a_hash(lock: Path) -> None:
    """torch.txt, which is no lock, has none: CPU builds of torch differ between the places they come from."""
    entries = re.split(r"\n(?=[a-z0-9])", lock.read_text())[1:]
    assert entries and [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_actions_are_pinned_by_commit() -> None:
    uses = [
        line.split("uses:")[1].split()[0]
        for path in (ROOT / ".github" / "workflows").glob("*.yml")
        for line in path.read_text().splitlines()
        if "uses:" in line
    ]
    assert uses and [name for name in uses if not re.search(r"@[0-9a-f]{40}$", name)] == []
