"""What a judge model has used: calls, tokens as the server counted them, seconds; and the price of tokens.

Kept in the manifest, under ``usage.<model>``, summed over the commands that asked. Replies taken from the shared
cache are counted apart: they cost nothing again. Prices come from the table ``[price]`` of the model's TOML alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from harness.types import Completion
from harness.weights import Price


@dataclass(frozen=True, slots=True)
class Usage:
    """Answered calls, their tokens, and the seconds from the first to the last, loading included.

    ``uncounted`` are calls whose tokens nobody reported, ``shared`` replies that came from the cache.
    """

    calls: int = 0
    uncounted: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    seconds: float = 0.0
    shared: int = 0

    def plus(self, other: Usage) -> Usage:
        """Both together."""
        return Usage(*(getattr(self, count.name) + getattr(other, count.name) for count in fields(Usage)))

    def line(self, name: str, price: Price | None) -> str:
        """One line on what a model has used."""
        cost = f", {price.of(self.prompt_tokens, self.reply_tokens):.4g} {price.currency}" if price else ""
        unknown = f", tokens of {self.uncounted} calls not reported" if self.uncounted else ""
        shared = f"; {self.shared} replies from the cache" if self.shared else ""
        return (
            f"judge {name} so far: {self.calls} calls, {self.prompt_tokens} prompt and {self.reply_tokens} reply "
            f"tokens{unknown}, {self.seconds:.0f} s{cost}{shared}"
        )


def read(content: Any) -> Usage:
    """The usage of a manifest's entry; nothing where there is none, or no numbers."""
    if not isinstance(content, dict):
        return Usage()
    known = {count.name: content.get(count.name, 0) for count in fields(Usage)}
    sound = all(isinstance(value, int | float) and 0 <= value < 1 << 53 for value in known.values())
    return Usage(**known) if sound else Usage()


def as_row(used: Usage, price: Price | None) -> dict[str, Any]:
    """What ``--json`` prints: the usage, and its price where there is one."""
    cost = price.of(used.prompt_tokens, used.reply_tokens) if price else None
    return {**asdict(used), "price": cost, "currency": price.currency if price else None}


def counted(completions: Iterable[Completion], keep: Callable[[Usage], None]) -> Generator[Completion, None, None]:
    """The completions as they come; when they end, for whatever reason, ``keep`` is told what they used."""
    began, used = time.monotonic(), Usage()
    try:
        for completed in completions:
            tokens = completed.prompt_tokens, completed.completion_tokens
            if not completed.outage:
                used = used.plus(Usage(1, int(None in tokens), tokens[0] or 0, tokens[1] or 0))
            yield completed
    finally:
        keep(used.plus(Usage(seconds=round(time.monotonic() - began, 3))))
