"""Shared tokenisation of the word metrics: PTB tokens of captions and references, each text once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import registry
from harness.metrics._ngrams import word_numbers
from harness.parts import Records

if TYPE_CHECKING:
    from harness.metrics._ngrams import Ints

PTB = "ptb"


@dataclass(frozen=True, slots=True)
class Tokens:
    """PTB tokens joined by blanks: one text per caption, and one per reference of each sample."""

    captions: Sequence[str]
    references: Sequence[Sequence[str]]


def tokens(records: Records) -> Tokens:
    """Tokens of a run's captions and references."""
    counts = [len(sample.references) for sample in records.samples]
    references = [reference for sample in records.samples for reference in sample.references]
    parsed = records.parse(PTB, [*records.captions, *references])
    rest = iter(parsed[len(records.captions) :])
    return Tokens(parsed[: len(records.captions)], [[next(rest) for _ in range(count)] for count in counts])


def numbers(records: Records) -> tuple[list[Ints], list[list[Ints]]]:
    """The same as word numbers of one vocabulary, memoised across the metrics of a run."""
    vocabulary: dict[str, int] = records.shared.setdefault("words", {})
    known: dict[str, Ints] = records.shared.setdefault("word numbers", {})
    tokenised = tokens(records)
    texts = [*tokenised.captions, *(text for group in tokenised.references for text in group)]
    new = [text for text in dict.fromkeys(texts) if text not in known]
    known.update(zip(new, word_numbers([text.split() for text in new], vocabulary), strict=True))
    return [known[text] for text in tokenised.captions], [
        [known[text] for text in group] for group in tokenised.references
    ]


def missing() -> str | None:
    """Why texts cannot be tokenised here, or None."""
    return registry.parser(PTB).missing()
