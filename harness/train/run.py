"""The train verb: options become a plan that is checked in full, then a run under ``results/train/<name>/``.

``manifest.json`` (settings that must agree on resume), ``steps.jsonl``, ``completions.jsonl``,
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
MOST = 6_500  # images of a synthetic environment if ``steps`` is not set; the size of RefinedCaps


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked run: its folder, its settings, and all of its inputs except the opened gallery."""

    asked: Asked
    folder: Path
    weights: Weights
    preset: presets.Preset
    material: Material
    rewards: Mapping[str, float]
    settings: dict[str, Any]
    gallery: str | None


def plan(request: Asked, results: Path) -> Plan:
    """Check all that can be checked without opening a model; writes nothing.

    Raises:
        CimError: an unknown name, a model without weights, no gallery, a preset that does not fit, untested versions.
    """
    training = registry.training(request.task)
    if request.model.weights is None:
        hint = "a model with a checkpoint: cim list models"
        raise CimError(f"model {request.model.name} cannot be trained", where="--model", hint=hint)
    if request.model.weights.trust_remote_code:
        raise CimError(f"model {request.model.name} needs code of its checkpoint, which training does not run")
    presets.refuse_untested(presets.installed(), request.options.rollouts, request.untested)
    if strangers := [name for name in request.options.tolerated if name not in alarms.STOPPING]:
        hint = f"alarms that stop: {', '.join(alarms.STOPPING)}"
        raise CimError(f"unknown alarm {strangers[0]!r}", where="--tolerate", hint=hint)
    world = next((training.worlds[name] for name in request.model.tasks if name in training.worlds), None)
    if not request.pairs and world is None:
        hint = "--from KIND FILE [IMAGES], such as --from refinedcaps train_coco6k_sft.json coco/train2017"
        raise CimError("no images to train on", where=f"model {request.model.name}", hint=hint)
    preset = presets.preset(request.preset or ("safe" if request.pairs else "mini"))
    material = _material(request, training, preset)
    rewards = {} if request.stage == "sft" else scoring.weights_of(request.rewards)
    gallery = request.gallery or material.gallery
    if request.stage == "cim" and gallery is None:
        raise CimError("no gallery to look captions up in", hint="--gallery NAME; cim gallery build --help makes one")
    if request.stage == "cim" and world and gallery == world.gallery and not (place(gallery) / MANIFEST).is_file():
        encoders = f"--text-encoder {gallery}_text --image-encoder {gallery}_image"
        hint = f"cim gallery build {gallery} --from {world.name} 8000 {encoders}, as `make train-cim` alone does"
        raise CimError("no gallery to look captions up in", where=str(place(gallery)), hint=hint)
    if gallery is not None:
        reward.check(list(rewards), gallery, material)
    name = request.name or _name(request, preset)
    if name.startswith(".") or "/" in name or "-step" in name or not name.isprintable():
        raise CimError(f"{name!r} cannot be the name of a run", where="--name", hint="no slash, no '-step'")
    unsigned = Plan(
        request, results / paths.TRAINED / name, request.model.weights, preset, material, rewards, {}, gallery
    )
    return replace(unsigned, settings=_settings(unsigned))


def _material(request: Asked, training: Training, preset: presets.Preset) -> Material:
    """The training images; for a synthetic environment one epoch's worth."""
    if request.pairs:
        return of_pairs(request.pairs, training)
    steps_option = request.options.steps
    steps, a_step = steps_option if steps_option is not None else preset.steps, preset.prompts
    if request.stage == "sft":
        fields = presets.sft_arguments(preset, steps_option, request.options.settings)
        steps = fields.get("max_steps")
        a_step = fields["per_device_train_batch_size"] * fields["gradient_accumulation_steps"]
    world = next(training.worlds[name] for name in request.model.tasks if name in training.worlds)
    return of_world(world, MOST if steps is None else min(MOST, steps * a_step))


def _name(request: Asked, preset: presets.Preset) -> str:
    parts = [request.model.name, "sft" if request.stage == "sft" else "cim", preset.name]
    parts += [request.rewards] if request.rewards != "cim" and request.stage == "cim" else []
    parts += ["lora"] if request.options.lora else []
    return "-".join([*parts, f"seed{request.options.seed}"])


def _settings(plan: Plan) -> dict[str, Any]:
    """Settings that must agree on resume."""
    request, options, processes = plan.asked, plan.asked.options, int(os.environ.get("WORLD_SIZE", "1"))
    arguments = (
        presets.sft_arguments(plan.preset, options.steps, options.settings)
        if request.stage == "sft"
        else presets.arguments(plan.preset, processes, options.steps, options.settings)
    )
    judged: dict[str, Any] = {}
    if request.stage == "cim":
        assert plan.gallery is not None
        scorer = reward.scorer_settings(plan.preset.name, request.self_policy, plan.rewards)
        judged = {"gallery": open_folder(place(plan.gallery)).sha, "scorer": asdict(scorer)}
    settings = {
        "task": {
            "name": request.task,
            "version": "1",
            "data": plan.material.digest(),
            "prompt": hashlib.sha256(plan.material.prompt.encode()).hexdigest()[:12],
        },
        "model": dict(request.model.settings),
        "samples": {"n": len(plan.material.train), "limit": None, "ids": plan.material.digest()},
        "training": {
            "stage": request.stage,
            "preset": plan.preset.name,
            "seed": options.seed,
            "steps": options.steps,
            "rewards": dict(plan.rewards),
            "lora": options.lora,
            "rollouts": options.rollouts,
            "images": plan.material.name,
            "validation": len(plan.material.validation),
            "processes": processes,
            "arguments": {name: value for name, value in arguments.items() if name != "model_init_kwargs"},
            **judged,
            **({"tolerated": sorted(options.tolerated)} if options.tolerated else {}),
        },
        "versions": presets.installed(),
    }
    return store.read_back(settings)


def shown(plan: Plan) -> dict[str, Any]:
    """What ``--dry-run`` prints."""
    arguments = plan.settings["training"]["arguments"]
    images = f"{len(plan.material.train)} of {plan.material.name}, {len(plan.material.validation)} for validation"
    summary = {"model": plan.asked.model.name, "images": images, "folder": str(plan.folder), "settings": arguments}
    if plan.asked.stage == "sft":
        return summary
    stops = ", ".join(alarms.that_stop(plan.preset.stops, plan.asked.options.tolerated))
    return {
        **summary,
        "preset": f"{plan.preset.name}: {plan.preset.about}",
        "gallery": plan.gallery or "none",
        "rewards": ", ".join(f"{name} x {weight:g}" for name, weight in plan.rewards.items()) or "none",
        "step": f"{plan.preset.prompts} x {plan.preset.group} captions, {plan.preset.updates} updates",
        "alarms that stop": stops or "none; they are logged",
    }


def run(plan: Plan, say: Callable[[str], None], advance: Callable[[int, int], None], *, fresh: bool) -> dict[str, Any]:
    """Train or resume; returns the chosen checkpoint and the number of steps.

    Raises:
        SettingsError: a stored run of this name has other settings.
        AlarmError: a guard stopped the run; what it had saved is kept.
    """
    if os.environ.get("RANK", "0") != "0":
        return _train(plan, say, advance)
    with store.writing(plan.folder, "this training run"):
        if fresh:
            clear(plan.folder)
        manifest.check(plan.folder, plan.settings)
        if (alarm := (manifest.read(plan.folder) or {}).get("alarm")) is not None:
            hint = f"cim eval --model {plan.folder} evaluates its best checkpoint; --fresh starts over"
            raise CimError(f"this run was stopped by alarm {alarm}", where=str(plan.folder), hint=hint)
        manifest.begin(plan.folder, plan.settings, {"about": plan.preset.about})
        try:
            result = _train(plan, say, advance)
        except AlarmError as error:
            if checkpoints.whole(plan.folder / "checkpoints"):
                _conclude(plan, 0)
            manifest.advance(plan.folder, "stopped", alarm=error.name)
            raise
        manifest.advance(plan.folder, "complete")
        return result


def _train(plan: Plan, say: Callable[[str], None], advance: Callable[[int, int], None]) -> dict[str, Any]:
    if plan.asked.stage == "sft":
        from harness.train import sft

        steps = sft.train(
            plan.folder, _origin(plan), plan.weights, plan.asked, plan.preset, plan.material, say, advance
        )
        return _conclude(plan, steps)
    from harness.train import trl_engine

    assert plan.gallery is not None
    settings = reward.scorer_settings(plan.preset.name, plan.asked.self_policy, plan.rewards)
    with reward.opened(plan.gallery, settings, plan.rewards, plan.material) as opened:
        mark = {"gallery": opened.sha[:12], "self_policy": settings.self_policy}
        return _conclude(plan, trl_engine.train(_job(plan, opened, mark, say, advance)))


def _origin(plan: Plan) -> checkpoints.Origin:
    request = plan.asked
    names = tuple(plan.rewards) or ("sft",)
    split = "validation" if plan.material.validation else "none"
    return checkpoints.Origin(
        plan.folder.name, request.model.name, request.task, plan.preset.name, request.options.seed, names, split
    )


def _job(
    plan: Plan,
    opened: reward.Opened,
    mark: Mapping[str, Any],
    say: Callable[[str], None],
    advance: Callable[[int, int], None],
) -> Job:
    from harness.train import examples, probe, trl_engine

    request, material = plan.asked, plan.material

    def example(image: str) -> examples.Example:
        return examples.Example(image, material.keys[image])

    return trl_engine.Job(
        folder=plan.folder,
        weights=plan.weights,
        tasks=request.model.tasks,
        origin=_origin(plan),
        preset=plan.preset,
        train=[example(image) for image in material.train],
        validation=[example(image) for image in material.validation],
        pictures=examples.Pictures(material.place, plan.weights.max_pixels, material.shown),
        prompt=material.prompt,
        scorer=opened.scorer,
        rewards=plan.rewards,
        judge=lambda captions: worth(material, plan.rewards, opened.scorer, captions),
        mark=mark,
        say=say,
        advance=advance,
        extra={name: reward.extra(name, opened.context) for name in plan.rewards if name not in reward.TERMS},
        limits=probe.Limits() if request.probe else None,
        options=request.options,
    )


def _conclude(plan: Plan, steps: int) -> dict[str, Any]:
    """Choose a checkpoint, and write ``model.toml`` for it into the run's folder."""
    rows = store.read_rows(plan.folder / "validation.jsonl")
    chosen = checkpoints.choose(plan.folder / "checkpoints", rows, alarms.PRECISION)
    if os.environ.get("RANK", "0") == "0":
        inside = f"./checkpoints/{chosen['checkpoint']}" + (f"/{checkpoints.MERGED}" if plan.asked.options.lora else "")
        settings = (plan.weights, plan.preset.dtype, plan.asked.model.tasks, inside)
        content = checkpoints.text(_origin(plan), chosen["step"], *settings)
        store.write_document(plan.folder / CHOSEN, chosen)
        store.write_bytes(plan.folder / checkpoints.TOML, content.encode())
    return {"steps": steps, "chosen": chosen, "folder": str(plan.folder)}


def clear(folder: Path) -> None:
    """Remove a stored run."""
    import shutil

    for name in ("steps.jsonl", "completions.jsonl", "validation.jsonl", CHOSEN, checkpoints.TOML):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    (folder / manifest.NAME).unlink(missing_ok=True)
