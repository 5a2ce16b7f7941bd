"""What engine ``vllm`` relies on in the pinned vLLM, so that another version is refused here and not on a GPU.

Public: ``LLM``, ``SamplingParams``, ``LLMEngine.add_request`` and ``step`` (``LLM`` itself offers no completion before
the last one is written). Not public, but what vLLM's own deprecation notice of raw prompts tells callers to use: the
renderer. The rest is for its end: the core's shutdown, two exceptions, and names of environment variables.
"""

from __future__ import annotations

import inspect
import tomllib
from dataclasses import fields
from importlib import import_module
from typing import Any

import pytest

from harness.engines import vllm as engine
from harness.models import model_file
from harness.weights import Weights
from tests.conftest import ROOT

vllm: Any = pytest.importorskip("vllm", reason="vLLM is not installed: run `make setup-vllm`")


def parameters(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)


def test_the_version_is_the_one_that_this_was_read_from():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert f"vllm=={vllm.__version__.partition('+')[0]}; " in " ".join(extras["gpu"])


def test_requests_go_in_and_outputs_come_out():
    assert {"request_id", "prompt", "params"} <= parameters(vllm.LLMEngine.add_request)
    assert parameters(vllm.LLMEngine.step) == {"self"}
    output = parameters(vllm.RequestOutput.__init__)
    assert {"request_id", "prompt_token_ids", "outputs", "finished"} <= output
    assert {"token_ids", "finish_reason"} <= {field.name for field in fields(vllm.CompletionOutput)}
    assert vllm.sampling_params.RequestOutputKind.FINAL_ONLY


def test_prompts_are_rendered_by_the_engine_itself():
    assert parameters(import_module("vllm.renderers.inputs.preprocess").parse_model_prompt) >= {
        "model_config",
        "prompt",
    }
    renderer = import_module("vllm.renderers.base").BaseRenderer
    assert hasattr(renderer, "default_cmpl_tok_params")
    assert len(parameters(renderer.render_cmpl)) >= 3
    kwargs = import_module("vllm.renderers.params").TokenizeParams.with_kwargs
    assert any(
        parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in inspect.signature(kwargs).parameters.values()
    )


def test_the_end_is_told_and_made():
    assert issubclass(import_module("vllm.v1.engine.exceptions").EngineDeadError, Exception)
    assert issubclass(import_module("vllm.exceptions").VLLMClientError, Exception)
    assert callable(import_module("vllm.v1.engine.core_client").EngineCoreClient.shutdown)
    assert callable(import_module("vllm.distributed").cleanup_dist_env_and_memory)


def test_every_setting_has_a_taker():
    weights = Weights("x", vllm=dict.fromkeys(model_file.TABLES["vllm"]))
    chosen = engine.options(weights, "bfloat16", {"min_pixels": 1}, looks=True)
    takes = parameters(vllm.LLM.__init__) | {field.name for field in fields(vllm.EngineArgs)}
    assert chosen.keys() <= takes, chosen.keys() - takes
    assert {*engine.sampling(weights), "seed", "detokenize", "output_kind"} <= parameters(vllm.SamplingParams)
    known = import_module("vllm.envs").environment_variables
    assert [name for name in {**engine.ENVIRONMENT, **engine.CPU_ENVIRONMENT} if name not in known] == []
