"""TRL's loss on a fixed batch is our plain GRPO's, to 1e-6, and its gradient too."""

from __future__ import annotations

from typing import Any

import pytest

from tests import grpo, training

torch = pytest.importorskip("torch", reason="torch is not installed: run `make setup-models`")
pytest.importorskip("trl", reason="trl is not installed: run `make setup-train`")


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A trainer on mini-base: 16 captions of an update, 4 at a time."""
    from tests.conftest import ROOT

    folder, start = tmp_path_factory.mktemp("oracle"), ROOT / "tasks" / "miniscenes" / "weights" / "mini-base"
    changes, settings = {"micro_batch": 4, "updates": 2}, {"epsilon": 0.2, "delta": 3.0}
    plan = training.tiny(folder, start, changes=changes, settings=settings)
    assert plan.arguments["gradient_accumulation_steps"] == 2
    built = training.build(plan)
    built.current_gradient_accumulation_steps = 2
    return built


def batch(trainer: Any) -> dict[str, Any]:
    """Four captions of different length, old and reference log-probabilities far enough off for every clip to act."""
    from harness.train import forward

    row = trainer.train_dataset[0]
    given = forward.inputs(trainer, [row["prompt"]] * 4, [row["image"]] * 4)
    dice = torch.Generator().manual_seed(0)
    lines = [torch.randint(10, 60, (length,), generator=dice).tolist() for length in (3, 7, 12, 1)]
    full = forward.tensors(trainer, given, lines)
    prompt = full["input_ids"].shape[1] - 12
    inputs = {
        "prompt_ids": full["input_ids"][:, :prompt],
        "prompt_mask": full["attention_mask"][:, :prompt],
        "completion_ids": full["input_ids"][:, prompt:],
        "completion_mask": full["attention_mask"][:, prompt:],
        "advantages": grpo.advantages(torch.tensor([0.0, 3.0, 1.0, 0.5]), 2, 1e-4),
        "num_items_in_batch": torch.tensor(151.0),
        "num_images": [1] * 4,
        **{key: full[key] for key in ("pixel_values", "image_grid_thw", "mm_token_type_ids")},
    }
    with torch.no_grad():
        policy = log_probabilities(trainer, inputs)
    noise = torch.randn(policy.shape, generator=dice)
    inputs["old_per_token_logps"] = policy - noise
    inputs["ref_per_token_logps"] = policy + 0.5 * noise.flip(0)
    return inputs


def log_probabilities(trainer: Any, inputs: dict[str, Any]) -> Any:
    extra = ("pixel_values", "image_grid_thw", "mm_token_type_ids", "num_images")
    return trainer._get_per_token_logps_and_entropies(
        trainer.model,
        torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1),
        torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1),
        inputs["completion_ids"].shape[1],
        **{name: inputs[name] for name in extra},
    )[0]


def gradient(trainer: Any, loss: Any) -> Any:
    trainer.model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("kind", ["bnpo", "dapo"])
def test_the_loss_is_that_of_plain_grpo(trainer: Any, kind: str, biased: bool) -> None:
    inputs = batch(trainer)
    trainer.model.train()
    trainer.loss_type, trainer.beta, trainer.args.use_bias_correction_kl = kind, 0.02, not biased
    theirs = trainer.compute_loss(trainer.model, inputs)
    policy = log_probabilities(trainer, inputs)
    settings = grpo.Settings(beta=0.02, biased_kl=biased)
    losses = grpo.token_losses(
        policy, inputs["old_per_token_logps"], inputs["ref_per_token_logps"], inputs["advantages"], settings
    )
    ratio = torch.exp(policy - inputs["old_per_token_logps"])
    negative = (inputs["advantages"] < 0)[:, None] & inputs["completion_mask"].bool()
    assert (ratio[negative] > 3.0).any() and (ratio[negative] < 0.8).any(), "both clips act"
    # TRL divides for the two batches of an update: bnpo by their number, dapo through the tokens of both updates.
    ours = (
        grpo.mean_of_batch(losses, inputs["completion_mask"]) / 2
        if kind == "bnpo"
        else grpo.mean_of_all(losses, inputs["completion_mask"], 151.0 * 2 / 4)
    )
    assert float(theirs.detach()) == pytest.approx(float(ours.detach()), abs=1e-6)
    difference = gradient(trainer, theirs) - gradient(trainer, ours)
    assert float(difference.abs().max()) < 1e-6


def test_the_ratio_in_the_kl_changes_its_gradient(trainer: Any) -> None:
    """Why the presets say so: the two forms of the KL are not the same training."""
    inputs = batch(trainer)
    trainer.model.train()
    trainer.loss_type, trainer.beta = "bnpo", 0.02
    gradients = []
    for corrected in (True, False):
        trainer.args.use_bias_correction_kl = corrected
        gradients.append(gradient(trainer, trainer.compute_loss(trainer.model, inputs)))
    assert float((gradients[0] - gradients[1]).abs().max()) > 1e-4


def test_advantages_are_those_of_plain_grpo(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Of a real generation batch: weighted sum of both rewards, then the unbiased deviation plus TRL's 1e-4."""
    from tests.conftest import ROOT

    seen: list[Any] = []
    folder, start = tmp_path_factory.mktemp("run"), ROOT / "tasks" / "miniscenes" / "weights" / "mini-base"
    built = training.build(training.tiny(folder, start, rewards={"grc": 3.0, "qir": 0.5}), seen=seen.append)
    built.model.train()
    rows = [built.train_dataset[at] for at in range(4) for _ in range(4)]
    theirs = built._generate_and_score_completions(rows)["advantages"]
    (scored,) = seen
    assert scored.reward == pytest.approx(3.0 * scored.terms["grc"] + 0.5 * scored.terms["qir"])
    ours = grpo.advantages(torch.tensor(scored.reward, dtype=torch.float32), 4, 1e-4)
    assert float(ours.std()) > 0.5 and theirs.tolist() == pytest.approx(ours.tolist(), abs=1e-4)


def test_advantages_of_equally_spaced_rewards() -> None:
    spaced = grpo.advantages(torch.arange(1.0, 6.0), 5, 1e-6)
    assert spaced.tolist() == pytest.approx([-1.264910, -0.632455, 0, 0.632455, 1.264910], abs=1e-5)
    lone = grpo.advantages(torch.tensor([0.0, 0, 0, 0, 1]), 5, 1e-6)
    assert lone.tolist() == pytest.approx([-0.447213] * 4 + [1.788850], abs=1e-5)
    assert grpo.advantages(torch.ones(5), 5, 1e-6).tolist() == [0.0] * 5
