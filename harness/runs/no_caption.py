"""What a text may hold that is no caption: template tokens, thoughts, a refusal in words, a loop until its end.

Nothing is changed or scored here; ``outcomes.py`` counts. The patterns are families of what public models write, kept
narrow: human captions must give none (``docs/results.md`` has the counts).
"""

from __future__ import annotations

import re

from harness.runs.reasoning import CLOSES, LEAD, OPENS

TEMPLATE = re.compile(
    "|".join(
        (
            r"<\|[^|<>\s][^|<>]{0,39}\|>",  # ChatML, Llama 3, Phi, GLM, GPT-OSS
            r"<｜[^<>]{1,40}｜>",  # DeepSeek
            r"</?(?:s|bos|eos|pad|unk|cls|sep|mask)>|\[(?:BOS|EOS|PAD|UNK|CLS|SEP|MASK)\]",
            r"</?(?:start|end|begin)_of_\w{1,20}>",  # Gemma, SmolVLM
            r"\[/?(?:INST|SYSTEM_PROMPT|IMG|IMG_BREAK|IMG_END|TOOL_CALLS)\]|<</?SYS>>",  # Mistral, Llama 2
            r"</?(?:image|img|video|IMG_CONTEXT|image_soft_token|fake_token_around_image)>",
            r"</?(?:answer|tool_call|tool_response|box|ref|quad|grounding|phrase)>|<loc_\d+>",
            r"<(?:unused|ctrl|extra_id_|reserved_\w{0,20}?)\d+>|<0x[0-9A-F]{2}>|[ĠĊ▁]",  # tokens that were not decoded
            r"\A\s*(?:assistant|user|human|gpt)\s*:|\b(?:USER|ASSISTANT|GPT):",  # Vicuna, LLaVA
            r"(?m:^[ \t]*(?:user|assistant|system|model)[ \t]*\n)",  # role lines whose control tokens were dropped
            r"###\s*(?:Assistant|Human|User|Instruction|Response)\b",  # MiniGPT-4, Alpaca
        )
    )
)
_LET = r"(?:let me|let'?s|let us|i need to|i have to|i should|i must|i'll|we need to|we have to|we should|we must)"
THOUGHTS = re.compile(
    r"(?:(?:okay|ok|alright|all right|got it|hmm+|wait)[,.!:]*\s+(?:(?:so|now|well|first)[,.!:]*\s+)?"
    rf"(?:{_LET}|the (?:user|image|picture|photo))\b"
    rf"|{_LET} (?:think|analy[sz]e|figure out|break (?:this|it) down|produce|output|craft)\b"
    r"|the user (?:wants|asks|asked|is asking|has asked|has provided|provided|would like)\b"
    r"|(?:here is |here's )?(?:my|the|a)?\s*(?:thinking|thought|reasoning) process\b"
    r"|(?:thinking|thoughts?|chain of thought)(?:\*\*)?:)",
    re.IGNORECASE,
)
_SUBJECT = r"(?:i|we)"
_PICTURE = (
    r"(?:(?:the|this|that|an|any|your|an actual) )?(?:\w+ )?(?:image|picture|photo|photograph|attachment|file)s?\b"
)
REFUSAL = re.compile(
    "|".join(
        (
            rf"(?:oh,? |unfortunately,? |sorry,? (?:but )?)*{_SUBJECT}(?:'m| am|'re| are) (?:\w+ )?"
            r"(?:sorry|unable to|not able to|an ai|a (?:large |text-based )*(?:language model|ai)|not permitted|"
            r"not comfortable|programmed)\b",
            r"sorry[,.!]? (?:but )?(?:i|we|this|that|the (?:image|picture|photo))\b",
            r"(?:my |our )?(?:sincere )?apologies\b|i apologi[sz]e\b",
            rf"(?:unfortunately,? |sorry,? (?:but )?)*{_SUBJECT} (?:can'?t|cannot|can not|could not|couldn't|won't|"
            r"will not|must decline to|have to decline to|must refuse to|am unable to|do not have the ability to|"
            r"don't have the ability to) (?:\w+ly )?(?:assist|help|provide|describe|comply|fulfill|view|generate|"
            r"create|process|discuss|share|access|answer|analy[sz]e|determine|caption|engage|support|do that)\b",
            rf"(?:unfortunately,? |sorry,? (?:but )?)*{_SUBJECT} (?:can'?t|cannot|can not|don't|do not|am not able to) "
            rf"(?:actually |currently |directly )?(?:see|view|have|open) {_PICTURE}(?! (?:of|with|that|which|show))",
            r"as an? (?:\w+[ -]){0,2}(?:ai|language model|artificial intelligence)\b",
            r"(?:it (?:seems|looks like|appears)(?: that| like)? |there (?:is|was) )?(?:you (?:didn't|haven't|forgot)\b"
            rf"|no {_PICTURE} (?:was|is|has been|were) (?:\w+ )?(?:provided|attached|uploaded|given|included|visible|"
            r"available))",
            r"(?:please |could you (?:please )?)(?:provide|upload|attach|share) ",
            r"(?:很|非常)?(?:抱歉|对不起)|我(?:无法|不能)|作为(?:一个|一名)?(?:AI|人工智能)",
            r"(?:lo siento|je suis désolée?|désolée?|es tut mir leid|entschuldigung|mi dispiace|desculpe|извините)\b",
            r"申し訳|죄송",
        )
    ),
    re.IGNORECASE,
)
_QUOTED = re.compile(r"[\s\"'“‘*#>_-]*")
_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ＇`´", "'"))
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+|[^\w\s]")
TIMES, LENGTH = 3, 12  # a loop: at the end of a text the same words at least three times, twelve tokens in all


def template_token(text: str) -> str | None:
    """The first token of a chat template that stands in a text; None without one."""
    match = TEMPLATE.search(text)
    return match[0].strip() if match else None


def _begins(pattern: re.Pattern[str], text: str) -> str | None:
    """The match at the beginning of a text, after marks, quotes and template tokens."""
    plain = text.translate(_APOSTROPHES)
    lead = LEAD.match(plain)
    quoted = _QUOTED.match(plain, lead.end() if lead else 0)
    match = pattern.match(plain, quoted.end() if quoted else 0)
    return match[0] if match else None


def thoughts(text: str) -> bool:
    """Does a text hold a tag of a block of thoughts, or begin as thoughts do in words?"""
    return bool(OPENS.search(text) or CLOSES.search(text) or _begins(THOUGHTS, text))


def refusal(text: str) -> bool:
    """Does a text begin as a refusal, or as the remark that there is no image?"""
    return _begins(REFUSAL, text) is not None


def loops(text: str) -> bool:
    """Does a text end in a loop: ``TIMES`` times the same words, ``LENGTH`` tokens in all?

    The last word may be cut off, and the last round need not be whole.
    """
    tokens = _TOKEN.findall(text.lower())
    return _periodic(tokens[::-1]) or _periodic(tokens[-2::-1])


def _periodic(tokens: list[str]) -> bool:
    """Has a beginning of these tokens a period that fits ``TIMES`` times?

    The smallest period of the first i tokens is i - border(i), by the prefix function of Knuth, Morris and Pratt.
    """
    borders, border = [0], 0
    for at in range(1, len(tokens)):
        while border and tokens[at] != tokens[border]:
            border = borders[border - 1]
        border += tokens[at] == tokens[border]
        borders.append(border)
        length = at + 1
        if length >= LENGTH and length >= TIMES * (length - border):
            return True
    return False
