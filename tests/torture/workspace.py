"""A folder with a little of all that the project writes, and the commands that made it.

A workspace lies at one place and is put back there as it was before every case, so that the output of a command that
meets no damage is the same, byte by byte, as in the undisturbed workspace.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from cim_harness import load_samples
from tests.torture import runner
from tests.torture.commands import MAKING, SCENES, N

CAPTIONS = {"a": "a red ball on a table", "b": "two dogs run in the grass", "c": "a man with a blue hat"}
REFERENCES = {"a": "a red ball lies on a wooden table", "b": "two dogs run through green grass", "c": "a man in a hat"}
RATINGS = (("a", "a red ball", 4), ("a", "a box", 1), ("b", "two dogs run", 5), ("b", "a cat", 1), ("c", "a man", 3))


class Workspace:
    """A workspace at ``root``, kept in ``root.kept`` as it was made."""

    def __init__(self, root: Path) -> None:
        self.root, self.kept = root, root.with_name(root.name + ".kept")

    def environment(self) -> dict[str, str]:
        """What makes commands read and write here only."""
        here = {"CIM_RESULTS": str(self.root / "results"), "CIM_DATA": str(self.root / "data"), "NO_COLOR": "1"}
        return here | {"OMP_NUM_THREADS": "1", "GIT_DIR": "/none", "COLUMNS": "200", "HF_HUB_OFFLINE": "1"}

    def make(self, weights: bool = True) -> None:
        """Run all commands that make it, those that load torch only where ``weights`` is set; keep the result."""
        shutil.rmtree(self.root, ignore_errors=True)
        inputs(self.root / "work")
        for command in MAKING:
            if weights or not command.weights:
                ended = runner.fork(command.words(self.root), self.environment(), seconds=600)
                if ended.code not in (0, 1) or "Traceback" in ended.err:
                    raise SystemExit(f"torture: {command.name}: exit {ended.code}: {ended.err}")
            if command.name == "label" and (sheet := self.root / "work" / "sheet.csv").is_file():
                sheet.write_bytes(sheet.read_bytes().replace(b",\r\n", b",yes\r\n"))
        self.keep()

    def keep(self) -> None:
        """Take what is there now as the undisturbed state."""
        shutil.rmtree(self.kept, ignore_errors=True)
        shutil.copytree(self.root, self.kept, symlinks=True)

    def restore(self) -> None:
        """Put everything back as it was kept."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.kept, self.root, symlinks=True)

    def files(self, patterns: Sequence[str]) -> list[Path]:
        """Files that match, relative to the workspace, without locks."""
        every = {path for pattern in patterns for path in self.kept.glob(pattern) if path.is_file()}
        return sorted(path.relative_to(self.kept) for path in every if not path.name.endswith(".lock"))

    def leftovers(self) -> list[str]:
        """Temporary files that nobody removed."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*.tmp"))


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
    base = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path("/tmp")
    return base / f"cim-torture-{os.getuid()}"
