"""The per-sample records of Every Eval Ever: one line per sample and value, in the order of ``per_sample.jsonl``.

Reference texts are not passed on: a stored run does not hold them, and their licences are the benchmark's. A failed
caption has no output and its reason as ``error``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness import store
from harness.pages.public import public
from harness.runs.stored_run import IMAGE_ID, StoredRun
from harness.runs.validate import is_number
from harness.types import Completion
from leaderboards.export import facts
from leaderboards.export.facts import Number


def write(run: StoredRun, path: Path, log: Mapping[str, Any]) -> tuple[str, int]:
    """Write the records of a run; returns their sha256 and number.

    Args:
        log: the aggregate record, whose ids they repeat.
    """
    digest, count = hashlib.sha256(), 0
    with store.replacing(path) as stream:
        for record in records(run, log):
            line = (store.dumps(record) + "\n").encode()
            stream.write(line)
            digest.update(line)
            count += 1
    return digest.hexdigest(), count


def records(run: StoredRun, log: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One record per sample and value; none where a value is undefined for a sample."""
    completions, numbers = run.files.completions(), facts.numbers(run)
    # Which prompt captions of a file were made with is not known.
    prompt = run.manifest.get("prompt") if "sampling" in run.manifest["settings"]["model"] else None
    ids = {"schema_version": log["schema_version"], "evaluation_id": log["evaluation_id"]}
    ids["model_id"] = log["model_info"]["id"]
    for sample_id, row in run.per_sample.items():
        shared = _answer(completions[sample_id], str(prompt or ""), row.get(IMAGE_ID))
        for number in numbers:
            score = (row.get(number.metric.name) or {}).get(number.value.name)
            if is_number(score):
                yield {
                    **ids,
                    "evaluation_name": f"{run.task}.{number.name}",
                    "evaluation_result_id": number.name,
                    "sample_id": sample_id,
                    **shared,
                    "evaluation": {"score": float(score), "is_correct": perfect(number, float(score))},
                }


def perfect(number: Number, score: float) -> bool:
    """``is_correct``, which the schema demands: is it the best possible value? False where there is none."""
    best = {True: number.metric.scale, False: 0.0, None: None}[number.value.higher_is_better]
    return score == best


def _answer(completion: Completion, prompt: str, image_id: str | None) -> dict[str, Any]:
    """What all records of a sample share."""
    text, read, written = completion.text, completion.prompt_tokens, completion.completion_tokens
    output: dict[str, Any] = {"raw": [] if text is None else [text]}
    if completion.reasoning is not None:
        output["reasoning_trace"] = [completion.reasoning]
    whole = {"turn_idx": 0, "source": "output.raw", "extraction_method": "whole text", "is_terminal": True}
    answer: dict[str, Any] = {
        "interaction_type": "single_turn",
        "input": {"raw": prompt, "reference": []},
        "output": output,
        "answer_attribution": [] if text is None else [{**whole, "extracted_value": text}],
    }
    if isinstance(read, int) and isinstance(written, int):
        answer["token_usage"] = {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}
    if completion.error is not None:
        answer["error"] = public(completion.error)
    metadata = {"image_id": image_id, "finish_reason": completion.finish_reason}
    if any(metadata.values()):
        answer["metadata"] = {name: value for name, value in metadata.items() if value}
    return answer
