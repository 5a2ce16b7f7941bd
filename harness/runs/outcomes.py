"""The account of a run's captions: what came back, and what in it is no caption.

Each caption is captioned, empty, failed, or refused by the server (final); of the texts it is counted how many were
cut by the token limit, are scored without their thoughts, hold thoughts or template tokens, begin as a refusal, end in
a loop, or are the same for many images. A pure function of ``captions.jsonl``; scores do not depend on it. Shown by
``cim eval``, ``cim caption`` and ``cim score``, on the page of a run and on the board.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import one_line
from harness.lines import Numbers
from harness.runs import no_caption
from harness.types import Completion

if TYPE_CHECKING:
    from harness.lines import Ints

CUT = frozenset({"length", "max_tokens", "max_output_tokens"})  # finish reasons, as servers spell them
SAME, SAME_PERCENT = 3, 2.0  # a text is the same for many images from so many on, and of so many percent of all
MANY = 1000  # failed captions of which the reasons are counted
LONGEST = 200  # characters of a reason that are shown
# Percent of a run's captions above which a count is a warning, and what to do.
LIMITS: Mapping[str, tuple[float, str]] = {
    "failed": (1.0, "the same command asks again; until then they score as empty captions"),
    "refused": (0.0, "they score as empty captions and are not asked again"),
    "empty": (2.0, "look at the prompt, the image limits and max_tokens"),
    "cut": (5.0, "raise sampling.max_tokens"),
    "reasoning": (100.0, ""),
    "reasoning_left": (0.0, "scored with them; turn thinking off or remove them"),
    "template": (0.0, "scored with them; mend the chat template or the stop tokens"),
    "refusals": (0.0, "scored as they are"),
    "repeated": (2.0, "scored as they are; look at sampling and precision"),
    "same": (0.0, "does the model see the images?"),
}


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Counts of captions; ``captioned + empty + failed + refused = n``, the others are among the captions, but that an
    answer may be ``cut`` before its text began, and ``reasoning`` may come without one.

    ``reason`` is why the first of the failed, else of the refused, has no text; ``token`` the first template token;
    ``max_tokens`` the limit of the model's sampling, None where it is not known.
    """

    n: int
    captioned: int
    failed: int
    refused: int
    empty: int
    cut: int
    reasoning: int
    reasoning_left: int
    template: int
    refusals: int
    repeated: int
    same: int
    reason: str | None = None
    token: str | None = None
    max_tokens: int | None = None

    def _said(self, above: bool) -> list[str]:
        """Counts that are not zero, in words: those above their limit, with what to do, or the others."""
        phrases = {
            "failed": "failed" + self._why(self.failed),
            "refused": "refused by the server" + self._why(self.refused if not self.failed else 0),
            "empty": "empty",
            "cut": f"cut at max_tokens = {self.max_tokens}" if self.max_tokens else "cut at the token limit",
            "reasoning": "hold a reasoning block; scored without it",
            "reasoning_left": "hold reasoning text",
            "template": f"hold template tokens, such as {self.token}",
            "refusals": "begin as a refusal",
            "repeated": "end in a loop",
            "same": "are the same text for many images",
        }
        lines = list[str]()
        for name, phrase in phrases.items():
            number, (limit, advice) = getattr(self, name), LIMITS[name]
            if number and (100 * number / self.n > limit) == above:
                lines.append(one_line(f"{number} of {self.n} captions {phrase}" + (f"; {advice}" if above else "")))
        return lines

    def _why(self, count: int) -> str:
        return f": {self.reason}" if count and self.reason else ""

    @property
    def notes(self) -> list[str]:
        """Counts up to their limit (``LIMITS``)."""
        return self._said(above=False)

    @property
    def warnings(self) -> list[str]:
        """Counts above their limit, and what to do."""
        return self._said(above=True)

    def as_row(self) -> dict[str, Any]:
        """What ``scores.json`` and ``--json`` hold."""
        return {**asdict(self), "notes": self.notes, "warnings": self.warnings}


def count(captions: Iterable[Completion], settings: Mapping[str, Any]) -> Outcomes:
    """The account of captions that a model of these settings (``manifest.settings.model``) wrote."""
    counts, failed, refused = Counter[str](), list[Completion](), list[Completion]()
    token, hashes = None, Numbers()
    for row in captions:
        applying = [name for name, applies in _of(row).items() if applies]
        counts.update(applying)
        if row.text is None and len(some := refused if row.final else failed) < MANY:
            some.append(row)
        if token is None and "template" in applying:
            token = no_caption.template_token(row.text or "")
        if "captioned" in applying:
            hashes.add(hash(row.text))
    return Outcomes(
        n=counts["n"],
        captioned=counts["captioned"],
        failed=counts["failed"],
        refused=counts["refused"],
        empty=counts["empty"],
        cut=counts["cut"],
        reasoning=counts["reasoning"],
        reasoning_left=counts["reasoning_left"],
        template=counts["template"],
        refusals=counts["refusals"],
        repeated=counts["repeated"],
        same=_same(hashes.array()),
        reason=reason(failed or refused),
        token=token,
        max_tokens=_limit(settings),
    )


def _of(row: Completion) -> dict[str, bool]:
    """Which counts a caption belongs to."""
    text = row.text or ""
    written = bool(text.strip())
    return {
        "n": True,
        "captioned": written,
        "failed": not row.final,
        "refused": row.final and row.text is None,
        "empty": row.text is not None and not written,
        "cut": str(row.finish_reason).lower() in CUT,
        "reasoning": row.reasoning is not None,
        "reasoning_left": written and no_caption.thoughts(text),
        "template": written and no_caption.template_token(text) is not None,
        "refusals": written and no_caption.refusal(text),
        "repeated": written and no_caption.loops(text),
    }


def reason(rows: Sequence[Completion]) -> str | None:
    """Why completions have no text: their one reason, or the first and how many others."""
    reasons = list(dict.fromkeys(row.error for row in rows if row.error is not None))
    others = f" (other reasons: {len(reasons) - 1})" if len(reasons) > 1 else ""
    return f"{reasons[0][:LONGEST]}{others}" if reasons else None


def _same(hashes: Ints) -> int:
    """Captions whose text many images share, from the hash (n,) of each."""
    times = np.unique(hashes, return_counts=True)[1]
    return int(times[times >= max(SAME, SAME_PERCENT * len(hashes) / 100)].sum())


def _limit(settings: Mapping[str, Any]) -> int | None:
    sampling = settings.get("sampling")
    limit = sampling.get("max_tokens") if isinstance(sampling, Mapping) else None
    return limit if isinstance(limit, int) else None
