"""Models, requests and completions as JSON rows, for processes that load a model and answer another's requests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from harness import registry
from harness.errors import CimError
from harness.parts import Generate
from harness.types import Completion, Model, Request
from harness.weights import Sampling, Weights

Row = dict[str, Any]


def model_row(model: Model, option: str) -> Row:
    """A model with weights as JSON; CimError, which names the option, for one without."""
    if model.weights is None:
        raise CimError(f"model {model.name} has no weights to share among processes", where=option)
    weights = replace(model.weights, vllm=dict(model.weights.vllm))
    return {"engine": model.engine, "name": model.name, "weights": asdict(weights)}


@contextmanager
def opened(row: Mapping[str, Any]) -> Iterator[Generate]:
    """A session of the engine of a model from its row."""
    content = row["weights"]
    weights = Weights(**{**content, "sampling": Sampling(**content["sampling"])})
    engine = registry.engine(row["engine"])
    assert engine.session is not None
    with engine.session(Model(row["name"], row["engine"], None, {}, weights=weights)) as write:
        yield write


def request_row(request: Request) -> Row:
    """A request as JSON; its image as an absolute path."""
    return {**asdict(request), "image": request.image and os.path.abspath(request.image)}  # noqa: PTH100


def request(row: Mapping[str, Any]) -> Request:
    """The request of a row."""
    return Request(row["sample_id"], row["prompt"], row["image"] and Path(row["image"]), row["system"])


@contextmanager
def answering(row: Mapping[str, Any]) -> Iterator[Callable[[Sequence[Row]], list[Row]]]:
    """A session from the rows of requests to the rows of completions."""
    with opened(row) as write:
        yield lambda requests: [asdict(completion) for completion in write([request(stated) for stated in requests])]


def completion(row: Mapping[str, Any]) -> Completion:
    """The completion of a row."""
    return Completion(**row)
