"""Options of ``cim train`` become a plan, which is checked in full before anything is written or loaded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from harness import registry, store
from harness.errors import CimError
from harness.parts import RewardContext
from harness.resources import paths
from harness.retrieval.consistency import PAPER, SAFE, CimSettings, SelfPolicy
from harness.retrieval.gallery import MANIFEST, Gallery, open_folder, place
from harness.train import alarms, presets, reward
from harness.train.examples import Material, of_pairs, of_world, validation
from harness.types import Model
from harness.weights import Weights
from harness.worlds import Training, World

MOST = 6_500  # images of a synthetic environment if ``steps`` is not set; the size of RefinedCaps


@dataclass(frozen=True, slots=True)
class Options:
    """The options of ``cim train``.

    ``steps`` counts generation batches, or updates of supervised fine-tuning (None: the preset's own). ``rollouts``
    names the rollout engine, ``vllm_server`` the address of a vLLM server. ``settings`` override fields of TRL's
    configuration; alarms that are ``tolerated`` are logged and stop nothing. ``pairs`` are sources of images of the
    user's own, of which ``held_out`` choose a checkpoint (None: as many as are needed). ``search`` and ``precision``
    say how captions are looked up (None: as suits the machine).
    """

    model: Model
    task: str
    stage: str = "cim"
    preset: str | None = None
    pairs: Sequence[Sequence[str]] = ()
    gallery: str | None = None
    rewards: str = "cim"
    self_policy: SelfPolicy | None = None
    seed: int = 0
    steps: int | None = None
    lora: bool = False
    rollouts: str = "transformers"
    vllm_server: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    tolerated: tuple[str, ...] = ()
    search: str | None = None
    precision: str | None = None
    name: str | None = None
    untested: bool = False
    probe: bool = True
    held_out: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked run.

    ``weights`` is the start model, ``rewards`` the weight of each reward, ``gallery`` where captions are looked up and
    ``scoring`` how (both None for supervised fine-tuning), ``arguments`` the fields of TRL's configuration on this
    many ``processes``.
    """

    options: Options
    name: str
    folder: Path
    weights: Weights
    preset: presets.Preset
    material: Material
    rewards: Mapping[str, float]
    gallery: Gallery | None
    scoring: CimSettings | None
    arguments: Mapping[str, Any]
    processes: int

    @property
    def updates(self) -> int:
        """Optimiser updates per step."""
        return 1 if self.options.stage == "sft" else self.preset.updates

    @property
    def lookup(self) -> reward.Lookup:
        """How captions are looked up on this machine."""
        return reward.lookup(self.options.search, self.options.precision)

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints of the run are."""
        return self.folder / "checkpoints"


def plan(options: Options, results: Path) -> Plan:
    """Check all that can be checked without opening a model; writes nothing.

    Raises:
        CimError: an unknown name, a model without weights, no gallery, a preset that does not fit, untested versions.
    """
    training, weights = registry.training(options.task), _trainable(options.model)
    presets.refuse_untested(presets.installed(), options.rollouts, options.untested)
    if strangers := [name for name in options.tolerated if name not in alarms.STOPPING]:
        hint = f"alarms that stop: {', '.join(alarms.STOPPING)}"
        raise CimError(f"unknown alarm {strangers[0]!r}", where="--tolerate", hint=hint)
    preset = presets.preset(options.preset or ("safe" if options.pairs else "mini"))
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    arguments = (
        presets.sft_arguments(preset, options.steps, options.settings)
        if options.stage == "sft"
        else presets.arguments(preset, processes, options.steps, options.settings)
    )
    material = _material(options, training, preset, arguments)
    rewards, gallery, settings = dict[str, float](), None, None
    if options.stage == "cim":
        rewards, gallery = reward.weights_of(options.rewards), _gallery(options, material)
        require(rewards, gallery, material)
        settings = _scorer_settings(preset.name, options.self_policy, rewards)
    name = options.name or _name(options, preset)
    if name.startswith(".") or "/" in name or "-step" in name or not name.isprintable():
        raise CimError(f"{name!r} cannot be the name of a run", where="--name", hint="no slash, no '-step'")
    folder = results / paths.TRAINED / name
    return Plan(options, name, folder, weights, preset, material, rewards, gallery, settings, arguments, processes)


def _trainable(model: Model) -> Weights:
    if model.weights is None:
        hint = "a model with a checkpoint: cim list models"
        raise CimError(f"model {model.name} cannot be trained", where="--model", hint=hint)
    if model.weights.trust_remote_code:
        raise CimError(f"model {model.name} needs code of its checkpoint, which training does not run")
    if model.weights.adapter is not None:
        hint = "train its base model, or merge it first: peft's merge_and_unload"
        raise CimError(f"model {model.name} is a LoRA adapter, which is no start model", where="--model", hint=hint)
    return model.weights


def _world(options: Options, training: Training) -> World:
    """The synthetic environment that the start model belongs to."""
    names = [name for name in options.model.tasks if name in training.worlds]
    if not names:
        hint = "--from KIND FILE [IMAGES], such as --from refinedcaps train_coco6k_sft.json coco/train2017"
        raise CimError("no images to train on", where=f"model {options.model.name}", hint=hint)
    return training.worlds[names[0]]


def _material(options: Options, training: Training, preset: presets.Preset, arguments: Mapping[str, Any]) -> Material:
    """The training images; for a synthetic environment one epoch's worth."""
    if options.pairs:
        # No validation chooses a checkpoint of supervised fine-tuning, so nothing is held out for it.
        count = 0 if options.stage == "sft" and options.held_out is None else options.held_out
        return of_pairs(options.pairs, training, count)
    steps, images = options.steps if options.steps is not None else preset.steps, preset.prompts
    if options.stage == "sft":
        steps = arguments.get("max_steps")
        images = arguments["per_device_train_batch_size"] * arguments["gradient_accumulation_steps"]
    return of_world(_world(options, training), MOST if steps is None else min(MOST, steps * images))


def _gallery(options: Options, material: Material) -> Gallery:
    """The opened gallery; the command that builds it where it is missing and the project knows how."""
    name = options.gallery or material.gallery
    if name is None:
        raise CimError("no gallery to look captions up in", hint="--gallery NAME; cim gallery build --help makes one")
    folder = place(name)
    if name == material.gallery and not (folder / MANIFEST).is_file():
        encoders = f"--text-encoder {name}_text --image-encoder {name}_image"
        hint = f"cim gallery build {name} --from {material.name} 8000 {encoders}, as `make train-cim` alone does"
        raise CimError("no gallery to look captions up in", where=str(folder), hint=hint)
    return open_folder(folder)


def _scorer_settings(preset: str, policy: SelfPolicy | None, weights: Mapping[str, float]) -> CimSettings:
    """How captions are scored: as released in preset ``paper``, guarded in the others.

    Raises:
        CimError: settings that make a reward constant.
    """
    chosen = replace(PAPER if preset == "paper" else SAFE, w_g=weights.get("grc", 0.0), w_q=weights.get("qir", 0.0))
    chosen = chosen if policy is None else replace(chosen, self_policy=policy)
    chosen.check()
    return chosen


def require(names: Iterable[str], gallery: Gallery, material: Material) -> None:
    """Whether every reward can be computed for images of a gallery; called before anything is written or loaded.

    Raises:
        CimError: an unknown reward, one that needs what this run does not have, or one that reads an image's own
            gallery row where training images have none.
    """
    for part in [registry.reward(registry.check("rewards", name)) for name in names]:
        for need in part.needs:
            if reason := _lacking(need, gallery, material):
                what = f"reward {part.name} needs {need}: {reason}"
                raise CimError(what, where="--rewards", hint="cim list rewards")
        absent = [image for image in material.train if material.keys[image] not in gallery.rows]
        if part.own_row and absent:
            share = f"{len(absent)} of {len(material.train)} images lack, first {material.keys[absent[0]]!r}"
            hint = "train on images of the gallery"
            if material.own_gallery:
                hint += f", such as --gallery {material.own_gallery} in the embedded environment"
            what = f"reward {part.name} reads an image's own gallery row, which {share}"
            raise CimError(what, where=f"gallery {gallery.name}", hint=hint)


def _lacking(need: str, gallery: Gallery, material: Material) -> str | None:
    """Why a run cannot have a field of ``RewardContext``; None if it can."""
    if need == "graphs":
        return registry.parser(material.parser).missing()
    if need == "phrases":
        return gallery.encoder("text").missing()
    if need == "image_text":
        images = gallery.encoder("image")
        if images.text_tower is None:
            return f"image encoder {images.name} of gallery {gallery.name} has no text tower"
        return registry.encoder(images.text_tower).missing()
    return None if need in RewardContext.__dataclass_fields__ else "no run has it"


def _name(options: Options, preset: presets.Preset) -> str:
    parts = [options.model.name, options.stage, preset.name]
    parts += [options.rewards] if options.rewards != "cim" and options.stage == "cim" else []
    parts += ["lora"] if options.lora else []
    return "-".join([*parts, f"seed{options.seed}"])


def settings(plan: Plan) -> dict[str, Any]:
    """Settings that must agree on resume, as the manifest stores them."""
    options, material, scorer = plan.options, plan.material, dict[str, Any]()
    if plan.gallery is not None and plan.scoring is not None:
        scorer = {"gallery": plan.gallery.sha, "scorer": asdict(plan.scoring)}
    content = {
        "task": {
            "name": options.task,
            "version": "1",
            "data": material.digest(),
            "prompt": hashlib.sha256(material.prompt.encode()).hexdigest()[:12],
        },
        "model": dict(options.model.settings),
        "samples": {"n": len(material.train), "limit": None, "ids": material.digest()},
        "training": {
            "stage": options.stage,
            "preset": plan.preset.name,
            "seed": options.seed,
            "steps": options.steps,
            "rewards": dict(plan.rewards),
            "lora": options.lora,
            "rollouts": options.rollouts,
            "images": material.name,
            "validation": len(material.validation),
            **({"references": material.references.names} if material.references else {}),
            "processes": plan.processes,
            "arguments": _shown_arguments(plan),
            **scorer,
            **({"lookup": changes} if scorer and (changes := plan.lookup.changes()) else {}),
            **({"tolerated": sorted(options.tolerated)} if options.tolerated else {}),
        },
        "versions": presets.installed(),
    }
    return store.read_back(content)


def _shown_arguments(plan: Plan) -> dict[str, Any]:
    return {name: value for name, value in plan.arguments.items() if name != "model_init_kwargs"}


def shown(plan: Plan) -> dict[str, Any]:
    """What ``--dry-run`` prints."""
    options, preset, material = plan.options, plan.preset, plan.material
    images = f"{len(material.train)} of {material.name}, {len(material.validation)} for validation"
    summary = {
        "model": options.model.name,
        "images": images,
        **({"pairs": material.counted} if material.counted else {}),
        "folder": str(plan.folder),
        "settings": _shown_arguments(plan),
    }
    if options.stage == "sft":
        return summary
    stops = alarms.that_stop(preset.stops, options.tolerated)
    silent = alarms.cannot_ring(
        truth=material.truth_known, references=material.references is not None, validation=bool(material.validation)
    )
    return {
        **summary,
        "preset": f"{preset.name}: {preset.about}",
        "gallery": options.gallery or material.gallery,
        "lookup": f"{plan.lookup.search}, encoded in {plan.lookup.precision}",
        "rewards": ", ".join(f"{name} x {weight:g}" for name, weight in plan.rewards.items()),
        "step": f"{preset.prompts} x {preset.group} captions, {preset.updates} updates",
        "validation": validation(material),
        "alarms that stop": ", ".join(name for name in stops if name not in silent) or "none; they are logged",
        "alarms that cannot ring": "; ".join(f"{name}: {silent[name]}" for name in stops if name in silent) or "none",
    }
