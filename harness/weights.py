"""Settings of a model with weights: checkpoint, sampling and image limits; or of its server.

Plain data between the file that names a model and the engine that loads it; nothing is opened here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

DTYPES = ("auto", "float32", "bfloat16", "float16")
BACKENDS = ("pil", "torchvision")
LOSSY = ("quantization", "kv_cache_dtype")  # keys of [vllm] that change what a model writes


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a model writes: at most ``max_tokens`` tokens, greedy at temperature 0, else sampled.

    ``top_k`` 0 and ``top_p`` 1 leave all tokens in; ``repetition_penalty`` 1 changes nothing. What a
    checkpoint's own generation_config.json suggests is not used, but for its end-of-text tokens.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 1024
    seed: int = 0
    repetition_penalty: float = 1.0


SAMPLING = tuple(option.name for option in fields(Sampling))


@dataclass(frozen=True, slots=True)
class Weights:
    """A checkpoint and its settings.

    ``checkpoint`` is a hub id, or the absolute path of a folder, which then has a ``digest`` of the
    files that make the model. ``min_pixels`` and ``max_pixels`` bound an image's area, ``min_tiles`` and
    ``max_tiles`` the number of squares that it is cut into; None leaves the processor's own limits. ``backend`` names
    the library that resizes it. ``image_placeholder`` is the text that stands for an image in the prompt of a
    checkpoint without a processor: the tokenizer's chat template is rendered, and the engine is handed the image.
    ``thinking`` sets the chat template's switch; None says nothing about it. ``vllm`` holds what only that engine is
    told. ``adapter`` is the absolute path of a LoRA adapter that is merged into the checkpoint, with its digest.
    """

    checkpoint: str
    digest: str | None = None
    revision: str | None = None
    dtype: str = "auto"
    system: str | None = None
    sampling: Sampling = field(default_factory=Sampling)
    min_pixels: int | None = None
    max_pixels: int | None = None
    min_tiles: int | None = None
    max_tiles: int | None = None
    backend: str | None = None
    image_placeholder: str | None = None
    trust_remote_code: bool = False
    thinking: bool | None = None
    vllm: Mapping[str, Any] = field(default_factory=dict)
    adapter: str | None = None
    adapter_digest: str | None = None

    @property
    def local(self) -> bool:
        """Is the checkpoint a folder here?"""
        return self.digest is not None

    def settings(self) -> dict[str, Any]:
        """What identifies a run of these weights; where a local folder lies is no part of it.

        A setting that came later is named only where it is set, so that runs from before it existed can resume.
        """
        return {
            "checkpoint": self.digest or self.checkpoint,
            "revision": self.revision,
            "dtype": self.dtype,
            "system": self.system,
            "sampling": asdict(self.sampling),
            "image": {"min_pixels": self.min_pixels, "max_pixels": self.max_pixels, **self.image_settings()},
            **_set({"thinking": self.thinking, "image_placeholder": self.image_placeholder}),
            **_set({"adapter": self.adapter_digest}),
        }

    def image_settings(self) -> dict[str, Any]:
        """The keys of the table ``[image]`` that are set."""
        names = ("min_pixels", "max_pixels", "min_tiles", "max_tiles", "backend")
        return _set({name: getattr(self, name) for name in names})


@dataclass(frozen=True, slots=True)
class Price:
    """What a provider asks for a million tokens of prompts and of replies; no setting of a run."""

    input: float
    output: float
    currency: str

    def of(self, prompt_tokens: float, reply_tokens: float) -> float:
        """The price of these tokens."""
        return (self.input * prompt_tokens + self.output * reply_tokens) / 1e6


@dataclass(frozen=True, slots=True)
class Server:
    """A model behind an OpenAI-compatible server.

    ``revision`` is what the user calls what the server runs, to be changed with it. ``api_key_env`` names the
    environment variable that holds the key; the key itself is no part of any setting.
    At most ``concurrency`` requests are in flight, each tried ``1 + retries`` times, ``timeout`` seconds per try.
    ``omit`` names the fields of ``sampling`` that are not sent, because the server refuses them: it then decides.
    ``max_tokens_field`` is what the server calls the limit of new tokens. ``pin_fingerprint``: a run ends when the
    server's ``system_fingerprint`` changes.
    """

    base_url: str
    model: str
    revision: str | None = None
    api_key_env: str | None = None
    concurrency: int = 16
    timeout: float = 120.0
    retries: int = 6
    system: str | None = None
    thinking: bool | None = None
    sampling: Sampling = field(default_factory=Sampling)
    omit: tuple[str, ...] = ()
    max_tokens_field: str = "max_tokens"
    pin_fingerprint: bool = True

    def settings(self) -> dict[str, Any]:
        """What identifies a run of this model, sampling as it is sent; how it is asked is no part of it."""
        return {
            "base_url": self.base_url,
            "model": self.model,
            "revision": self.revision,
            "system": self.system,
            "sampling": {name: value for name, value in asdict(self.sampling).items() if name not in self.omit},
            **_set({"thinking": self.thinking}),
        }


def _set(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
