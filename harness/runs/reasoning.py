"""Thoughts that a model writes before its answer, ``<think> ... </think>`` and its relatives, split off the answer.

The answer is what follows the last closing tag, as the reasoning parsers of vLLM and SGLang take it; some templates
write the opening tag themselves, so a closing tag alone ends thoughts too. A text that begins with an opening tag and
never closes it is thoughts only. Texts without a tag keep every byte. Thoughts of captions are stored beside them
(``reasoning`` of a row) and never scored; replies of judges are read by ``answer``.
"""

from __future__ import annotations

import re
from dataclasses import replace

from harness.types import Completion

_NAMES = r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|analysis|seed:think)"
_OPEN = "|".join(
    (
        rf"(?:<|&lt;){_NAMES}(?:>|&gt;)",  # DeepSeek, Qwen, GLM, MiniMax, Seed and most others
        r"◁think▷|\[THINK\]",  # Kimi; Magistral
        r"<\|START_THINKING\|>|<\|inner_prefix\|>|<\|begin_of_thought\|>",  # Command A; Apertus; OpenThinker
        r"<unused94>|<ctrl94>",  # MedGemma; Gemini
        r"<\|channel\|?>(?:analysis|commentary|thought)(?:<\|message\|>)?",  # GPT-OSS; Gemma 4
        r"\Aanalysis(?=[A-Z].*?assistantfinal)",  # GPT-OSS, decoded without its special tokens
    )
)
_CLOSE = "|".join(
    (
        rf"(?:<|&lt;)/{_NAMES}(?:>|&gt;)",
        r"◁/think▷|\[/THINK\]",
        r"<\|END_THINKING\|>|<\|inner_suffix\|>|<\|end_of_thought\|>",
        r"<unused95>|<ctrl95>",
        r"<\|channel\|>final(?: [^<]{0,40})?<\|message\|>|<channel\|>",
    )
)
OPENS = re.compile(_OPEN, re.IGNORECASE | re.DOTALL)
CLOSES = re.compile(_CLOSE, re.IGNORECASE)
FINAL = re.compile(r"(?<=.)assistantfinal")  # closes what begins with "analysis", and nothing else
LEAD = re.compile(r"(?:\s|<\|[^|<>]{1,40}\|>|</?s>|<bos>|assistant\b:?|\*\*)*", re.IGNORECASE)


def _end(text: str) -> int:
    """Where the last closing tag ends; 0 without one."""
    hits = [*CLOSES.finditer(text), *(FINAL.finditer(text) if re.match("analysis[A-Z]", text) else ())]
    return max((hit.end() for hit in hits), default=0)


def opening(prompt: str) -> str:
    """The opening tag with which a template ends a prompt; empty where it ends otherwise."""
    *_, last = [None, *OPENS.finditer(prompt)]
    return last[0] if last and not prompt[last.end() :].strip() else ""


def _leads(text: str) -> bool:
    """Does a text begin with an opening tag, template tokens aside?"""
    start = LEAD.match(text)
    return OPENS.match(text, start.end() if start else 0) is not None


def split(text: str) -> tuple[str, str | None]:
    """A text's answer and its thoughts, tags included; the text itself and None where it has no block of them.

    A block at the end leaves the text before it; an opening tag in the middle that is never closed is text.
    """
    end = _end(text)
    thoughts, said = text[:end], text[end:]
    if _leads(said):
        thoughts, said = text, ""
    if not thoughts:
        return text, None
    first = OPENS.search(text)
    if not said.strip() and first and not LEAD.fullmatch(text, 0, first.start()):
        said, thoughts = text[: first.start()], text[first.start() :]
    return said.strip(), thoughts.strip()


def answer(reply: str) -> str:
    """The part of a judge's reply in which verdicts are read: nothing where its thoughts were not closed."""
    said = reply[_end(reply) :]
    return "" if OPENS.search(said) else said


def thought(reply: Completion) -> bool:
    """Does a judge's reply come with thoughts, split off already or not?"""
    return bool(reply.reasoning) or answer(reply.text or "") != (reply.text or "")


def split_off(completion: Completion) -> Completion:
    """A completion with its thoughts moved from ``text`` to ``reasoning``, behind those that a server split off."""
    if completion.text is None:
        return completion
    said, thoughts = split(completion.text)
    if thoughts is None:
        return completion
    return replace(completion, text=said, reasoning="\n".join(filter(None, (completion.reasoning, thoughts))))
