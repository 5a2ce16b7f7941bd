"""Rollouts by vLLM inside the trainer's process, on the CPU: prompts agree token by token, weights arrive."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from harness import store
from harness.errors import AlarmError
from tests import tiny_models, training

pytest.importorskip("trl", reason="trl is not installed: run `make setup-train`")
pytest.importorskip("vllm", reason="vllm is not installed: run `make setup-vllm`")
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the CPU build needs: weights that are not packed away, so that new ones can be written over them."""
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, os.environ.get(name, value))
    from vllm import _custom_ops

    monkeypatch.setattr(_custom_ops, "_supports_onednn", False)


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl"])
def test_two_steps_with_vllm_inside(kind: str, tmp_path: Path, on_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Probe and two steps; then, without the collapse, vLLM sees 2N - 1 image tokens and the guard says so."""
    import torch
    import vllm

    from harness.train import forward, trl_engine

    start = tiny_models.build(tmp_path / "start", kind)
    real = vllm.LLM

    def small(*given: Any, **settings: Any) -> Any:
        return real(*given, **{**settings, "enforce_eager": True, "dtype": "float32", "max_num_seqs": 16})

    monkeypatch.setattr("trl.generation.vllm_generation.LLM", small)
    limits = forward.Limits(seen=1e-6)  # random weights hardly see
    monkeypatch.setattr(forward, "Limits", lambda: limits)
    settings = {"vllm_max_model_length": 512}
    plan = training.tiny(tmp_path / "run", start, settings=settings, rollouts="vllm", probe=True)
    built: list[Any] = []
    make = trl_engine.build

    def build(*given: Any) -> Any:
        built.append(make(*given))
        return built[0]

    monkeypatch.setattr(trl_engine, "build", build)
    assert training.train(plan) == 2
    steps = store.read_rows(tmp_path / "run" / "steps.jsonl")
    # The bans take the mass of six of some 390 tokens from a random policy: 0.013 nats, and nothing from a real one.
    assert max(row["logp_difference"] for row in steps) < 0.03
    assert steps[1]["seconds"]["sync"] > 0, "the first weights came with the probe"
    trainer = built[0]
    row = trainer.train_dataset[0]
    given = forward.inputs(trainer, [row["prompt"]] * 4, [row["image"]] * 4)
    trainer.vllm_generation.generation_kwargs = {"max_tokens": 3}
    written, theirs = trainer._generate_single_turn(given.ids, given.images, given.fields, 1)
    with torch.no_grad():
        ours = forward.log_probabilities(trainer, trainer.model, given, [list(line) for line in written])
    assert ours[0] == pytest.approx(theirs[0], abs=1e-4), "without bans the trained policy is the one that writes"
    monkeypatch.setattr("harness.train.fixes.collapse", lambda ids, image: list(ids))
    image = trainer.model.config.image_token_id
    monkeypatch.setattr("harness.train.fixes.runs", lambda ids, token: 1)
    count = given.ids[0].count(image)
    with pytest.raises(AlarmError, match=f"prompt 0 .*{count} and {2 * count - 1} image tokens"):
        trainer._generate_single_turn(given.ids, given.images, given.fields, 1)
