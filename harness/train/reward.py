"""The rewards of a training run: checked when the run is planned, opened with what they need when it begins.

Run by ``cim train``; metric ``cim`` and the reward server open galleries alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry, store
from harness.errors import CimError
from harness.parts import RewardContext
from harness.resources import paths
from harness.retrieval.consistency import PAPER, SAFE, CimSettings, SelfPolicy
from harness.retrieval.gallery import Gallery, encoding
from harness.retrieval.scorer import CimScorer
from harness.train.examples import Material, parsed
from harness.types import Sample, SceneGraph

if TYPE_CHECKING:
    from harness.train.plan import Plan


def scorer_settings(preset: str, policy: SelfPolicy | None, weights: Mapping[str, float]) -> CimSettings:
    """How captions are scored: as released in preset ``paper``, guarded in the others.

    Raises:
        CimError: settings that make a reward constant.
    """
    chosen = replace(PAPER if preset == "paper" else SAFE, w_g=weights.get("grc", 0.0), w_q=weights.get("qir", 0.0))
    chosen = chosen if policy is None else replace(chosen, self_policy=policy)
    chosen.check()
    return chosen


def require(names: Sequence[str], gallery: Gallery, material: Material) -> None:
    """Whether every reward can be computed in this run; called before anything is written or loaded.

    Raises:
        CimError: an unknown reward, one that needs what this run does not have, or one that reads an image's own
            gallery row where training images have none.
    """
    for reward in [registry.reward(registry.check("rewards", name)) for name in names]:
        for need in reward.needs:
            if reason := _lacking(need, gallery, material):
                what = f"reward {reward.name} needs {need}: {reason}"
                raise CimError(what, where="--rewards", hint="cim list rewards")
        absent = [image for image in material.train if material.keys[image] not in gallery.rows]
        if reward.own_row and absent:
            share = f"{len(absent)} of {len(material.train)} images lack, first {material.keys[absent[0]]!r}"
            hint = "train on images of the gallery"
            if material.own_gallery:
                hint += f", such as --gallery {material.own_gallery} in the embedded environment"
            what = f"reward {reward.name} reads an image's own gallery row, which {share}"
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


@contextmanager
def opened(plan: Plan) -> Iterator[RewardContext]:
    """What the rewards of a run read: the scorer over its gallery, with all images encoded, and what they need beside.

    Raises:
        CimError: other encoders than the gallery's, or an image that cannot be read.
    """
    assert plan.gallery is not None and plan.scoring is not None
    material, gallery = plan.material, plan.gallery
    images = {key: image for image, key in material.keys.items()}
    needs = {need for name in plan.rewards for need in registry.reward(name).needs}
    tower = gallery.encoder("image").text_tower if "image_text" in needs else None
    with ExitStack() as stack:
        encode = stack.enter_context(encoding(gallery.encoder("text")))  # once, for captions and for phrases
        scorer = CimScorer(gallery, encode, plan.scoring)
        scorer.add_images({key: partial(material.place, image) for key, image in images.items()})
        yield RewardContext(
            scorer=scorer,
            references={key: material.reference(image) for key, image in images.items()},
            samples=partial(_sample, material, images),
            phrases=encode,
            image_text=stack.enter_context(encoding(registry.encoder(tower))) if tower else None,
            graphs=partial(_graphs, material.parser),
        )


def _sample(material: Material, images: Mapping[str, str], source_id: str) -> Sample:
    """The sample of a source id; an image that is rendered is written to the shared cache."""
    image = material.place(images[source_id])
    if not isinstance(image, Path):
        file = paths.results_root() / ".cache" / "images" / material.name / f"{images[source_id]}.png"
        if not file.is_file():
            store.write_bytes(file, image)
        image = file
    return Sample(source_id, (material.reference(images[source_id]),), image=str(image.absolute()))


def _graphs(parser: str, texts: Sequence[str]) -> list[SceneGraph]:
    return [_graph(value) for value in parsed(parser, texts)]


def _graph(value: Mapping[str, Any]) -> SceneGraph:
    attributes = {owner: tuple(words) for owner, words in value["attributes"].items()}
    return SceneGraph(objects=tuple(value["objects"]), attributes=attributes)
