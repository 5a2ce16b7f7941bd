"""A chat completion as JSON: what is sent for a request, and what an answer means.

An answer is a text, a failed or finally refused request, an outage, or a reason to ask again. What is wrong with one
request (its image, its length) fails that request; what is wrong with the account or the address ends the command.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.engines._http import Answer
from harness.engines._text import neutral
from harness.engines._weights import seed
from harness.errors import CimError, OutageError
from harness.images import for_server
from harness.types import Completion, Request, Served
from harness.weights import SAMPLING, Server

BUSY = frozenset({408, 409, 425, 429})
# Values of fields that change nothing: a server that does not know the field does the same.
NEUTRAL = {"top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0}
SPENT = re.compile(
    r"insufficient[ _](?:quota|credits?|balance|funds)|(?:spend(?:ing)?|usage|billing|hard)[ _](?:hard[ _])?limit"
    r"|credit balance|exceeded your current quota|billing[ _]not[ _]active|payment required|in arrears|overdue",
    re.IGNORECASE,
)
FILTERED = re.compile(
    r"content_?filter|content[ _](?:management )?policy|moderation|flagged|data_inspection_failed|safety system",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Later:
    """A try that failed and may do better later.

    ``after`` is what the server asks to wait, in seconds; ``last`` what the request comes to when no try does better.
    """

    reason: str
    after: float = 0.0
    last: Completion | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The server refuses the request: because of its sample, or because of a field that all requests have."""

    reason: str


def body(server: Server, request: Request, left_out: Collection[str] = ()) -> dict[str, Any]:
    """The JSON of one chat completion, with every sampling field that the server takes.

    A vLLM server would take what is not sent from the checkpoint's generation_config.json (a repetition penalty of
    1.05 for Qwen2.5-VL). Greedy requests have no seed.

    Args:
        left_out: fields at neutral values that the server does not know.
    """
    content: Any = neutral(request.prompt)
    if request.image is not None:
        kind, content_bytes = for_server(request.image)
        data = base64.b64encode(content_bytes).decode()
        picture = {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}
        content = [picture, {"type": "text", "text": content}]
    instruction = server.system if request.system is None else request.system
    system = [] if instruction is None else [{"role": "system", "content": instruction}]
    sampling = server.sampling
    fields: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or -1,  # all tokens, for vLLM, SGLang and llama.cpp
        "repetition_penalty": sampling.repetition_penalty,
        **({"seed": seed(server, request.sample_id)} if sampling.temperature else {}),
    }
    omitted = {*server.omit, *left_out}
    sent = {name: value for name, value in fields.items() if name not in omitted}
    sent |= {} if "max_tokens" in omitted else {server.max_tokens_field: sampling.max_tokens}
    if server.thinking is not None:
        sent["chat_template_kwargs"] = {"enable_thinking": server.thinking}  # as vLLM and SGLang take it
    return {"model": server.model, "messages": [*system, {"role": "user", "content": content}], **sent}


def unsent(server: Server) -> list[str]:
    """Sampling fields that no request has, which the server decides: those of ``omit``, and a greedy one's seed."""
    return [name for name in SAMPLING if name in server.omit or (name == "seed" and not server.sampling.temperature)]


def spare(server: Server) -> frozenset[str]:
    """Fields at neutral values: what a server may not know and need not."""
    return frozenset(
        name for name, value in NEUTRAL.items() if getattr(server.sampling, name) == value and name not in server.omit
    )


def named(reason: str, fields: Collection[str]) -> frozenset[str]:
    """Those of the fields that a server's error names."""
    return frozenset(name for name in fields if re.search(rf"(?<![a-z_]){name}(?![a-z_])", reason))


def read(
    server: Server, request: Request, answer: Answer, left_out: Collection[str] = ()
) -> Completion | Later | Refused:
    """What an answer means.

    Raises:
        CimError: no request will do: wrong key, no such model or address.
        OutageError: the account has spent what it may.
    """
    code, error = answer.status, answer.content.get("error") if isinstance(answer.content, dict) else None
    if code == 200 and error and not answer.content.get("choices"):  # as OpenRouter answers
        status = error.get("code") if isinstance(error, dict) else None
        code = status if isinstance(status, int) and 400 <= status < 600 else 500
    if code == 200:
        return _completion(server, request, answer.content, left_out)
    said = _said(answer.content)
    reason = f"status {code} ({said})" if said else f"status {code}"
    if code == 402 or (code in (400, 403) and SPENT.search(said)):
        hint = "the same command goes on when the account can pay again"
        raise OutageError(f"server answers {reason}", where=server.base_url, hint=hint)
    if code in BUSY or code >= 500 or (code == 413 and answer.after):
        return Later(reason, answer.after)
    if code == 413:  # a limit of the server or of the account, to be raised there
        return Completion(request.sample_id, None, error=f"more than the server accepts, {reason}", outage=True)
    refused = Completion(request.sample_id, None, error=f"refused by the server, {reason}")
    if code in (400, 403, 422, 451) and FILTERED.search(said):
        return replace(refused, finish_reason="content_filter")
    if code in (401, 403, 404) or code < 400:
        hint = "check base_url, model and the API key"
        raise CimError(f"server answers {code} ({said})", where=server.base_url, hint=hint)
    return Refused(reason)


def _said(content: Any) -> str:
    """What an error says, in at most 300 letters: its message, with type and code where there are some."""
    error = content.get("error", content) if isinstance(content, dict) else content
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        marks = [error[name] for name in ("type", "code", "param") if isinstance(error.get(name), str)]
        error = " ".join([error["message"], *(f"[{mark}]" for mark in dict.fromkeys(marks))])
    return " ".join(str(error).split())[:300]


def _completion(
    server: Server, request: Request, content: Any, left_out: Collection[str]
) -> Completion | Later | Refused:
    try:
        choice = content["choices"][0]
        message, finish = choice["message"], choice.get("finish_reason")
        text, thoughts = _text(message.get("content")), message.get("reasoning_content") or message.get("reasoning")
        refusal = message.get("refusal")
    except (KeyError, IndexError, TypeError, AttributeError):
        return Later("an answer that is no chat completion")
    finish = finish[:40] if isinstance(finish, str) else None
    if finish == "error":
        return Later("an answer that ended in an error")
    completion = Completion(
        request.sample_id,
        text,
        finish,
        _count(content, "prompt_tokens"),
        _count(content, "completion_tokens"),
        reasoning=thoughts if isinstance(thoughts, str) else None,
        served=_served(server, content, left_out),
    )
    if text:
        return completion
    if isinstance(refusal, str) and refusal:
        finish = finish if finish not in (None, "stop") else "refusal"
        return replace(completion, text=None, finish_reason=finish, error=f"refused by the model ({_said(refusal)})")
    if text is None or finish == "content_filter":
        failed = replace(completion, text=None, error=f"an answer without a text, finish_reason {finish}")
        if finish is None or (
            finish == "stop" and completion.reasoning is None
        ):  # nothing says why; perhaps by mistake
            return Later("an answer without a text", last=failed if finish else None)
        return failed
    return completion


def _text(content: Any) -> str | None:
    """A message's text, also where it comes in parts; None where it has none."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        texts = [part for part in parts if isinstance(part, str)]
        return "".join(texts) if texts else None
    return content if isinstance(content, str) else None


def _served(server: Server, content: Mapping[str, Any], left_out: Collection[str]) -> Served | None:
    model, fingerprint = content.get("model"), content.get("system_fingerprint") if server.pin_fingerprint else None
    model, fingerprint = (name[:200] if isinstance(name, str) and name else None for name in (model, fingerprint))
    return Served(model, fingerprint, tuple(sorted(left_out))) if model or fingerprint or left_out else None


def _count(content: Mapping[str, Any], name: str) -> int | None:
    usage = content.get("usage")
    number = usage.get(name) if isinstance(usage, dict) else None
    return number if type(number) is int and 0 <= number < 1 << 53 else None
