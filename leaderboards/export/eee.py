"""Every Eval Ever, schema 0.3.0: ``data/<task>/<developer>/<model>/<uuid>.json`` and its ``<uuid>_samples.jsonl``.

Source: evaleval/every_eval_ever:every_eval_ever/schemas/eval.schema.json@9bce413 and the conventions in its
.agents/skills/eee-dataset-conversion/reference/. The UUID has the form of version 4 and is made from the evaluation's
id and its captions, so an export after scoring again takes the place of the one before.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import registry, store
from harness.errors import CimError
from harness.pages.public import public
from harness.runs import signature
from harness.runs.stored_run import IMAGE_ID, StoredRun
from harness.types import Question, Sample, Task
from leaderboards.export import eee_samples, facts
from leaderboards.export.facts import Number

VERSION = "0.3.0"
LIBRARY = "cim-harness"
TYPED = ("temperature", "top_p", "top_k", "max_tokens")  # fields of generation_args
RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d|data)(\..*)?")  # no folder of the datastore


def write(run: StoredRun, out: Path, organization: str) -> list[Path]:
    """Write both files of a run, the samples first; returns their paths."""
    log = aggregate(run, organization)
    digest = hashlib.sha256(f"{log['evaluation_id']}\n{run.document['captions']}".encode()).digest()
    name = str(uuid.UUID(bytes=digest[:16], version=4))
    developer, _, model = log["model_info"]["id"].partition("/")
    place = "/".join(["data", *map(component, (run.task, developer, model))])
    samples = out / place / f"{name}_samples.jsonl"
    checksum, rows = eee_samples.write(run, samples, log)
    log["detailed_evaluation_results"] = {
        "format": "jsonl",
        "file_path": f"{place}/{samples.name}",
        "hash_algorithm": "sha256",
        "checksum": checksum,
        "total_rows": rows,
    }
    file = out / place / f"{name}.json"
    store.write_bytes(file, (json.dumps(log, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())
    return [file, samples]


def component(name: str) -> str:
    """A name as the datastore allows one part of a path: portable, and not ``data``."""
    portable = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", name).rstrip(". ") or "_"
    return f"_{portable}" if RESERVED.fullmatch(portable) else portable


def aggregate(run: StoredRun, organization: str) -> dict[str, Any]:
    """The aggregate record of a run, without the reference to its samples."""
    settings = run.manifest["settings"]["model"]
    model = model_info(settings, run.model, run.manifest.get("engine"))
    started, ended = (facts.epoch(run.manifest.get(name)) for name in ("started", "ended"))
    left_out = facts.not_computed(run)
    library = {"commit": ((run.manifest.get("made_by") or {}).get("git") or {}).get("commit")}
    library |= {"not_computed": ", ".join(left_out) or None, "captions": run.document["captions"]}
    return {
        "schema_version": VERSION,
        "evaluation_id": f"{run.task}/{model['id']}/{run.model}-{started or run.document['captions']}",
        **({"evaluation_timestamp": started} if started else {}),
        "retrieved_timestamp": ended or started or "unknown",
        "source_metadata": {
            "source_name": LIBRARY,
            "source_type": "evaluation_run",
            "source_organization_name": organization,
            "evaluator_relationship": "other",
        },
        "eval_library": {
            "name": LIBRARY,
            "version": facts.package_version(run),
            "additional_details": strings(library),
        },
        "model_info": model,
        "evaluation_results": [_result(run, number, source_data(run)) for number in facts.numbers(run)],
    }


def model_info(settings: Mapping[str, Any], name: str, engine: Mapping[str, Any] | None) -> dict[str, Any]:
    """A model or judge model: id, engine, and the settings that identify it, without its server's address."""
    weights, server = "checkpoint" in settings, "base_url" in settings
    details = {
        "deployment_type": "self_deployed" if weights else "unknown",
        "model_availability": "open_weights" if facts.HUB_ID.fullmatch(str(settings.get("checkpoint"))) else "unknown",
        **{key: settings.get(key) for key in ("engine", "revision", "dtype")},
        "checkpoint": public(settings["checkpoint"]) if weights else None,
        "captions_file_sha256": settings.get("sha256"),
    }
    info: dict[str, Any] = {"name": name, "id": facts.model_id(settings, name)}
    info["developer"] = info["id"].partition("/")[0]
    if engine and not server and weights:
        info["inference_engine"] = {
            "name": public(engine.get("name", settings.get("engine"))),
            "version": public(engine.get("version", "unknown")),
        }
    return {**info, "additional_details": strings(details)}


def source_data(run: StoredRun) -> dict[str, Any]:
    """The benchmark: its files' addresses where they have some."""
    try:
        task: Task | None = registry.task(run.task)
    except CimError:  # a benchmark that is not there any more
        task = None
    urls = [file.url for file in task.files if file.url] if task else []
    details = {
        "title": task.title if task else None,
        "licence": task.licence if task else None,
        "source": task.source if task else None,
        "data": run.manifest["settings"]["task"]["data"],
        "samples": len(run.per_sample),
    }
    kind = {"source_type": "url", "url": urls} if urls else {"source_type": "other"}
    return {"dataset_name": run.task, **kind, "additional_details": strings(details)}


def _result(run: StoredRun, number: Number, source: Mapping[str, Any]) -> dict[str, Any]:
    metric, score = number.metric, number.score
    draws, method = run.document["interval"]["draws"], run.document["interval"].get("method", "percentile bootstrap")
    images = len({row.get(IMAGE_ID, name) for name, row in run.per_sample.items()})
    uncertainty: dict[str, Any] = {"num_samples": score["n"]}
    if number.interval:
        low, high = number.interval
        bounds = {"lower": low, "upper": high, "confidence_level": 0.95, "method": method}
        uncertainty |= {"confidence_interval": bounds, "num_bootstrap_samples": draws}
    details = {"signature": score["signature"], "n_failed": score["n_failed"], "images": images}
    details |= {f"control.{name}": value for name, value in number.controls.items()}
    config = {
        "metric_id": number.name,
        "metric_name": f"{metric.name} {number.value.name}" if len(metric.values) > 1 else metric.name,
        "metric_kind": metric.name.partition("@")[0],
        **({"metric_unit": "percent"} if metric.scale == 100 else {}),
        "lower_is_better": number.value.higher_is_better is False,
        "score_type": "continuous",
        "min_score": "-Infinity" if metric.scale is None else 0.0,
        "max_score": "Infinity" if metric.scale is None else metric.scale,
        **_judge(run, number),
    }
    if number.value.higher_is_better is None:
        config["additional_details"] = {"direction": "neither is better"}
    return {
        "evaluation_result_id": number.name,
        "evaluation_name": f"{run.task}.{number.name}",
        "source_data": source,
        "metric_config": config,
        "score_details": {"score": number.number, "details": strings(details), "uncertainty": uncertainty},
        **_generation(run),
    }


def _judge(run: StoredRun, number: Number) -> dict[str, Any]:
    """``llm_scoring`` of a metric that reads a judge's replies; the template is the judge's prompt for placeholders."""
    if number.metric.judge is None:
        return {}
    name = signature.read(number.score["signature"] or "").get("judge", "unknown").partition("@")[0]
    record = (run.manifest.get("judges") or {}).get(name) or {}
    settings, engines = record.get("settings") or {}, record.get("engines") or [None]
    if settings and "sampling" not in settings:  # a judge of rules, no language model
        return {}
    placeholders = Sample("", (), questions=(Question("{question}", ""),), species="{species}", breed="{breed}")
    prompts = registry.judge(number.metric.judge).prompts(placeholders, "{caption}")
    judge: dict[str, Any] = {"model_info": model_info(settings, name, engines[-1])}
    temperature = (settings.get("sampling") or {}).get("temperature")
    judge |= {"temperature": temperature} if isinstance(temperature, int | float) else {}
    return {"llm_scoring": {"judges": [judge], "input_prompt": "\n\n".join(prompts.values())}}


def _generation(run: StoredRun) -> dict[str, Any]:
    """Sampling and prompt as recorded; nothing for captions whose making is not known."""
    settings = run.manifest["settings"]["model"]
    sampling = settings.get("sampling")
    if not isinstance(sampling, dict):
        return {}
    typed = {name: sampling[name] for name in TYPED if sampling.get(name) is not None}
    others = {name: value for name, value in sampling.items() if name not in TYPED}
    others |= {name: settings.get(name) for name in ("system", "thinking", "image_placeholder")}
    others |= {f"image.{name}": value for name, value in (settings.get("image") or {}).items()}
    prompt = {"prompt_template": run.manifest["prompt"]} if isinstance(run.manifest.get("prompt"), str) else {}
    return {"generation_config": {"generation_args": {**typed, **prompt}, "additional_details": strings(others)}}


def strings(values: Mapping[str, object]) -> dict[str, str]:
    """Details as the schema wants them: texts, without those that are None."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    return {name: text for name, text in texts.items() if values[name] is not None}
