"""Mean-pooled, L2-normalised sentence embeddings of phrases by all-mpnet-base-v2.

As sentence-transformers computes them for this model: at most 384 tokens (sentence_bert_config.json of the checkpoint,
which is not read), blanks at the ends removed, padding left out of the mean, L2 norm. Texts of similar length are
encoded together; batching changes an embedding by rounding, about 1e-7. Used by the metrics through ``Records.encode``.
``mpnet@bf16`` computes in bfloat16, pools and normalises in float32: an encoder of its own, with other embeddings, for
galleries and rewards (docs/cim.md says what changes).
``minilm.py`` is the same with smaller weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.errors import CimError
from harness.parts import Encode, Encoder
from harness.resources import checkpoint, pretrained
from harness.resources.pretrained import Pretrained

if TYPE_CHECKING:
    from harness.parts import Vectors

LONGEST = 384  # tokens, begin and end marker included
WINDOW = 1024  # texts that are sorted by length together; returned in order
ROWS = {"cpu": 16, "cuda": 256}  # a batch; on a CPU 16 are faster than 4 and than 64


@dataclass(frozen=True, slots=True)
class Sentences:
    """A sentence encoder: its weights, their architecture in config.json, tokens it reads, both markers included.

    ``precision`` is a type of torch, in which the transformer computes.
    """

    weights: Pretrained
    model_type: str
    longest: int
    precision: str = "float32"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model in memory with its tokenizer, on a device, and how many tokens it reads."""

    model: Any
    tokens: Any
    device: str
    longest: int = LONGEST

    def batch(self, texts: Sequence[str]) -> Vectors:
        """L2-normalised embeddings (n, d) of a batch of texts."""
        import torch

        encoded = self.tokens(list(texts), padding=True, truncation=True, max_length=self.longest, return_tensors="pt")
        encoded = encoded.to(self.device)
        with torch.inference_mode():
            states = self.model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"])[0].float()
            mask = encoded["attention_mask"].unsqueeze(-1).to(states.dtype)
            mean = (states * mask).sum(1) / mask.sum(1)
            unit = torch.nn.functional.normalize(mean, dim=1)
        vectors: Vectors = unit.float().cpu().numpy()
        return vectors


def encode(loaded: Loaded, texts: Sequence[str]) -> Iterator[Vectors]:
    """One embedding (d,) per text, in order."""
    for start in range(0, len(texts), WINDOW):
        window = [pretrained.readable(text).strip() for text in texts[start : start + WINDOW]]
        lengths = [len(ids) for ids in loaded.tokens(window, truncation=True, max_length=loaded.longest)["input_ids"]]
        order = sorted(range(len(window)), key=lambda at: -lengths[at])
        embeddings: dict[int, Vectors] = {}
        size = ROWS[loaded.device.partition(":")[0]]
        for first in range(0, len(order), size):
            rows = order[first : first + size]
            embeddings |= zip(rows, loaded.batch([window[at] for at in rows]), strict=True)
        yield from (embeddings[at] for at in range(len(window)))


@contextmanager
def session(of: Sentences) -> Iterator[Encode]:
    """Load the weights and yield the function from texts to embeddings.

    Raises:
        CimError: the weights are not here, not whole, or of another architecture.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = pretrained.whole(of.weights)
    if (kind := checkpoint.read_json(folder / "config.json").get("model_type")) != of.model_type:
        hint = f"put it into a folder of its own name; {of.weights.name} is {of.weights.hub_id}"
        raise CimError(f"is a model of type {kind}, not {of.model_type}", where=str(folder), hint=hint)
    options = {"local_files_only": True, "trust_remote_code": False}
    with pretrained.device() as device:
        model = AutoModel.from_pretrained(folder, dtype=getattr(torch, of.precision), use_safetensors=True, **options)
        tokens = AutoTokenizer.from_pretrained(folder, **options)
        yield partial(encode, Loaded(model.to(device).eval(), tokens, device, of.longest))


def settings(of: Sentences) -> dict[str, str]:
    """All settings that can change an embedding."""
    return {
        "weights": pretrained.identity(of.weights),
        "pooling": f"mean of {of.longest} tokens, L2",
        "precision": of.precision,
        "transformers": pretrained.major(),
    }


def encoder(of: Sentences, variant: str = "") -> Encoder:
    """The encoder of these weights, under their name."""
    missing = partial(pretrained.missing, of.weights)
    return Encoder(f"{of.weights.name}{variant}", partial(settings, of), partial(session, of), missing)


ENCODER = encoder(Sentences(pretrained.MPNET, "mpnet", LONGEST))
VARIANTS = {"bf16": encoder(Sentences(pretrained.MPNET, "mpnet", LONGEST, "bfloat16"), "@bf16")}
