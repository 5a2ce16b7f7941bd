"""What people say of a judge's questions: ``labels.<judge>.<model>.jsonl`` in a run's folder, one row per answer.

A label is what the *caption* says to a question, yes, no or n/a (it does not say), whatever the judge or the image
say. Rows are appended and on the disk at once; of two rows of one labeller and question the later counts, one without a
verdict takes an answer back. A row keeps the hash of the caption and the judge's state: of another caption, or of a
reply that has changed, it counts no more. ``--fresh`` leaves labels alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from harness import store
from harness.calibration.estimate import Stratum
from harness.errors import CimError
from harness.runs import manifest

VERDICTS = ("yes", "no", "n/a")
LOCK = ".labels.lock"


@dataclass(frozen=True, slots=True)
class Label:
    """An answer of a labeller, None where it was taken back; ``state`` and ``kind`` are the judge's at that time."""

    sample_id: str
    question: int
    caption: str
    verdict: str | None
    labeller: str
    time: str
    state: str
    kind: str

    @property
    def stratum(self) -> Stratum:
        """The judge's state and the kind."""
        return self.state, self.kind


Labels = Mapping[tuple[str, int], Mapping[str, Label]]
"""Labels by sample and number of the question, and by labeller."""


def file_name(judge: str, answering: str) -> str:
    """The labels of what a model replied to a judge's questions."""
    return f"labels.{judge}.{answering}.jsonl"


def caption_hash(text: str | None) -> str:
    """Twelve hex digits of a caption."""
    return hashlib.sha256((text or "").encode(errors="surrogatepass")).hexdigest()[:12]


def read(folder: Path, judge: str, answering: str) -> Labels:
    """What labellers say now, none taken back.

    Raises:
        CimError: a row that is no label; names file and line.
    """
    path, labels = folder / file_name(judge, answering), dict[tuple[str, int], dict[str, Label]]()
    for number, row in enumerate(store.read_rows(path), start=1):
        label = _label(row, f"{path}:{number}")
        labels.setdefault((label.sample_id, label.question), {})[label.labeller] = label
    kept = {key: {name: label for name, label in by.items() if label.verdict} for key, by in labels.items()}
    return {key: by for key, by in kept.items() if by}


def _label(row: Mapping[str, object], where: str) -> Label:
    texts = {name: row.get(name) for name in ("sample_id", "caption", "labeller", "time", "state", "kind")}
    question, verdict = row.get("question"), row.get("verdict")
    if (
        not all(isinstance(text, str) for text in texts.values())
        or type(question) is not int
        or not (verdict is None or verdict in VERDICTS)
    ):
        raise CimError("is no label", where=where, hint="delete that line")
    return Label(question=question, verdict=verdict, **texts)  # type: ignore[arg-type]


class Writer:
    """Appends labels of one labeller, each on the disk before the next."""

    def __init__(self, file: store.Appender, labeller: str) -> None:
        self._file, self.labeller = file, labeller

    def add(self, fact: tuple[str, int], caption: str, stratum: Stratum, verdict: str | None) -> Label:
        """Store an answer, or take it back (None)."""
        state, kind = stratum
        label = Label(*fact, caption, verdict, self.labeller, manifest.now(), state, kind)
        self._file.append(asdict(label))
        return label


@contextmanager
def writing(folder: Path, judge: str, answering: str, labeller: str) -> Iterator[Writer]:
    """A writer of labels; BusyError while another process labels this run."""
    with (
        store.writing(folder, "labels of this run", LOCK),
        store.Appender(folder / file_name(judge, answering), sync=1) as file,
    ):
        yield Writer(file, labeller)
