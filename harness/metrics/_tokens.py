"""The one tokenisation of the word metrics: PTB tokens of captions and references, each text once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness import registry
from harness.parts import Records

PTB = "ptb"


@dataclass(frozen=True, slots=True)
class Tokens:
    """PTB tokens joined by blanks: one text a caption, and one a reference of each sample."""

    captions: Sequence[str]
    references: Sequence[Sequence[str]]


def tokens(records: Records) -> Tokens:
    """Tokens of a run's captions and references."""
    counts = [len(sample.references) for sample in records.samples]
    references = [reference for sample in records.samples for reference in sample.references]
    parsed = records.parse(PTB, [*records.captions, *references])
    rest = iter(parsed[len(records.captions) :])
    return Tokens(parsed[: len(records.captions)], [[next(rest) for _ in range(count)] for count in counts])


def missing() -> str | None:
    """Why tokens cannot be made here."""
    return registry.parser(PTB).missing()
