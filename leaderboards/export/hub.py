"""The Hugging Face hub: a model card's ``model-index`` and, for a named data set, ``.eval_results/<task>.yaml``.

Sources: huggingface_hub's ``repocard_data.py`` (``model_index_to_eval_results``) and ``_eval_results.py``
(``parse_eval_result_entries``), both at v1.33; huggingface/hub-docs:eval_results.yaml. Texts are written as JSON
strings, which are YAML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness import registry, store
from harness.errors import CimError
from harness.runs.stored_run import StoredRun
from leaderboards.escape import one_line
from leaderboards.export import facts
from leaderboards.export.facts import Number


def write(run: StoredRun, out: Path, dataset: str | None) -> list[Path]:
    """Write the files of a run below ``<task>/<model>/``; returns their paths.

    Raises:
        CimError: ``dataset`` is no id of the hub.
    """
    if dataset and not facts.HUB_ID.fullmatch(dataset):
        raise CimError(f"no id of a data set on the hub: {dataset!r}", where="--dataset", hint="OWNER/NAME")
    folder, numbers = out / run.task / run.model, facts.numbers(run)
    card = "\n".join(["---", *yaml({"model-index": [model_index(run, numbers)]}), "---", ""])
    texts = {folder / "README.md": card}
    if dataset:
        entries = "\n".join([*yaml(eval_results(run, numbers, dataset)), ""])
        texts[folder / ".eval_results" / f"{run.task}.yaml"] = entries
    for path, text in texts.items():
        store.write_bytes(path, text.encode())
    return list(texts)


def model_index(run: StoredRun, numbers: list[Number]) -> dict[str, Any]:
    """The entry of a model: one result with one metric per value."""
    metrics = [
        {
            "type": number.name,
            "value": number.number,
            "name": number.name,
            "args": _circumstances(number),
        }
        for number in numbers
    ]
    result = {
        "task": {"type": "image-to-text", "name": "Image captioning"},
        "dataset": {"type": run.task, "name": _title(run.task)},
        "metrics": metrics,
    }
    return {"name": run.model, "results": [result]}


def eval_results(run: StoredRun, numbers: list[Number], dataset: str) -> list[dict[str, Any]]:
    """One entry per value; ``task_id`` is the value's name, ``notes`` its interval and signature."""
    date = {"date": str(run.manifest["started"])} if run.manifest.get("started") else {}
    return [
        {
            "dataset": {"id": dataset, "task_id": number.name},
            "value": number.number,
            **date,
            "notes": ", ".join(f"{name}: {value}" for name, value in _circumstances(number).items()),
        }
        for number in numbers
    ]


def _circumstances(number: Number) -> dict[str, Any]:
    """Interval, n, failed captions, controls, signature of a value."""
    bounds = {"ci95": " .. ".join(f"{bound:.6g}" for bound in number.interval)} if number.interval else {}
    counts = {"n": number.score["n"], "n_failed": number.score["n_failed"]}
    controls = {f"control_{name}": value for name, value in number.controls.items()}
    return {**bounds, **counts, **controls, "signature": number.score["signature"]}


def _title(task: str) -> str:
    try:
        return registry.task(task).title
    except CimError:  # a benchmark that is not there any more
        return task


def yaml(value: Any, depth: int = 0) -> Iterator[str]:
    """Lines of block YAML for objects and lists, neither empty, of texts and numbers."""
    indent = "  " * depth
    if isinstance(value, Mapping):
        for name, inner in value.items():
            key = name if re.fullmatch(r"[\w.-]+", name, re.ASCII) else _scalar(name)
            if isinstance(inner, Mapping | list):
                yield f"{indent}{key}:"
                yield from yaml(inner, depth + 1)
            else:
                yield f"{indent}{key}: {_scalar(inner)}"
    else:
        for inner in value:
            first, *rest = yaml(inner, depth + 1)
            yield f"{indent}- {first.strip()}"
            yield from rest


def _scalar(value: Any) -> str:
    text = json.dumps(one_line(value) if isinstance(value, str) else value, ensure_ascii=False, allow_nan=False)
    # YAML 1.1 reads 1e-05 as a text, 1.0e-05 as a number.
    return text.replace("e", ".0e") if isinstance(value, float) and "e" in text and "." not in text else text
