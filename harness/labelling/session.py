"""A labelling session: which question comes next, what is stored, what can be taken back."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.calibration.labels import VERDICTS, Labels, Writer
from harness.calibration.questions import LabelQuestion


@dataclass(slots=True)
class Session:
    """The questions of one labeller; safe to use from several threads.

    ``verdicts`` are this labeller's by question, ``past`` the questions answered in this session, oldest first.
    """

    questions: Sequence[LabelQuestion]
    writer: Writer
    verdicts: dict[int, str]
    past: list[int] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    finished: threading.Event = field(default_factory=threading.Event)

    @property
    def done(self) -> int:
        """How many questions are answered."""
        return len(self.verdicts)

    def current(self) -> int | None:
        """The first question without an answer; None when all have one."""
        return next((at for at in range(len(self.questions)) if at not in self.verdicts), None)

    def answer(self, at: int, verdict: str) -> bool:
        """Store an answer to the current question; False for another question, as of a form sent twice."""
        with self.lock:
            if at != self.current() or verdict not in VERDICTS:
                return False
            self.put(at, verdict)
            return True

    def put(self, at: int, verdict: str) -> None:
        """Store an answer to any question."""
        with self.lock:
            self._store(at, verdict)
            self.verdicts[at] = verdict
            self.past.append(at)

    def undo(self) -> bool:
        """Take this session's last answer back; False where there is none."""
        with self.lock:
            if not self.past:
                return False
            at = self.past.pop()
            self._store(at, None)
            del self.verdicts[at]
            return True

    def _store(self, at: int, verdict: str | None) -> None:
        question = self.questions[at]
        self.writer.add(question.fact, question.caption_hash, question.stratum, verdict)


def begin(questions: Sequence[LabelQuestion], stored: Labels, writer: Writer) -> Session:
    """A session that goes on where this labeller ended; answers about other captions or replies do not count."""
    verdicts = dict[int, str]()
    for at, question in enumerate(questions):
        label = stored.get(question.fact, {}).get(writer.labeller)
        if label and label.verdict and (label.caption, label.stratum) == (question.caption_hash, question.stratum):
            verdicts[at] = label.verdict
    return Session(questions, writer, verdicts)
