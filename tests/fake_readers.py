"""Fake judges of facts for tests: they compare words, know no language, and answer in the forms of the benchmarks."""

from __future__ import annotations

import json
import re
from typing import Any

from judges import capeval

WORD = re.compile(r"[a-z]{4,}")
COMMON = {"does", "caption", "mention", "describe", "that", "with", "what", "which", "this", "from", "have", "image"}
ITEM = re.compile(r"^  item_index=(\d+) .*?  Q: (.*)$", re.MULTILINE)
OPTION = re.compile(r"^([A-Z])\. (.*)$", re.MULTILINE)


def words(text: str) -> set[str]:
    """Words that may tell two texts apart."""
    return set(WORD.findall(text.lower())) - COMMON


def reads(body: dict[str, Any]) -> str:
    """What the fake replies to the last message of a chat."""
    prompt: str = body["messages"][-1]["content"]
    return checklist(prompt) if "item_index" in prompt else multiple_choice(prompt)


def checklist(prompt: str) -> str:
    """Yes where the caption has all words of a statement, not mentioned where it has none, else no."""
    caption, _, listing = prompt.partition("CAPTION:\n")[2].partition(capeval.CHECKLIST)
    known = words(caption)
    rows = []
    for index, statement in ITEM.findall(listing):
        shared = words(statement) & known
        verdict = "not_mentioned" if not shared else "yes" if shared == words(statement) else "no"
        rows.append({"item_index": int(index), "verdict": verdict, "reasoning": f"{len(shared)} words are shared"})
    return json.dumps({"gt_verdicts": rows})


def multiple_choice(prompt: str) -> str:
    """The first option with a word of the caption, else the last."""
    caption, _, question = prompt.partition("\n\nQuestion:\n")
    options = OPTION.findall(question.partition("\n\nOptions:\n")[2])
    return next((letter for letter, text in options if words(text) & words(caption)), options[-1][0])
