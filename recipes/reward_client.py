"""A client of the reward server (``python -m harness.train.reward_server``) in plain Python, for trainers of others.

It lies on the machine of the server: that listens on the loopback address alone, so several machines need one each.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

ADDRESS = "http://127.0.0.1:8737"
TIMEOUT = 900.0  # seconds a request; the server gives up after 600
TRIES, PAUSE = 4, 1.0  # pauses double
# What tokenizers of the supported models end, pad and begin texts with. The authors' manager for LLaVA decodes without
# leaving them out, so that "</s>" reached the reward (Jia-hn/CIM@870f58f5:rl_llava); here none does.
SPECIAL = ("<s>", "</s>", "<pad>", "<unk>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<image>")


class RewardError(RuntimeError):
    """The server cannot be reached, refuses a request, or gives a caption no reward."""


def clean(caption: str) -> str:
    """A caption without special tokens and the blanks around it."""
    for token in SPECIAL:
        caption = caption.replace(token, "")
    return caption.strip()


def score(
    captions: Sequence[str], source_ids: Sequence[str], address: str = ADDRESS, gallery: str | None = None
) -> dict[str, list[Any]]:
    """Every field of ``CimBatch`` (``reward``, ``grc``, ``qir``, ...) of captions of the images with these keys.

    Args:
        gallery: sha256 of the gallery that must be served; another one is refused.

    Raises:
        RewardError: says what and, where the server is gone, how to start it.
    """
    content: dict[str, Any] = {"captions": [clean(caption) for caption in captions], "source_ids": list(source_ids)}
    content |= {} if gallery is None else {"gallery": gallery}
    scores = _post(f"{address}/score", json.dumps(content).encode())
    if None in scores["reward"]:
        raise RewardError(f"no reward for {captions[scores['reward'].index(None)]!r}")
    return scores


def _post(url: str, body: bytes) -> Any:
    reason = ""
    for number in range(TRIES):
        if number:
            time.sleep(PAUSE * 2 ** (number - 1))
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            reason = error.read().decode(errors="replace")[:500]
            if error.code < 500:
                raise RewardError(f"the reward server refuses: {reason}") from error
        except (OSError, ValueError) as error:  # not there, gone, too slow, or an answer that was cut
            reason = str(error)
    start = "python -m harness.train.reward_server --gallery FOLDER"
    raise RewardError(f"no answer from {url} in {TRIES} tries ({reason}); is it running? {start}")
