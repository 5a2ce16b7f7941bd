"""A folder with a little of all that the project writes, and the commands that made it.

A workspace lies at one place and is put back there as it was before every case, so that the output of a command that
meets no damage is the same, byte by byte, as in the undisturbed workspace.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cim_harness import load_samples
from tests.torture import runner
from tests.torture.commands import SCENES, Command, N

CLOCK = {"started", "ended", "usage", "seconds", "memory_mb", "time", "crc", "served"}
TIME = re.compile(rb"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:\+00:00|Z)?)?")
CAPTIONS = {"a": "a red ball on a table", "b": "two dogs run in the grass", "c": "a man with a blue hat"}
REFERENCES = {"a": "a red ball lies on a wooden table", "b": "two dogs run through green grass", "c": "a man in a hat"}
RATINGS = (("a", "a red ball", 4), ("a", "a box", 1), ("b", "two dogs run", 5), ("b", "a cat", 1), ("c", "a man", 3))


class Workspace:
    """A workspace at ``root``; what it was before each command and in the end is kept in ``root.kept``."""

    def __init__(self, root: Path) -> None:
        self.root, self._kept = root, root.with_name(f"{root.name}.kept")

    @property
    def kept(self) -> Path:
        """The folder that holds everything, undisturbed."""
        return self._kept / "whole"

    def environment(self) -> dict[str, str]:
        """What makes commands read and write here only."""
        here = {"CIM_RESULTS": str(self.root / "results"), "CIM_DATA": str(self.root / "data"), "NO_COLOR": "1"}
        here["TMPDIR"] = str(self.root / "tmp")
        return here | {"OMP_NUM_THREADS": "1", "GIT_DIR": "/none", "COLUMNS": "200", "HF_HUB_OFFLINE": "1"}

    def run(self, command: Command, **options: Any) -> runner.Ended:
        """Run a command here; options as of ``runner.fork``."""
        return runner.fork(command.words(self.root), self.environment(), **options)

    def make(self, commands: Sequence[Command], say: Callable[[str], object]) -> None:
        """Run the commands that make it, in turn."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.rmtree(self._kept, ignore_errors=True)
        inputs(self.root / "work")
        (self.root / "tmp").mkdir()
        for command in commands:
            say(f"making the workspace: {command.name}")
            shutil.copytree(self.root, self._kept / command.name, symlinks=True)
            ended = self.run(command, seconds=600)
            if ended.code not in (0, 1) or "Traceback" in ended.err:
                raise SystemExit(f"torture: {command.name}: exit {ended.code}: {ended.err}")
            if command.name == "label":
                sheet = self.root / "work" / "sheet.csv"
                sheet.write_bytes(sheet.read_bytes().replace(b",\r\n", b",yes\r\n"))
        shutil.copytree(self.root, self.kept, symlinks=True)

    def restore(self, before: str = "whole") -> None:
        """Put everything back as it was before a command, by default as it was in the end."""
        if self.root.is_mount():
            for path in self.root.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        else:
            shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self._kept / before, self.root, symlinks=True, dirs_exist_ok=True)

    def files(self, patterns: Sequence[str]) -> list[Path]:
        """Files that match, relative to the workspace, without locks."""
        every = {path for pattern in patterns for path in self.kept.glob(pattern) if path.is_file()}
        return sorted(path.relative_to(self.kept) for path in every if not path.name.endswith(".lock"))

    def contents(self, patterns: Sequence[str]) -> dict[str, bytes]:
        """What a command has written, without times: by path, every file at or below what matches."""
        below = [path for pattern in patterns for top in self.root.glob(pattern) for path in (top, *top.rglob("*"))]
        return {
            str(path.relative_to(self.root)): without_times(path)
            for path in sorted(set(below))
            if path.is_file() and not path.name.endswith(".lock")
        }

    def leftovers(self) -> list[str]:
        """Temporary files that nobody removed; the empty folder that an import of torch makes is none."""
        left = [*self.root.rglob("*.tmp"), *(self.root / "tmp").glob("*")]
        kept = [path for path in left if not path.name.startswith("torchinductor_") or any(path.iterdir())]
        return sorted(str(path.relative_to(self.root)) for path in kept)


def without_times(path: Path) -> bytes:
    """A file's content, its moments and durations left out; of rows the set, whatever their order.

    A torn line of a cache is left out, as its reader skips it (``harness/runs/cache.py``); elsewhere it is content.
    """
    content = TIME.sub(b"", path.read_bytes())
    if path.suffix == ".json":
        return json.dumps(_timeless(json.loads(content)), sort_keys=True).encode()
    if path.suffix != ".jsonl":
        return content
    rows = [_row(line, cached=".cache" in path.parts) for line in content.split(b"\n") if line]
    return "\n".join(sorted(filter(None, rows))).encode()


def _row(line: bytes, *, cached: bool) -> str:
    try:
        return json.dumps(_timeless(json.loads(line)), sort_keys=True)
    except ValueError:
        return "" if cached else f"torn: {line!r}"


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(inner) for key, inner in value.items() if key not in CLOCK}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


def inputs(folder: Path) -> None:
    """What a user brings: captions, references, ratings."""
    folder.mkdir(parents=True)
    scenes = load_samples(SCENES)[:N]
    said = {sample.id: sample.references[0].split() for sample in scenes}
    files = {"captions": CAPTIONS, "references": REFERENCES}
    files["terse"] = {name: " ".join(words[: len(words) // 2]) for name, words in said.items()}
    files["detailed"] = {name: " ".join(words[: -len(words) // 8]) for name, words in said.items()}
    for name, texts in files.items():
        rows = [json.dumps({"id": key, "caption": text}) for key, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    rows = [",".join(map(str, row)) for row in (("id", "caption", "rating"), *RATINGS)]
    (folder / "ratings.csv").write_text("\n".join(rows) + "\n")


def place() -> Path:
    """A folder in memory where there is one: thousands of copies are made."""
    base = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir())
    return base / f"cim-torture-{os.getuid()}"
