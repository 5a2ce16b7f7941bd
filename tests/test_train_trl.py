"""Training through TRL on tiny models: it runs, it counts as it should, it resumes exactly, it survives a full disk."""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import store
from harness.errors import AlarmError, CimError
from harness.retrieval.scorer import CimBatch
from tests import tiny_models, training
from tests.conftest import ROOT

torch = pytest.importorskip("torch", reason="torch is not installed: run `make setup-models`")
pytest.importorskip("trl", reason="trl is not installed: run `make setup-train`")

MINI = ROOT / "tasks" / "miniscenes" / "weights" / "mini-base"


def rows(folder: Path, name: str = "steps.jsonl") -> list[dict[str, Any]]:
    return store.read_rows(folder / name)


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))


def distance(first: dict[str, Any], other: dict[str, Any]) -> float:
    """Largest difference of any weight."""
    assert set(first) == set(other)
    return max(float((first[name].double() - other[name].double()).abs().max()) for name in first)


def tall(sample_id: str) -> bytes:
    """Pictures of different sizes, so that prompts of a batch have different lengths."""
    from PIL import Image

    image = Image.open(io.BytesIO(training.picture(sample_id)))
    number = int(sample_id[-2:])
    buffer = io.BytesIO()
    image.resize((56 + 28 * (number % 3), 56 + 28 * (number % 2))).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of mini-base; read only."""
    folder = tmp_path_factory.mktemp("two_steps")
    training.train(training.tiny(folder, MINI, steps=2))
    return folder


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl"])
def test_two_steps_on_random_weights(kind: str, tmp_path: Path) -> None:
    """Two rewards over one score, images of different sizes, full fine-tune: finite, and every row there."""
    start = tiny_models.build(tmp_path / "start", kind)
    scorer = training.FakeScorer()
    assert training.train(training.tiny(tmp_path / "run", start, training.material(draw=tall)), scorer) == 2
    assert scorer.calls == 2, "each generation batch is scored once, for both rewards"
    steps = rows(tmp_path / "run")
    assert [row["step"] for row in steps] == [1, 2]
    for row in steps:
        assert math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"]) and row["grad_norm"] > 0
        assert set(row["terms"]) == {"grc", "qir"} and row["captions"] == 16 and row["images"] == 4
        assert {"process", "generate", "reward", "logp", "update", "total"} <= set(row["seconds"])
        assert row["rss_mb"] > 0 and row["gallery"] == "fake" and "kl" in row and "entropy" in row
    assert len(rows(tmp_path / "run", "completions.jsonl")) == 32
    moved = weights(tmp_path / "run" / "checkpoints" / "tiny-step2")
    assert distance(moved, weights(start)) > 0


def test_a_step_of_several_updates_scores_once(tmp_path: Path) -> None:
    """40 captions a step in four updates of 10: one call of the scorer a step, four rows, one of them with rewards."""
    scorer = training.FakeScorer()
    changes = {"prompts": 10, "group": 4, "micro_batch": 5, "updates": 4}
    assert training.train(training.tiny(tmp_path, MINI, changes=changes), scorer) == 2
    steps = rows(tmp_path)
    assert scorer.calls == 2 and [row["step"] for row in steps] == [1] * 4 + [2] * 4
    assert ["reward" in row for row in steps] == [True, False, False, False] * 2
    assert steps[1]["clip_ratio"] >= 0 and steps[3]["learning_rate"] > 0


def test_a_caption_without_a_score_leaves_its_group(tmp_path: Path) -> None:
    """Both functions say None together; its advantage is 0 and the others' are those of the rest of the group."""
    seen: list[Any] = []
    scorer = training.FakeScorer(lambda text: text == "bad")
    trainer = training.build(training.tiny(tmp_path, MINI), seen=seen.append, scorer=scorer)
    texts = ["a b", "a b c d", "bad", "a b c d e f"] * 4
    inputs = [{"source_id": f"s:{at // 4}", "prompt": []} for at in range(16)]
    completions = [[{"role": "assistant", "content": text}] for text in texts]
    rewards = trainer._calculate_rewards(inputs, [[{"role": "user", "content": ""}]] * 16, completions, [[2]] * 16)
    assert torch.isnan(rewards[2]).all() and torch.isfinite(rewards[0]).all()
    assert rewards[0].tolist() == pytest.approx([0.5, 0.1]) and len(seen) == 1
    from harness.train import diagnostics

    assert diagnostics.summary(seen[0])["unscored"] == 4


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("kind", ["mini", "qwen2_5_vl"])
def test_a_resumed_run_is_the_uninterrupted_one(kind: str, lora: bool, tmp_path: Path) -> None:
    """Three steps at once, and two then one more: weights and rows equal to the bit."""
    start = MINI if kind == "mini" else tiny_models.build(tmp_path / "start", kind)
    once, twice = tmp_path / "once", tmp_path / "twice"
    training.train(training.tiny(once, start, steps=3, lora=lora))
    # What a run of three steps leaves behind when it is killed after its second step was saved and its third begun.
    shutil.copytree(once, twice)
    (twice / "checkpoints" / "tiny-step3").rename(twice / "checkpoints" / "checkpoint-3")
    said: list[str] = []
    assert training.train(training.tiny(twice, start, steps=3, lora=lora), say=said.append) == 3
    assert said[0] == "update 3 was not saved in full and is left out"
    last = "merged" if lora else ""
    ours, theirs = (weights(run / "checkpoints" / "tiny-step3" / last) for run in (twice, once))
    assert distance(ours, theirs) == 0
    timeless = [
        [{k: v for k, v in row.items() if k not in ("seconds", "rss_mb")} for row in rows(run)] for run in (once, twice)
    ]
    assert timeless[0] == timeless[1]
    assert (once / "completions.jsonl").read_bytes() == (twice / "completions.jsonl").read_bytes()


def test_without_the_fix_a_resume_restores_nothing(tmp_path: Path) -> None:
    """Qwen2.5-VL by the trainer's own loading keeps its start weights; with ours every tensor is the checkpoint's."""
    from harness.train import checkpoints

    start = tiny_models.build(tmp_path / "start", "qwen2_5_vl")
    plan = training.tiny(tmp_path / "run", start, steps=2)
    training.train(plan)
    place = tmp_path / "run" / "checkpoints" / "tiny-step2"
    saved, begun = weights(place), weights(start)

    def after_loading(trainer: Any) -> dict[str, Any]:
        trainer._load_from_checkpoint(str(place))
        trainer.model.save_pretrained(tmp_path / "loaded")
        return weights(tmp_path / "loaded")

    unfixed = training.build(plan)
    loaded = after_loading(unfixed)
    same_as_start = sum(bool(torch.equal(loaded[name], begun[name])) for name in begun)
    assert distance(loaded, saved) > 0 and same_as_start >= len(begun) - 1
    before = checkpoints.fingerprint(checkpoints.load(str(place), str(start), "float32"))
    with pytest.raises(CimError, match="resume changed"):
        checkpoints.require_same(before, checkpoints.fingerprint(unfixed.model), str(place))
    fixed = training.build(plan, place)
    assert distance(after_loading(fixed), saved) == 0
    checkpoints.require_same(before, checkpoints.fingerprint(fixed.model), str(place))


def test_the_reference_policy_stays_the_start_model_after_a_resume(two_steps: Path, tmp_path: Path) -> None:
    """TRL alone takes the reference from where the policy came from, which is then the checkpoint."""
    from trl import GRPOTrainer

    plan = training.tiny(tmp_path, MINI, steps=2)
    place = two_steps / "checkpoints" / "tiny-step2"
    trainer = training.build(plan, place)
    reference = {name: value.detach() for name, value in trainer.ref_model.state_dict().items()}
    start = training.build(plan).model.state_dict()
    assert distance(reference, {name: value.detach() for name, value in start.items()}) == 0
    alone = GRPOTrainer(
        model=str(place),
        reward_funcs=trainer.reward_funcs,
        args=trainer.args,
        train_dataset=trainer.train_dataset,
        processing_class=trainer.processing_class,
    )
    drifted = {name: value.detach() for name, value in alone.ref_model.state_dict().items()}
    assert distance(drifted, reference) > 0


def test_a_checkpoint_is_a_model(two_steps: Path, tmp_path: Path) -> None:
    from harness.stages import model

    place = two_steps / "checkpoints" / "tiny-step2"
    (loaded,) = model.resolve(str(place), tmp_path / "results")
    assert loaded.name == "tiny-step2" and loaded.tasks == ("miniscenes",) and loaded.engine == "transformers"
    assert loaded.weights is not None and loaded.weights.dtype == "bfloat16" and loaded.weights.sampling.max_tokens == 8
    assert not list(place.glob("training_args.bin"))


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer's write of the second checkpoint fails half-way; the same command then goes on from the first."""
    from trl import GRPOTrainer

    from harness.resources import checkpoint

    real = GRPOTrainer._save_optimizer_and_scheduler

    def full(trainer: Any, output_dir: str) -> None:
        if output_dir.endswith("checkpoint-2"):
            raise OSError(28, "No space left on device")
        real(trainer, output_dir)

    monkeypatch.setattr(GRPOTrainer, "_save_optimizer_and_scheduler", full)
    with pytest.raises(CimError, match=r"update 2 could not be saved .*No space left.*tiny-step1 is complete"):
        training.train(training.tiny(tmp_path, MINI))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["tiny-step1"]
    assert checkpoint.digest(tmp_path / "checkpoints" / "tiny-step1").startswith("sha256:")
    monkeypatch.setattr(GRPOTrainer, "_save_optimizer_and_scheduler", real)
    assert training.train(training.tiny(tmp_path, MINI)) == 2
    assert [row["step"] for row in rows(tmp_path)] == [1, 2]


def test_an_alarm_ends_the_run_before_its_weights_are_saved(tmp_path: Path) -> None:
    class Broken(training.FakeScorer):
        """Fake: its second answer holds an infinite number."""

        def score(self, captions: Sequence[str], source_ids: Sequence[str]) -> CimBatch:
            batch = super().score(captions, source_ids)
            return replace(batch, qir=batch.qir * (math.inf if self.calls == 2 else 1.0))

    with pytest.raises(AlarmError, match="alarm nan"):
        training.train(training.tiny(tmp_path, MINI, steps=3), Broken())
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["tiny-step1"]
    assert "nan" in rows(tmp_path)[-1]["alarms"]


@pytest.mark.parametrize("system", [None, "be brief"])
@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl"])
def test_training_and_evaluation_ask_alike(kind: str, system: str | None, tmp_path: Path) -> None:
    """The prompt that TRL makes of a row is, token by token, the one that the engines make of a request."""
    from harness.engines import _weights
    from harness.train import forward
    from harness.types import Request

    plan = training.tiny(tmp_path / "run", tiny_models.build(tmp_path / "start", kind), system=system)
    trainer = training.build(plan)
    row = trainer.train_dataset[0]
    processor = _weights.load_processor(plan.weights)
    text = _weights.render(plan.weights, processor, Request("x", plan.material.prompt, Path("x.png")))
    asked = processor(text=[text], images=[[row["image"]]])["input_ids"][0]
    assert forward.inputs(trainer, [row["prompt"]], [row["image"]]).ids == [list(asked)]


def test_a_run_killed_before_its_first_checkpoint_begins_anew(tmp_path: Path) -> None:
    """Rows of what was lost, the validation of the start model among them, stand once."""
    plan = training.tiny(tmp_path, MINI, training.material(validation=3))
    training.train(plan)
    shutil.rmtree(tmp_path / "checkpoints")
    before = {name: [row.get("loss") for row in rows(tmp_path, name)] for name in ("steps.jsonl", "validation.jsonl")}
    training.train(plan)
    assert [row["step"] for row in rows(tmp_path, "validation.jsonl")] == [0, 1, 2]
    assert before == {name: [row.get("loss") for row in rows(tmp_path, name)] for name in before}
    whole = rows(tmp_path, "validation.jsonl")
    store.write_rows(tmp_path / "validation.jsonl", whole[:-1])  # killed between the last checkpoint and its validation
    steps = (tmp_path / "steps.jsonl").read_bytes()
    assert training.train(plan) == 2 and rows(tmp_path, "validation.jsonl") == whole
    assert (tmp_path / "steps.jsonl").read_bytes() == steps, "no step is made again"
    store.write_rows(tmp_path / "validation.jsonl", whole[:-1])
    training.train(training.tiny(tmp_path, MINI, training.material(validation=3), steps=3))
    again = rows(tmp_path, "validation.jsonl")
    assert again[:3] == whole and [row["step"] for row in again] == [0, 1, 2, 3]


def test_a_model_of_the_hub_is_brought_at_its_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.train import checkpoints
    from harness.weights import Weights

    asked: list[Any] = []

    def bring(name: str, revision: str, allow_patterns: list[str]) -> str:
        asked.append((name, revision))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", bring)
    assert checkpoints.start_folder(Weights("a/b", revision="abc")) == str(tmp_path) and asked == [("a/b", "abc")]
    assert checkpoints.start_folder(Weights("/here", digest="x")) == "/here"


def test_the_probe_passes_on_a_model_that_sees(tmp_path: Path) -> None:
    """mini-base: cache and full pass agree, a grey image matters, the reference is the start; randomness is kept."""
    from harness.train import forward

    trainer = training.build(training.tiny(tmp_path, MINI))
    some = [trainer.train_dataset[at] for at in range(8)]
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    probed = forward.probe(trainer, some, fresh=True)
    assert torch.equal(torch.rand(1), expected)
    assert probed.difference < 1e-4 and probed.seen > 0.1 and probed.reference == 0
    forward.require(probed, forward.Limits())


def test_the_probe_refuses_what_it_must(tmp_path: Path) -> None:
    from harness.train import forward

    trainer = training.build(training.tiny(tmp_path, MINI))
    some = [trainer.train_dataset[at] for at in range(4)]
    blind = trainer.model.model.visual.register_forward_hook(lambda module, given, output: _zero(output))
    with pytest.raises(AlarmError, match="alarm probe: a grey image changes log-probabilities by 0"):
        forward.require(forward.probe(trainer, some, fresh=False), forward.Limits())
    blind.remove()
    with torch.no_grad():
        trainer.model.model.language_model.norm.weight *= 1.1
    with pytest.raises(AlarmError, match="the reference is not the start model"):
        forward.require(forward.probe(trainer, some, fresh=True), forward.Limits())
    with pytest.raises(AlarmError, match=r"rollout engine and trainer differ by 0\.2000 nats"):
        forward.require(forward.Report(4, 40, 0.2, 1.0, 0.0), forward.Limits())
    with pytest.raises(AlarmError, match="alarm probe"):
        forward.require(forward.Report(4, 40, math.nan, 1.0, 0.0), forward.Limits())


def _zero(output: Any) -> Any:
    output.pooler_output = torch.zeros_like(output.pooler_output)
    output.deepstack_features = [torch.zeros_like(part) for part in output.deepstack_features]
    return output
