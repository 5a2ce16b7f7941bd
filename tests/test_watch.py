"""Watching a training run: the sequential test holds its error, training is untouched, a resumed one goes on."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cim_harness import compare, load_samples, watch
from harness import store
from harness.errors import CimError
from harness.runs import sequential
from harness.watching.evaluations import Evaluations, names
from tests import watched_runs
from tests.conftest import ROOT

MINI = ROOT / "tasks" / "miniscenes" / "weights" / "mini-base"
METRICS = ["objects", "attributes"]


@pytest.mark.parametrize("looks", [25, None])
def test_all_looks_together_spend_no_more_than_the_budget(looks: int | None) -> None:
    left, spent = 0.05, []
    for look in range(1, 200):
        spent.append(sequential.share(left, look, looks))
        left -= spent[-1]
    assert sum(spent) <= 0.05 + 1e-12 and min(spent[:25]) > 0
    assert spent[0] == pytest.approx(0.002 if looks else 0.025)
    assert spent[9] == pytest.approx(0.002 if looks else 0.05 / 110)


def test_p_is_that_of_the_paired_t_test() -> None:
    """scipy.stats.ttest_1samp(..., alternative="less"), version 1.16, gives 0.0357 and 0.9643."""
    moved = np.array([-3.0, 1.0, -4.0, -1.0, -5.0, 0.0])
    assert sequential.p_worse(moved) == pytest.approx(_scipy(moved), abs=1e-9)
    assert sequential.p_worse(-moved) == 1.0 and sequential.p_worse(np.zeros(9)) == 1.0
    assert sequential.p_worse(np.full(10, -2.0)) == 0.5**10


def _scipy(moved: Any) -> float:
    stats = pytest.importorskip("scipy.stats")
    return float(stats.ttest_1samp(moved, 0.0, alternative="less").pvalue)


def test_a_drop_is_flagged_and_null_runs_are_not() -> None:
    """3 points with a standard deviation of 11 between two steps of an image; analytic bound on false alarms: 5 %."""
    assert watched_runs.false_alarms(200, 100, watched_runs.LOOKS) <= 0.05
    assert watched_runs.flagged(100, 200, 3.0, 20, watched_runs.LOOKS) >= 0.75  # 91 % of 500 runs
    assert watched_runs.flagged(100, 200, 3.0, 2, None) >= 0.85  # 97 % of 500 runs


def _said(words: int = 100) -> dict[str, str]:
    return {s.id: " ".join(s.references[0].split()[:words]) for s in load_samples("miniscenes")[:40]}


def test_evaluations_are_runs_that_compare_and_resume(tmp_path: Path) -> None:
    watched = Evaluations(tmp_path, "miniscenes", METRICS, looks=3)
    watched.begin(_said())
    assert watched.add(20, _said())["worse"] == []
    row = watched.add(40, _said(8))
    assert row["worse"] == ["attributes f1", "objects f1"]
    test = compare(tmp_path / "miniscenes" / "step-0", tmp_path / "miniscenes" / "step-40")["objects f1"].test
    assert test is not None and test.difference < 0
    again = Evaluations(tmp_path, "miniscenes", METRICS, looks=3)
    again.resume(20)
    assert [row["step"] for row in again.rows] == [0, 20]
    assert again.begin(_said()) == again.rows[0]
    repeated = again.add(40, _said(8))
    assert repeated["tests"]["objects f1"]["p"] == row["tests"]["objects f1"]["p"]
    assert sum(row["alpha"] for row in store.read_rows(again.file)) == pytest.approx(0.05), "no look is free"
    with pytest.raises(CimError, match="another start model"):
        again.begin(_said(8))


@pytest.mark.parametrize(
    ("metrics", "rewards", "said"),
    [("cim", ["grc"], "is the reward"), ("objects", ["objects"], "is the reward"), ("length", [], "nothing to test")],
)
def test_the_reward_does_not_watch_itself(metrics: str, rewards: list[str], said: str) -> None:
    with pytest.raises(CimError, match=said):
        names(metrics, rewards)


def _trainer(tmp_path: Path, reward: Any = None) -> Any:
    torch = pytest.importorskip("torch", reason="torch is not installed: run `make setup-models`")
    trl = pytest.importorskip("trl", reason="trl is not installed: run `make setup-train`")
    import transformers
    from datasets import Dataset
    from PIL import Image

    from tasks.cim_rl import TRAINING

    world = TRAINING.worlds["miniscenes"]
    processor = transformers.AutoProcessor.from_pretrained(MINI)
    banned = [t for t, text in processor.tokenizer.added_tokens_decoder.items() if "image" in str(text)]

    def rows(batch: Any) -> Any:
        images = [Image.open(io.BytesIO(world.draw(name))).convert("RGB") for name in batch["source_id"]]
        return {**batch, "prompt": [[{"role": "user", "content": world.prompt}] for _ in images], "image": images}

    def words(completions: Any, **_: Any) -> list[float]:
        return [float(len(completion[-1]["content"].split())) for completion in completions]

    ids = [sample.id for sample in world.samples("train", 8)]
    return trl.GRPOTrainer(
        model=transformers.AutoModelForImageTextToText.from_pretrained(MINI, dtype=torch.float32),
        processing_class=processor,
        reward_funcs=[reward or words],
        args=trl.GRPOConfig(
            output_dir=str(tmp_path / "trained"),
            max_steps=3,
            per_device_train_batch_size=8,
            num_generations=4,
            max_completion_length=16,
            learning_rate=1e-4,
            generation_kwargs={"suppress_tokens": banned},
            use_cpu=True,
            seed=0,
            report_to=[],
            save_strategy="no",
            logging_steps=3,
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_dict({"source_id": ids}).with_transform(rows),
    )


def test_training_is_the_same_to_the_bit_and_the_trackers_are_told(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path / "plain")
    trainer.train()
    watched = _trainer(tmp_path / "watched")
    options: dict[str, Any] = {"every": 1, "metrics": METRICS, "folder": tmp_path / "watch", "images": 6}
    watched.add_callback(watch("miniscenes", trainer=watched, max_tokens=24, **options))
    watched.train()
    with_, without = watched.model.state_dict(), trainer.model.state_dict()
    assert all(with_[name].equal(without[name]) for name in without)
    rows = store.read_rows(tmp_path / "watch" / "evaluations.jsonl")
    logged = [row for row in watched.state.log_history if "cim/objects_f1" in row]
    assert [row["step"] for row in logged] == [row["step"] for row in rows] == [0, 1, 2, 3]
    assert [row["cim/objects_f1"] for row in logged] == [row["values"]["objects f1"] for row in rows]
    plain = [row for row in trainer.state.log_history if "reward" in row]
    assert [row["reward"] for row in watched.state.log_history if "reward" in row] == [row["reward"] for row in plain]
    assert watched.processing_class.tokenizer.padding_side == trainer.processing_class.tokenizer.padding_side


def test_a_run_that_gets_worse_is_stopped(tmp_path: Path) -> None:
    """Captions from an engine of the caller's: full at step 0, blank from step 1 on."""
    trainer = _trainer(tmp_path)
    references = [sample.references[0] for sample in load_samples("miniscenes")[:20]]

    def caption(images: Any, prompts: Any) -> list[str]:
        assert len(images) == len(prompts) == 20
        return references if trainer.state.global_step == 0 else ["an image"] * 20

    options: dict[str, Any] = {"every": 1, "metrics": METRICS, "folder": tmp_path / "watch", "images": 20}
    trainer.add_callback(watch("miniscenes", trainer=trainer, caption=caption, **options))
    trainer.train()
    assert trainer.state.global_step == 1
    with pytest.raises(CimError, match="every is 0"):
        watch("miniscenes", trainer=trainer, **{**options, "every": 0})
