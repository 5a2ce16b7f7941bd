"""Prompts of a judge, and the files of a run that hold the raw replies: one per judge, answering model and probe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.runs.cache import key
from harness.types import Request

FIELD = "reply"


@dataclass(frozen=True, slots=True)
class Prompted:
    """A prompt of a judge and its system prompt, with the file and id of its stored reply."""

    file: str
    id: str
    prompt: str
    system: str | None

    @property
    def request(self) -> Request:
        """What an engine is asked; its id is unique among all files."""
        return Request(f"{self.file}:{self.id}", self.prompt, system=self.system)

    @property
    def key(self) -> str:
        """The key of its reply among those that runs share."""
        return key(self.prompt if self.system is None else f"{self.system}\0{self.prompt}")


def file_name(judge: str, answering: str, probe: str = "") -> str:
    """The file of the raw replies that a model gave to a judge's questions, about captions altered by ``probe``."""
    return f"probe.{probe}.{judge}.{answering}.jsonl" if probe else f"replies.{judge}.{answering}.jsonl"


def reply_files(folder: Path) -> list[tuple[str, str]]:
    """Judge and answering model of each file of replies in a run's folder."""
    names = [path.name.removesuffix(".jsonl").split(".", 2) for path in sorted(folder.glob(file_name("*", "*")))]
    return [(name[1], name[2]) for name in names]
