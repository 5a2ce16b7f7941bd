"""The train verb: what was asked for becomes a plan that is checked whole, then a run under ``results/train/<name>/``.

``manifest.json`` (settings that must agree when the run goes on), ``steps.jsonl``, ``completions.jsonl``,
``validation.jsonl``, ``checkpoints/``, and at the end ``chosen.json`` and ``model.toml`` of the checkpoint that
validation chose, so that ``cim eval --model results/train/<name>`` evaluates it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry, store
from harness.errors import AlarmError, CimError
from harness.resources import paths
from harness.retrieval.gallery import MANIFEST, open_folder, place
from harness.runs import manifest
from harness.train import alarms, checkpoints, presets, reward, scoring
from harness.train.material import Material, of_pairs, of_world, worth
from harness.train.options import Asked
from harness.types import Training

if TYPE_CHECKING:
    from harness.train.trl_engine import Job
    from harness.weights import Weights

CHOSEN = "chosen.json"
MOST = 6_500  # images of a made world, where no number of steps says how many are used; as many as RefinedCaps has


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked run: its folder, its settings, and all that it is made from but the opened gallery."""

    asked: Asked
    folder: Path
    weights: Weights
    preset: presets.Preset
    material: Material
    rewards: Mapping[str, float]
    settings: dict[str, Any]
    gallery: str | None


def plan(asked: Asked, results: Path) -> Plan:
    """Check all that can be checked without opening a model; writes nothing.

    Raises:
        CimError: an unknown name, a model without weights, no gallery, a preset that does not fit, untested versions.
    """
    training = registry.training(asked.task)
    if asked.model.weights is None:
        hint = "a model with a checkpoint: cim list models"
        raise CimError(f"model {asked.model.name} cannot be trained", where="--model", hint=hint)
    if asked.model.weights.trust_remote_code:
        raise CimError(f"model {asked.model.name} needs code of its checkpoint, which training does not run")
    presets.refuse_untested(presets.installed(), asked.options.rollouts, asked.untested)
    if strangers := [name for name in asked.options.tolerated if name not in alarms.STOPPING]:
        hint = f"alarms that stop: {', '.join(alarms.STOPPING)}"
        raise CimError(f"unknown alarm {strangers[0]!r}", where="--tolerate", hint=hint)
    world = next((training.worlds[name] for name in asked.model.tasks if name in training.worlds), None)
    if not asked.pairs and world is None:
        hint = "--from KIND FILE [IMAGES], such as --from refinedcaps train_coco6k_sft.json coco/train2017"
        raise CimError("no images to train on", where=f"model {asked.model.name}", hint=hint)
    preset = presets.preset(asked.preset or ("safe" if asked.pairs else "mini"))
    material = _material(asked, training, preset)
    rewards = {} if asked.stage == "sft" else scoring.weights_of(asked.rewards)
    gallery = asked.gallery or material.gallery
    if asked.stage == "cim" and gallery is None:
        raise CimError("no gallery to look captions up in", hint="--gallery NAME; cim gallery build --help makes one")
    if asked.stage == "cim" and world and gallery == world.gallery and not (place(gallery) / MANIFEST).is_file():
        encoders = f"--text-encoder {gallery}_text --image-encoder {gallery}_image"
        hint = f"cim gallery build {gallery} --from {world.name} 8000 {encoders}, as `make train-cim` alone does"
        raise CimError("no gallery to look captions up in", where=str(place(gallery)), hint=hint)
    if gallery is not None:
        reward.check(list(rewards), gallery, material)
    name = asked.name or _name(asked, preset)
    if name.startswith(".") or "/" in name or "-step" in name or not name.isprintable():
        raise CimError(f"{name!r} cannot be the name of a run", where="--name", hint="no slash, no '-step'")
    made = Plan(asked, results / paths.TRAINED / name, asked.model.weights, preset, material, rewards, {}, gallery)
    return replace(made, settings=_settings(made))


def _material(asked: Asked, training: Training, preset: presets.Preset) -> Material:
    """The images of a run; of a made world as many as it comes to see once."""
    if asked.pairs:
        return of_pairs(asked.pairs, training)
    given = asked.options.steps
    steps, a_step = given if given is not None else preset.steps, preset.prompts
    if asked.stage == "sft":
        fields = presets.sft_arguments(preset, given, asked.options.settings)
        steps = fields.get("max_steps")
        a_step = fields["per_device_train_batch_size"] * fields["gradient_accumulation_steps"]
    world = next(training.worlds[name] for name in asked.model.tasks if name in training.worlds)
    return of_world(world, MOST if steps is None else min(MOST, steps * a_step))


def _name(asked: Asked, preset: presets.Preset) -> str:
    parts = [asked.model.name, "sft" if asked.stage == "sft" else "cim", preset.name]
    parts += [asked.rewards] if asked.rewards != "cim" and asked.stage == "cim" else []
    parts += ["lora"] if asked.options.lora else []
    return "-".join([*parts, f"seed{asked.options.seed}"])


def _settings(made: Plan) -> dict[str, Any]:
    """What must agree when a run goes on."""
    asked, options, processes = made.asked, made.asked.options, int(os.environ.get("WORLD_SIZE", "1"))
    arguments = (
        presets.sft_arguments(made.preset, options.steps, options.settings)
        if asked.stage == "sft"
        else presets.arguments(made.preset, processes, options.steps, options.settings)
    )
    judged: dict[str, Any] = {}
    if asked.stage == "cim":
        assert made.gallery is not None
        scorer = reward.scorer_settings(made.preset.name, asked.self_policy, made.rewards)
        judged = {"gallery": open_folder(place(made.gallery)).sha, "scorer": asdict(scorer)}
    settings = {
        "task": {
            "name": asked.task,
            "version": "1",
            "data": made.material.digest(),
            "prompt": hashlib.sha256(made.material.prompt.encode()).hexdigest()[:12],
        },
        "model": dict(asked.model.settings),
        "samples": {"n": len(made.material.train), "limit": None, "ids": made.material.digest()},
        "training": {
            "stage": asked.stage,
            "preset": made.preset.name,
            "seed": options.seed,
            "steps": options.steps,
            "rewards": dict(made.rewards),
            "lora": options.lora,
            "rollouts": options.rollouts,
            "images": made.material.name,
            "validation": len(made.material.validation),
            "processes": processes,
            "arguments": {name: value for name, value in arguments.items() if name != "model_init_kwargs"},
            **judged,
            **({"tolerated": sorted(options.tolerated)} if options.tolerated else {}),
        },
        "versions": presets.installed(),
    }
    return store.read_back(settings)


def shown(made: Plan) -> dict[str, Any]:
    """What ``--dry-run`` prints."""
    arguments = made.settings["training"]["arguments"]
    images = f"{len(made.material.train)} of {made.material.name}, {len(made.material.validation)} for validation"
    told = {"model": made.asked.model.name, "images": images, "folder": str(made.folder), "settings": arguments}
    if made.asked.stage == "sft":
        return told
    stops = ", ".join(alarms.that_stop(made.preset.stops, made.asked.options.tolerated))
    return {
        **told,
        "preset": f"{made.preset.name}: {made.preset.about}",
        "gallery": made.gallery or "none",
        "rewards": ", ".join(f"{name} x {weight:g}" for name, weight in made.rewards.items()) or "none",
        "step": f"{made.preset.prompts} x {made.preset.group} captions, {made.preset.updates} updates",
        "alarms that stop": stops or "none; they are written down",
    }


def run(made: Plan, say: Callable[[str], None], advance: Callable[[int, int], None], *, fresh: bool) -> dict[str, Any]:
    """Train, or go on; returns the chosen checkpoint and the steps made.

    Raises:
        SettingsError: a stored run of this name has other settings.
        AlarmError: a guard stopped the run; what it had saved is kept.
    """
    if os.environ.get("RANK", "0") != "0":
        return _train(made, say, advance)
    with store.writing(made.folder, "this training run"):
        if fresh:
            clear(made.folder)
        manifest.check(made.folder, made.settings)
        if (alarm := (manifest.read(made.folder) or {}).get("alarm")) is not None:
            hint = f"cim eval --model {made.folder} evaluates what was best; --fresh begins anew"
            raise CimError(f"this run was stopped by alarm {alarm}", where=str(made.folder), hint=hint)
        manifest.begin(made.folder, made.settings, {"about": made.preset.about})
        try:
            told = _train(made, say, advance)
        except AlarmError as error:
            if checkpoints.whole(made.folder / "checkpoints"):
                _conclude(made, 0)
            manifest.advance(made.folder, "stopped", alarm=error.name)
            raise
        manifest.advance(made.folder, "complete")
        return told


def _train(made: Plan, say: Callable[[str], None], advance: Callable[[int, int], None]) -> dict[str, Any]:
    if made.asked.stage == "sft":
        from harness.train import sft

        steps = sft.train(
            made.folder, _origin(made), made.weights, made.asked, made.preset, made.material, say, advance
        )
        return _conclude(made, steps)
    from harness.train import trl_engine

    assert made.gallery is not None
    settings = reward.scorer_settings(made.preset.name, made.asked.self_policy, made.rewards)
    with reward.opened(made.gallery, settings, made.rewards, made.material) as held:
        mark = {"gallery": held.sha[:12], "self_policy": settings.self_policy}
        return _conclude(made, trl_engine.train(_job(made, held, mark, say, advance)))


def _origin(made: Plan) -> checkpoints.Origin:
    asked = made.asked
    names = tuple(made.rewards) or ("sft",)
    split = "validation" if made.material.validation else "none"
    return checkpoints.Origin(
        made.folder.name, asked.model.name, asked.task, made.preset.name, asked.options.seed, names, split
    )


def _job(
    made: Plan,
    held: reward.Opened,
    mark: Mapping[str, Any],
    say: Callable[[str], None],
    advance: Callable[[int, int], None],
) -> Job:
    from harness.train import examples, probe, trl_engine

    asked, material = made.asked, made.material

    def example(one: str) -> examples.Example:
        return examples.Example(one, material.keys[one])

    return trl_engine.Job(
        folder=made.folder,
        weights=made.weights,
        tasks=asked.model.tasks,
        origin=_origin(made),
        preset=made.preset,
        train=[example(one) for one in material.train],
        validation=[example(one) for one in material.validation],
        pictures=examples.Pictures(material.place, made.weights.max_pixels),
        prompt=material.prompt,
        scorer=held.scorer,
        rewards=made.rewards,
        judge=lambda captions: worth(material, made.rewards, held.scorer, captions),
        mark=mark,
        say=say,
        advance=advance,
        extra={name: reward.extra(name, held.context) for name in made.rewards if name not in reward.TERMS},
        limits=probe.Limits() if asked.probe else None,
        options=asked.options,
    )


def _conclude(made: Plan, steps: int) -> dict[str, Any]:
    """Choose a checkpoint, and make the run's folder a model of it."""
    rows = store.read_rows(made.folder / "validation.jsonl")
    chosen = checkpoints.choose(made.folder / "checkpoints", rows, alarms.PRECISION)
    if os.environ.get("RANK", "0") == "0":
        inside = f"./checkpoints/{chosen['checkpoint']}" + (f"/{checkpoints.MERGED}" if made.asked.options.lora else "")
        own = (made.weights, made.preset.dtype, made.asked.model.tasks, inside)
        content = checkpoints.text(_origin(made), chosen["step"], *own)
        store.write_document(made.folder / CHOSEN, chosen)
        store.write_bytes(made.folder / checkpoints.TOML, content.encode())
    return {"steps": steps, "chosen": chosen, "folder": str(made.folder)}


def clear(folder: Path) -> None:
    """Remove a stored run."""
    import shutil

    for name in ("steps.jsonl", "completions.jsonl", "validation.jsonl", CHOSEN, checkpoints.TOML):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    (folder / manifest.NAME).unlink(missing_ok=True)
