"""Does a caption name the species, and the breed? Two yes-or-no prompts of the paper's Figure 6.

The first yes or no of a reply counts, in any case; a reply with neither is unparsed and counted as such.
Source: supplement of arXiv 2603.01696, Figure 6 (the code that asked them is not released).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from harness.parts import Judge
from harness.types import Sample

FIRST = re.compile(r"\b(yes|no)\b", re.IGNORECASE)


def prompt(caption: str, what: str) -> str:
    """The judge's prompt; ``what`` is ``any cat`` or ``the cat breed Sphynx``."""
    return f"Caption: {caption}\n\nCheck if the caption explicitly mentions {what}.\n\nAnswer exactly yes or no."


def first_yes_no(reply: str, n: int = 1) -> list[str | None]:
    """``yes`` or ``no``, whichever comes first in the reply; None when it says neither."""
    match = FIRST.search(reply)
    return [None if match is None else match[1].lower()]


def _prompts(sample: Sample, caption: str) -> Mapping[str, str]:
    if not sample.species:
        return {}
    asked = {"species": f"any {sample.species}", "breed": f"the {sample.species} breed {sample.breed}"}
    return {key: prompt(caption, what) for key, what in asked.items()}


_DIGEST = hashlib.sha256(prompt("<Caption>", "<What>").encode()).hexdigest()[:8]
JUDGE = Judge(
    name="taxonomy",
    prompts=_prompts,
    signature={"prompt": f"cim-figure6@{_DIGEST}"},
    parsers={"first-yes-no": first_yes_no},
)
