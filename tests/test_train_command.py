"""``cim train`` in the embedded world with fake encoders: plans, runs, goes on, refuses; what it leaves is a model."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import registry, store
from harness.parts import Encoder
from tests import training
from tests.cli import Cim

pytest.importorskip("torch", reason="torch is not installed: run `make setup-models`")
pytest.importorskip("trl", reason="trl is not installed: run `make setup-train`")

SHORT = ("--set", "max_completion_length=24", "--set", "warmup_steps=0")


@pytest.fixture(scope="module")
def galleries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the fake gallery."""
    folder = tmp_path_factory.mktemp("data")
    training.fake_gallery(folder / "galleries" / "miniscenes")
    return folder


@pytest.fixture(autouse=True)
def world(galleries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake encoders, steps of 4 x 8 captions in place of 16 x 8, and 16 images for validation in place of a hundred."""
    from harness.train import presets

    real, fakes, whole = registry.encoder, training.fake_encoders(), registry.training("cim_rl")
    small = replace(whole, worlds={name: replace(part, validation=16) for name, part in whole.worlds.items()})
    monkeypatch.setattr(registry, "training", lambda _: small)
    monkeypatch.setitem(presets._ALL, "mini", replace(presets.preset("mini"), prompts=4, micro_batch=32))

    def encoder(name: str) -> Encoder:
        return fakes[name] if name in fakes else real(name)

    monkeypatch.setattr(registry, "encoder", encoder)
    monkeypatch.setenv("CIM_DATA", str(galleries))


def rows(cim: Cim, run: str, name: str = "steps.jsonl") -> list[dict[str, Any]]:
    return store.read_rows(cim.results / "train" / run / name)


def test_a_dry_run_says_it_all_and_writes_nothing(cim: Cim) -> None:
    told = cim("train", "--model", "mini-base", "--steps", "4", "--dry-run", "--json").json
    assert told["images"] == "16 of miniscenes, 16 for validation" and told["rewards"] == "grc x 1, qir x 1"
    assert told["settings"]["max_steps"] == 4 and "distinct" in told["alarms that stop"]
    assert not cim.results.exists()


def test_a_run_its_files_and_its_model(cim: Cim) -> None:
    """Three steps, the probe on; then the run's folder is a model that ``cim eval`` takes."""
    arguments = (
        "train",
        "--model",
        "mini-base",
        "--steps",
        "3",
        "--name",
        "demo",
        "--set",
        "learning_rate=2e-4",
        *SHORT,
    )
    done = cim(*arguments, "--json")
    assert done.code == 0, done.err
    assert done.json["steps"] == 3 and done.json["chosen"]["checkpoint"] == "demo-step3"
    folder = cim.results / "train" / "demo"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "complete" and manifest["settings"]["training"]["scorer"]["self_policy"] == "exclude"
    assert manifest["settings"]["training"]["arguments"]["learning_rate"] == 2e-4
    assert manifest["settings"]["versions"]["trl"] == "1.16.0"
    steps = rows(cim, "demo")
    assert [row["step"] for row in steps] == [1, 2, 3] and all(row["self_policy"] == "exclude" for row in steps)
    assert all(np.isfinite([row["retrieval"]["qir_gap"], row["terms"]["grc"]["mean"]]).all() for row in steps)
    assert [row["step"] for row in rows(cim, "demo", "validation.jsonl")] == [0, 3]
    assert rows(cim, "demo", "validation.jsonl")[0]["truth"] > 60
    scored = cim("eval", "--model", folder, "--metrics", "objects", "--limit", "8", "--draws", "0", "--json")
    assert scored.code == 0 and scored.json["model"] == "demo", scored.err
    # One run is called demo: the folder of the training is no run of a task.
    other = cim("eval", "--model", "mini-base", "--metrics", "objects", "--limit", "8", "--draws", "0", "--json")
    assert other.code == 0 and cim("compare", "demo", "mini-base", "--json").code == 0, (
        "one run is called demo, not two"
    )
    again = cim(*arguments, "--json")
    assert again.json["steps"] == 3 and len(rows(cim, "demo")) == 3, "what is complete is not made again"
    other = cim.refused(*arguments[:-2], "--seed", "1")
    assert "stored run has other settings" in other and "training.seed: 0 / 1" in other
    other = cim.refused(*arguments, "--self-policy", "include")
    assert "training.scorer.self_policy: exclude / include" in other
    training.fake_gallery(Path(os.environ["CIM_DATA"]) / "galleries" / "smaller", rows=50)
    assert "training.gallery: " in cim.refused(*arguments, "--gallery", "smaller")


def test_a_run_that_an_alarm_stopped_keeps_what_was_best(cim: Cim, monkeypatch: pytest.MonkeyPatch) -> None:
    """Captions get less true while the reward rises: exit 1 by name, the checkpoint before is the model, no resume."""
    from harness.train import presets, validation

    validations = iter([{"reward": 1.0 + step / 10, "truth": 90.0 - 20 * step**2} for step in (0, 0.1, 2, 3)])
    monkeypatch.setattr(validation, "worth", lambda *_: next(validations))
    monkeypatch.setitem(presets._ALL, "mini", replace(presets._ALL["mini"], save_every=1))
    arguments = ("train", "--model", "mini-base", "--steps", "4", "--name", "hacked", "--no-probe", *SHORT)
    done = cim(*arguments)
    assert done.code == 1 and "alarm truth: reward" in done.err, done.err
    chosen = json.loads((cim.results / "train" / "hacked" / "chosen.json").read_text())
    assert chosen["checkpoint"] == "hacked-step1" and chosen["candidates"] == 3
    assert "was stopped by alarm truth" in cim.refused(*arguments)


def test_a_gallery_smaller_than_k_is_refused(cim: Cim) -> None:
    training.fake_gallery(Path(os.environ["CIM_DATA"]) / "galleries" / "two", rows=2)
    line = cim.refused("train", "--model", "mini-base", "--steps", "1", "--name", "small", "--gallery", "two")
    assert "gallery two has 2 rows, k is 3; a larger gallery" in line and not rows(cim, "small")


@pytest.mark.parametrize("fault", ["nan", "width"])
def test_an_encoder_that_breaks_leaves_the_last_checkpoint_and_the_same_command_goes_on(
    fault: str, cim: Cim, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors that are NaN or of another width at the second step: one line, exit 2; mended, the run ends whole."""
    from harness.resources import checkpoint
    from harness.train import presets

    whole, calls = training._words, list[int]()

    def broken(texts: Sequence[str]) -> Iterator[Any]:
        calls.append(len(texts))
        for vector in whole(texts):
            yield vector if len(calls) < 4 else vector * np.nan if fault == "nan" else vector[:9]

    monkeypatch.setitem(presets._ALL, "mini", replace(presets.preset("mini"), save_every=1))
    arguments = ("train", "--model", "mini-base", "--steps", "2", "--name", fault, "--no-probe", *SHORT)
    monkeypatch.setattr(training, "_words", broken)  # of the start, the first step, its checkpoint, the second step
    told = cim(*arguments)
    named = {"nan": "caption embedding 0 is zero or not finite", "width": "caption embeddings have the shape"}[fault]
    assert told.code == 2 and named in told.err.splitlines()[-1] and "Traceback" not in told.err, told.err
    place = cim.results / "train" / fault / "checkpoints"
    assert [path.name for path in place.iterdir()] == [f"{fault}-step1"]
    assert checkpoint.digest(place / f"{fault}-step1").startswith("sha256:")
    monkeypatch.setattr(training, "_words", whole)
    done = cim(*arguments, "--json")
    assert done.code == 0 and done.json["steps"] == 2, done.err
    assert [row["step"] for row in rows(cim, fault)] == [1, 2]


def test_rewards_that_read_own_rows_are_refused_before_training(cim: Cim) -> None:
    """Training scenes are not in the gallery; the first of them is named, and what to do."""
    for reward in ("rr", "text", "self_retrieval"):
        line = cim.refused(
            "train", "--model", "mini-base", "--steps", "1", "--name", reward, "--rewards", f"qir,{reward}"
        )
        assert f"reward {reward} reads an image's own gallery row, which 4 of 4 images lack" in line
        assert "first 'miniscenes:train_000000'" in line and "--gallery miniscenes-own" in line
        assert not rows(cim, reward)


SEES = '''"""Whether the image's file and its reference are there."""
import numpy as np
from pathlib import Path
from harness.parts import Reward
def _values(captions, source_ids, context):
    samples = [context.samples(name) for name in source_ids]
    return np.array([Path(one.image).stat().st_size > 100 and len(one.references[0]) > 10 for one in samples], float)
REWARD = Reward("sees", _values, needs=("samples",))
'''


def test_a_reward_is_checked_when_a_run_is_planned(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defect: an unknown reward passed --dry-run and left a run folder; one that lacks something met it later."""
    (tmp_path / "parts" / "rewards").mkdir(parents=True)
    (tmp_path / "parts" / "rewards" / "needy.py").write_text(
        SEES.replace('"sees"', '"needy"').replace('"samples"', '"weather"')
    )
    monkeypatch.setenv("CIM_PATH", str(tmp_path / "parts"))
    for reward, told in (("nosuch", "nosuch"), ("needy", "weather")):
        for dry in ((), ("--dry-run",)):
            line = cim.refused("train", "--model", "mini-base", "--rewards", reward, "--name", "planned", *dry)
            assert (told in line and "--rewards" in line) or "did you mean" in line or "known rewards" in line
    loose = tmp_path / "needy2.py"
    loose.write_text(SEES.replace('"sees"', '"needy2"').replace('"samples"', '"weather"'))
    assert "weather" in cim.refused("train", "--model", "mini-base", "--rewards", f"cim,{loose}=0.5", "--dry-run")
    assert not (cim.results / "train" / "planned").exists()


def test_every_offered_reward_can_train(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """clip needs a text tower, sc graphs and phrases, a private one the sample: the run brings all of them."""
    (tmp_path / "parts" / "rewards").mkdir(parents=True)
    (tmp_path / "parts" / "rewards" / "sees.py").write_text(SEES)
    monkeypatch.setenv("CIM_PATH", str(tmp_path / "parts"))
    encoders = ("--text-encoder", "miniscenes_text", "--image-encoder", "miniscenes_image")
    assert cim("gallery", "build", tmp_path / "real", "--from", "miniscenes", "60", *encoders).code == 0
    arguments = ("train", "--model", "mini-base", "--steps", "1", "--name", "all", *SHORT, "--no-probe")
    done = cim(*arguments, "--rewards", "qir,clip,sc,sees", "--gallery", tmp_path / "real")
    assert done.code == 0, done.err
    (row,) = rows(cim, "all")
    terms = row["terms"]
    assert terms["sees"]["mean"] == 1 and -1 < terms["clip"]["mean"] < 1 and -0.5 < terms["sc"]["mean"] < 0.5
    assert terms["clip"]["group_std"] > 0 and terms["sc"]["group_std"] > 0


def test_rewards_weights_and_controls(cim: Cim) -> None:
    """Other rewards of the registry stand beside GRC; their terms are in every row."""
    arguments = ("train", "--model", "mini-base", "--steps", "1", "--name", "two", *SHORT, "--no-probe")
    done = cim(*arguments, "--rewards", "qir=2,length=0.01")
    assert done.code == 0, done.err
    (row,) = rows(cim, "two")
    assert set(row["terms"]) == {"qir", "length"}
    expected = 2 * row["terms"]["qir"]["mean"] + 0.01 * row["terms"]["length"]["mean"]
    assert row["reward"]["mean"] == pytest.approx(expected)


def test_fine_tuning_learns_the_targets_and_goes_on(cim: Cim) -> None:
    """The loss on medium captions falls, and sixteen steps at once are eight and eight more, bit for bit."""
    base = ("train", "--model", "mini-base", "--stage", "sft", "--set", "warmup_steps=1", "--steps", "16")
    base = (*base, "--set", "save_steps=8", "--set", "per_device_train_batch_size=32", "--set", "learning_rate=3e-3")
    done = cim(*base, "--name", "sft", "--json")
    assert done.code == 0, done.err
    assert done.json["chosen"]["checkpoint"] == "sft-step16" and done.json["chosen"]["criterion"] == "last"
    losses = [row["loss"] for row in rows(cim, "sft")]
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) - 0.03
    inner = cim.results / "train" / "sft" / "checkpoints"
    first = (inner / "sft-step16" / "model.safetensors").read_bytes()
    shutil.rmtree(inner / "sft-step16")
    assert "its chosen checkpoint is gone" in cim.refused(*base, "--name", "sft")
    place = cim.results / "train" / "sft" / "manifest.json"  # as if it had been killed
    store.write_document(place, {**(store.read_document(place) or {}), "status": "running"})
    assert cim(*base, "--name", "sft").code == 0
    assert (inner / "sft-step16" / "model.safetensors").read_bytes() == first
    assert [row["loss"] for row in rows(cim, "sft")] == losses
    told = cim("train", "--model", cim.results / "train" / "sft", "--steps", "2", "--dry-run", "--json").json
    assert told["model"] == "sft" and told["folder"].endswith("sft-cim-mini-seed0"), (
        "CIM goes on from what SFT has made"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--model", "demo-terse"), "model demo-terse cannot be trained"),
        (("--model", "mini-base", "--gallery", "absent"), "no finished gallery here"),
        (("--model", "mini-base", "--preset", "big"), "unknown preset 'big'"),
        (("--model", "mini-base", "--rewards", "grcc"), "unknown reward 'grcc'; did you mean grc?"),
        (("--model", "mini-base", "--rewards", "grc=x"), "'x' is no weight"),
        (
            ("--model", "mini-base", "--set", "learning_rat=1"),
            "TRL has no setting 'learning_rat'; did you mean learning",
        ),
        (("--model", "mini-base", "--set", "seed=3"), "seed cannot be set"),
        (("--model", "mini-base", "--task", "cim"), "unknown training 'cim'"),
        (("--model", "mini-base", "--name", "a/b"), "cannot be the name of a run"),
        (("--model", "mini-base", "--vllm-server", "http://x"), "--vllm-server is for --rollouts vllm"),
        (("--model", "mini-base", "--from", "jsonl"), "--from takes KIND FILE"),
        (("--model", "mini-base", "--from", "jsonl", "absent.jsonl"), "absent.jsonl: is not there"),
    ],
    ids=str,
)
def test_mistakes_are_told_in_one_line(cim: Cim, arguments: tuple[str, ...], told: str) -> None:
    assert told in cim.refused("train", *arguments)


def test_the_missing_gallery_of_a_world_is_named_with_its_command(
    cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIM_DATA", str(tmp_path))
    line = cim.refused("train", "--model", "mini-base")
    assert "no gallery" in line and "cim gallery build miniscenes --from miniscenes 8000 --text-encoder" in line


def test_pairs_of_ones_own(cim: Cim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images from a file of pairs: 64 are held out and compared with references, an image that is absent is named."""
    from harness.train import validation

    monkeypatch.setattr(validation, "CANDIDATES", ("meteor", "rouge_l"))
    names = [f"gallery_{number:06d}" for number in range(128)]
    for name in names:
        (tmp_path / f"{name}.png").write_bytes(training.picture(name))
    lines = [json.dumps({"id": name, "image": f"{name}.png", "caption": f"caption of {name}"}) for name in names]
    file = tmp_path / "miniscenes.jsonl"
    file.write_text("\n".join(lines) + "\n")
    base = ("train", "--model", "mini-base", "--preset", "mini", "--gallery", "miniscenes", "--from", "jsonl", file)
    told = cim(*base, "--dry-run", "--json").json
    assert told["images"] == "64 of miniscenes, 64 for validation"
    assert told["validation"] == "meteor, rouge_l against the references; the first decides"
    assert "truth: no true statements are known of these images" in told["alarms that cannot ring"]
    assert "references" in told["alarms that stop"] and "ungrounded" in told["alarms that stop"]
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join(lines[:100]) + "\n")
    assert "100 images: 64 held out to choose a checkpoint, and 64 to train on" in cim.refused(*base[:-1], few)
    unseen = cim(*base[:-1], few, "--held-out", "0", "--dry-run", "--json").json
    assert unseen["images"] == "100 of few, 0 for validation" and unseen["validation"].startswith("none")
    pair = cim(*base, "--validate-gallery", "miniscenes-1000", "--dry-run", "--json").json
    assert pair["validation"] == "cim by gallery miniscenes-1000"
    assert "has the encoders of the reward" in cim.refused(*base, "--validate-gallery", "miniscenes")
    done = cim(*base, "--steps", "1", "--name", "own", *SHORT, "--no-probe")
    assert done.code == 0, done.err
    assert {row["source_id"] for row in rows(cim, "own", "completions.jsonl")} <= {f"miniscenes:{n}" for n in names}
    first, last = rows(cim, "own", "validation.jsonl")
    assert first["truth"] is None and set(first["references"]) == {"meteor", "rouge_l"}
    assert "ci95" not in first["references"]["meteor"] and len(last["references"]["meteor"]["ci95"]) == 2
    written = rows(cim, "own", "greedy.jsonl")
    assert [row["step"] for row in written] == [0] * 64 + [1] * 64 and all(row["caption"] for row in written)
    again = cim(*base, "--steps", "1", "--name", "own", *SHORT, "--no-probe")
    assert again.code == 0 and "is complete: nothing to train" in again.err and len(rows(cim, "own")) == 1
    file.write_text(file.read_text().replace("caption of", "another caption of"))  # under the same ids
    assert "stored run has other settings" in cim.refused(*base, "--steps", "1", "--name", "own", *SHORT, "--no-probe")
    (tmp_path / f"{names[0]}.png").unlink()
    assert f"1 images are not there, {tmp_path / names[0]}.png first" in cim.refused(*base)


def test_five_captions_of_an_image_are_five_targets(cim: Cim, tmp_path: Path) -> None:
    """One image once in a dry run, each of its captions a row of fine-tuning."""
    from harness import registry
    from harness.train import examples
    from harness.weights import Weights

    lines = list[str]()
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(training.picture(f"gallery_{number:06d}"))
        lines += [json.dumps({"image": f"{number}.png", "caption": f"words {at} of {number}"}) for at in range(5)]
    (tmp_path / "pairs.jsonl").write_text("\n".join([*lines, lines[0]]))
    source = ("jsonl", str(tmp_path / "pairs.jsonl"))
    told = cim("train", "--model", "mini-base", "--stage", "sft", "--from", *source, "--dry-run", "--json").json
    assert told["images"] == "6 of pairs, 0 for validation"
    assert told["pairs"] == "31 pairs read: 6 images with 30 captions, 1 repeat an image and its caption"
    material = examples.of_pairs([source], registry.training("cim_rl"), 0)
    rows = examples.for_sft(material, Weights("x"))
    assert len(rows) == 30 and sorted(rows.with_format(None)["target"]) == sorted(
        json.loads(x)["caption"] for x in lines
    )
    assert len(examples.for_grpo(material, material.train, Weights("x"))) == 6
