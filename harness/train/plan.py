"""Options of ``cim train`` become a plan, which is checked in full before anything is written or loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness import registry, store
from harness.errors import CimError
from harness.resources import paths
from harness.retrieval.consistency import PAPER, SAFE, CimSettings, SelfPolicy
from harness.retrieval.gallery import MANIFEST, Gallery, open_folder, place
from harness.train import alarms, memory, presets, reward
from harness.train.examples import Material, of_pairs, of_world
from harness.train.needs import require
from harness.train.options import EMBEDDED, Options, completed
from harness.train.validation import second_pair
from harness.types import Model
from harness.weights import Weights
from harness.worlds import Training, World

MOST = 6_500  # images of a synthetic environment if ``steps`` is not set; the size of RefinedCaps


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


@dataclass(frozen=True, slots=True)
class Draft:
    """A run of which something may be missing: ``faults`` by part; ``material`` and ``gallery`` are None where absent.

    What is wrong with the options themselves is no part of it: that is refused at once.
    """

    options: Options
    name: str
    folder: Path
    weights: Weights
    preset: presets.Preset
    arguments: Mapping[str, Any]
    rewards: Mapping[str, float]
    scoring: CimSettings | None
    material: Material | None
    gallery: Gallery | None
    faults: Mapping[str, CimError]

    @property
    def processes(self) -> int:
        """How many share a step."""
        return self.options.processes or 1


def plan(options: Options, results: Path) -> Plan:
    """Check all that can be checked without opening a model; writes nothing.

    Raises:
        CimError: an unknown name, a model without weights, no gallery, a preset that does not fit, untested versions.
    """
    return whole(draft(options, results))


def whole(draft: Draft) -> Plan:
    """The plan of a draft; CimError with the first of its faults."""
    for fault in draft.faults.values():
        raise fault
    assert draft.material is not None
    shared = {name: getattr(draft, name) for name in Plan.__dataclass_fields__ if name != "material"}
    return Plan(**shared, material=draft.material)


def draft(options: Options, results: Path) -> Draft:
    """What is known of a run, and what it lacks; nothing is loaded or written.

    Raises:
        CimError: an unknown name or setting, a model without weights, a step that cannot be split.
    """
    training, weights = registry.training(options.task), _trainable(options.model)
    if strangers := [name for name in options.tolerated if name not in alarms.STOPPING]:
        hint = f"alarms that stop: {', '.join(alarms.STOPPING)}"
        raise CimError(f"unknown alarm {strangers[0]!r}", where="--tolerate", hint=hint)
    options = completed(options)
    preset = presets.of_run(str(options.preset), lora=options.lora)
    arguments = _arguments(options, preset)
    rewards, scoring = dict[str, float](), None
    if options.stage == "cim":
        rewards = {registry.check("rewards", name): of for name, of in reward.weights_of(options.rewards).items()}
        scoring = _scorer_settings(preset.name, options.self_policy, rewards)
    name = options.name or _name(options, preset)
    if name.startswith(".") or "/" in name or "-step" in name or not name.isprintable():
        raise CimError(f"{name!r} cannot be the name of a run", where="--name", hint="no slash, no '-step'")
    material, gallery, faults = None, None, dict[str, CimError]()
    with _noted(faults, "packages"):
        presets.refuse_untested(presets.installed(), options.rollouts, options.untested)
    with _noted(faults, "images"):
        material = _material(options, training, preset, arguments)
    if options.stage == "cim":
        with _noted(faults, "steps"):
            _enough(material, preset)
        with _noted(faults, "gallery"):
            gallery = _gallery(options, material)
        if gallery is not None and material is not None:
            require(rewards, gallery, material)
        if material is not None and options.validate_gallery:
            with _noted(faults, "validation"):
                pair = second_pair(options.validate_gallery, material, gallery)
                material = replace(material, references=pair)
    folder = results / paths.TRAINED / name
    return Draft(options, name, folder, weights, preset, arguments, rewards, scoring, material, gallery, faults)


@contextmanager
def _noted(faults: dict[str, CimError], part: str) -> Iterator[None]:
    try:
        yield
    except CimError as error:
        faults[part] = error


def _arguments(options: Options, preset: presets.Preset) -> dict[str, Any]:
    if options.stage == "sft":
        return presets.sft_arguments(preset, options.steps, options.settings)
    arguments = presets.arguments(preset, options.processes or 1, options.steps, options.settings)
    if options.rollouts == "vllm" and not options.vllm_server and preset.name != EMBEDDED:
        return memory.for_vllm(options, preset, arguments) | arguments
    return arguments


def _enough(material: Material | None, preset: presets.Preset) -> None:
    """CimError where the training images are fewer than a step takes."""
    if material is not None and len(material.train) < preset.prompts:
        few, hint = f"{len(material.train)} training images", "a larger training set, or another preset"
        raise CimError(f"{few}, a step takes {preset.prompts}", hint=hint)


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
        unseen = options.stage == "sft" and options.held_out is None  # no validation chooses a checkpoint of it
        return of_pairs(options.pairs, training, 0 if unseen else options.held_out)
    steps, images = options.steps if options.steps is not None else preset.steps, preset.prompts
    if options.stage == "sft":
        steps = arguments.get("max_steps")
        images = arguments["per_device_train_batch_size"] * arguments["gradient_accumulation_steps"]
    return of_world(_world(options, training), MOST if steps is None else min(MOST, steps * images))


def _gallery(options: Options, material: Material | None) -> Gallery:
    """The opened gallery; the command that builds it where it is missing and the project knows how."""
    default = material.gallery if material else None
    name = options.gallery or default
    if name is None:
        raise CimError("no gallery to look captions up in", hint="--gallery NAME; cim gallery build --help makes one")
    folder = place(name)
    if material and name == default and not (folder / MANIFEST).is_file():
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


def _name(options: Options, preset: presets.Preset) -> str:
    parts = [options.model.name, options.stage, preset.name]
    parts += [options.rewards] if options.rewards != "cim" and options.stage == "cim" else []
    return "-".join([*parts, *(["lora"] if options.lora else []), f"seed{options.seed}"])


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
            # How much memory vLLM takes is no setting of a run: it may go on where cards are larger.
            "arguments": {name: value for name, value in shown_arguments(plan).items() if name != memory.SHARE},
            **({"dtype": plan.preset.dtype} if plan.preset.dtype != "float32" else {}),
            **scorer,
            **({"lookup": changes} if scorer and (changes := plan.lookup.changes()) else {}),
            **({"tolerated": sorted(options.tolerated)} if options.tolerated else {}),
        },
        "versions": presets.installed(),
    }
    return store.read_back(content)


def shown_arguments(plan: Plan | Draft) -> dict[str, Any]:
    """Fields of TRL's configuration, but what they say of the model, which has settings of its own."""
    return {name: value for name, value in plan.arguments.items() if name != "model_init_kwargs"}
