"""Engine parity: do both engines see the same prompt and write the same text for the first requests of a task?

Prompts must be equal token by token, image tokens included. Greedy texts may diverge where two tokens are nearly
as likely: the gap is the highest logit minus that of vLLM's token, computed by transformers after the common
prefix; up to a share ``NEAR`` of the largest logit it is a near-tie and no fault. Run with
``cim doctor --parity MODEL``.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from harness.engines import _weights, transformers, vllm
from harness.engines._weights import Written
from harness.errors import CimError
from harness.runs.run import Run
from harness.stages.caption import requests_of
from harness.types import Completion, Request
from harness.weights import Weights

# As a share of the largest logit: four steps of a half-precision number; in float32, sums taken in another order.
NEAR = {"float32": 1e-4, "float16": 4 * 2**-10, "bfloat16": 4 * 2**-7}
SHOWN = 5

Finding = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Divergence:
    """First divergence of two texts: the step, both tokens (None: ended), and the logit gaps."""

    sample_id: str
    step: int
    transformers: int | None
    vllm: int | None
    gap: float | None
    top_two_gap: float | None
    near_tie: bool


@dataclass(frozen=True, slots=True)
class Parity:
    """Result of the comparison; ``failed`` maps the samples that an engine refused to its reason."""

    model: str
    task: str
    n: int
    prompts_differ: tuple[str, ...]
    image_tokens: tuple[int, ...]
    agreed: int
    divergences: tuple[Divergence, ...]
    failed: dict[str, dict[str, str | None]]
    engines: dict[str, Any]

    @property
    def compared(self) -> int:
        """Samples that both engines wrote for."""
        return self.n - len(self.failed)

    def as_json(self) -> dict[str, Any]:
        """The JSON document of ``--json``."""
        share = self.agreed / self.compared if self.compared else None
        return {**asdict(self), "agreement": share, "ok": not any(state == "failed" for _, state, _ in findings(self))}


def compare(run: Run) -> Parity:
    """Caption a run's samples greedily with both engines; nothing is stored.

    Raises:
        CimError: not a model with weights, or an engine cannot run here.
    """
    if run.model.weights is None:
        raise CimError("has no weights to compare engines with", where=run.model.name, hint="name a model")
    for engine in (transformers.ENGINE, vllm.ENGINE):
        if reason := engine.missing():
            raise CimError(f"engine {engine.name} cannot run here: {reason}")
    greedy = replace(run.model.weights.sampling, temperature=0.0, repetition_penalty=1.0)
    weights = replace(run.model.weights, sampling=greedy)
    requests = requests_of(run, run.samples)
    loaded = transformers.load(weights)
    left = {_id(item): item for item in transformers.write(loaded, requests)}
    processor = loaded.processor
    del loaded  # frees memory, as vLLM allocates all that is left
    _release()
    with vllm.opened(weights, processor) as llm:
        right = {_id(item): item for item in vllm.write(llm, weights, processor, requests)}
    return _compared(run, weights, requests, left, right)


def _id(item: Written | Completion) -> str:
    return item.sample_id if isinstance(item, Completion) else item.request.sample_id


def _release() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _compared(
    run: Run,
    weights: Weights,
    requests: Sequence[Request],
    left: dict[str, Written | Completion],
    right: dict[str, Written | Completion],
) -> Parity:
    failed, differ, counts, parted = dict[str, dict[str, str | None]](), list[str](), list[int](), list[Request]()
    image_token = _weights.load_processor(weights).image_token_id
    agreed = 0
    for request in requests:
        a, b = left[request.sample_id], right[request.sample_id]
        if isinstance(a, Completion) or isinstance(b, Completion):
            reasons = {"transformers": a, "vllm": b}
            failed[request.sample_id] = {
                name: item.error if isinstance(item, Completion) else None for name, item in reasons.items()
            }
            continue
        counts.append(b.prompt_ids.count(image_token))
        if a.prompt_ids != b.prompt_ids:
            differ.append(request.sample_id)
        if a.ids == b.ids:
            agreed += 1
        else:
            parted.append(request)
    engines = (transformers.ENGINE, vllm.ENGINE)
    descriptions = {engine.name: dict(engine.describe(run.model)) for engine in engines if engine.describe}
    apart = _divergences(weights, parted, left, right)
    name, task, n = run.model.name, run.task.name, len(requests)
    return Parity(name, task, n, tuple(differ), tuple(counts), agreed, tuple(apart), failed, descriptions)


def _divergences(
    weights: Weights,
    requests: Sequence[Request],
    left: dict[str, Written | Completion],
    right: dict[str, Written | Completion],
) -> list[Divergence]:
    """The first divergence of each pair of texts, with its gap."""
    if not requests:
        return []
    loaded, divergences = transformers.load(weights), list[Divergence]()
    near = NEAR.get(str(loaded.model.dtype).removeprefix("torch."), 0.0)
    for prompt in _weights.prompts(weights, loaded.processor, requests):
        assert not isinstance(prompt, Completion)
        a, b = left[prompt.request.sample_id], right[prompt.request.sample_id]
        assert isinstance(a, Written) and isinstance(b, Written)
        pairs = zip([*a.ids, None], [*b.ids, None], strict=False)
        step = next(place for place, (token, other) in enumerate(pairs) if token != other)
        token, other = ([*written.ids, None][step] for written in (a, b))
        gap, top, bound = None, None, 0.0
        if other is not None:
            logits = transformers.logits(loaded, prompt, b.ids[:step])
            first, second = logits.topk(2).values.tolist()
            gap, top = first - float(logits[other]), first - second
            bound = near * float(logits.abs().max())
        divergences.append(
            Divergence(a.request.sample_id, step, token, other, gap, top, gap is not None and gap <= bound)
        )
    return divergences


def findings(parity: Parity) -> list[Finding]:
    """Rows of (part, ``ok`` or ``failed``, detail)."""
    equal = parity.compared - len(parity.prompts_differ)
    rows = [("prompt ids", _state(not parity.prompts_differ), f"{equal} of {parity.compared} equal in both engines")]
    counts = parity.image_tokens
    if counts:
        detail = f"{min(counts)} to {max(counts)} per prompt, median {statistics.median(counts):g}"
        rows.append(("image tokens", _state(min(counts) > 0), detail))
    share = f", {100 * parity.agreed / parity.compared:.1f} %" if parity.compared else ""
    ties = sum(divergence.near_tie for divergence in parity.divergences)
    far = len(parity.divergences) - ties
    detail = f"{parity.agreed} of {parity.compared} greedy texts are the same{share}; {ties} near-ties, {far} others"
    rows.append(("agreement", _state(not far and parity.compared > 0), detail))
    for divergence in sorted(parity.divergences, key=lambda divergence: divergence.near_tie)[:SHOWN]:
        gap = "ended" if divergence.gap is None else f"gap {divergence.gap:.2g}, top two {divergence.top_two_gap:.2g}"
        detail = f"token {divergence.step + 1}: {divergence.transformers} and {divergence.vllm}, {gap}"
        rows.append((f"divergence {divergence.sample_id}", _state(divergence.near_tie), detail))
    for name, reasons in list(parity.failed.items())[:SHOWN]:
        both = all(reasons.values())
        rows.append((f"refused {name}", _state(both), "; ".join(f"{key}: {why}" for key, why in reasons.items())))
    return rows


def _state(good: bool) -> str:
    return "ok" if good else "failed"
