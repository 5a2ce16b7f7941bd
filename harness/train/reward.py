"""The scorer and the rewards of a training run, checked when the run is planned.

Run by ``cim train``; metric ``cim`` and the reward server open galleries alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from harness import registry, store
from harness.errors import CimError
from harness.parts import Encoder, RewardContext
from harness.resources import paths
from harness.retrieval import gallery as encoders
from harness.retrieval.consistency import PAPER, SAFE, CimSettings
from harness.retrieval.gallery import Gallery, open_folder, place
from harness.retrieval.scorer import CimScorer
from harness.train.material import Material
from harness.train.options import Policy
from harness.types import Sample, SceneGraph

TERMS = ("grc", "qir")  # of the scorer itself; other rewards are parts of the registry


@dataclass(frozen=True, slots=True)
class Opened:
    """A scorer, the context of rewards other than GRC and QIR, and the gallery's SHA-256."""

    scorer: CimScorer
    context: RewardContext
    sha: str


def scorer_settings(preset: str, policy: Policy | None, weights: Mapping[str, float]) -> CimSettings:
    """How captions are scored: as released in preset ``paper``, guarded in the others.

    Raises:
        CimError: settings that make a reward constant.
    """
    chosen = replace(PAPER if preset == "paper" else SAFE, w_g=weights.get("grc", 0.0), w_q=weights.get("qir", 0.0))
    chosen = chosen if policy is None else replace(chosen, self_policy=policy)
    chosen.check()
    return chosen


def check(names: Sequence[str], gallery: str, material: Material) -> None:
    """Whether every reward can be computed in this run; called before anything is written or loaded.

    Raises:
        CimError: an unknown reward, one that needs what this run does not have, or one that reads an image's own
            gallery row where training images have none.
    """
    rewards = [registry.reward(registry.check("rewards", name)) for name in names if name not in TERMS]
    stored = open_folder(place(gallery)) if rewards else None
    for reward in rewards:
        assert stored is not None
        for need in reward.needs:
            if reason := _lacking(need, stored, material):
                raise CimError(
                    f"reward {reward.name} needs {need}: {reason}", where="--rewards", hint="cim list rewards"
                )
        absent = [image for image in material.train if material.keys[image] not in stored.rows]
        if reward.own_row and absent:
            what = (
                f"reward {reward.name} reads an image's own gallery row, which {len(absent)} of {len(material.train)}"
            )
            hint = "train on images of the gallery"
            if material.own_gallery:
                hint += f", such as --gallery {material.own_gallery} in the embedded environment"
            raise CimError(
                f"{what} images lack, first {material.keys[absent[0]]!r}", where=f"gallery {stored.name}", hint=hint
            )


def _lacking(need: str, gallery: Gallery, material: Material) -> str | None:
    """Why a run cannot have a field of ``RewardContext``; None if it can."""
    if need == "graphs":
        return registry.parser(material.parser).missing()
    if need == "phrases":
        return gallery.encoder("text").missing()
    if need == "image_text":
        tower = gallery.encoder("image").text_tower
        if tower is None:
            return f"image encoder {gallery.encoder('image').name} of gallery {gallery.name} has no text tower"
        return registry.encoder(tower).missing()
    return None if need in RewardContext.__dataclass_fields__ else "no run has it"


@contextmanager
def opened(gallery: str, settings: CimSettings, weights: Mapping[str, float], material: Material) -> Iterator[Opened]:
    """Open a gallery, the encoder of its captions and what the named rewards need; encodes all images.

    Raises:
        CimError: no gallery, other encoders than its own, or an image that cannot be read.
    """
    needs = {need for name in weights if name not in TERMS for need in registry.reward(name).needs}
    with ExitStack() as stack:
        scorer = stack.enter_context(CimScorer.from_gallery(gallery, settings))
        by_key = {key: image for image, key in material.keys.items()}
        scorer.add_images({key: partial(material.place, image) for key, image in by_key.items()})
        stored = scorer.gallery

        def encoder(part: Encoder) -> Any:
            return stack.enter_context(encoders.encoding(part))

        tower = stored.encoder("image").text_tower
        context = RewardContext(
            scorer=scorer,
            references={key: material.reference(image) for key, image in by_key.items()},
            samples=partial(_sample, material, by_key),
            phrases=encoder(stored.encoder("text")) if "phrases" in needs else None,
            image_text=encoder(registry.encoder(tower)) if "image_text" in needs and tower else None,
            graphs=partial(_graphs, material.parser) if "graphs" in needs else None,
        )
        yield Opened(scorer, context, stored.sha)


def _sample(material: Material, by_key: Mapping[str, str], source_id: str) -> Sample:
    """The sample of a source id; an image that is rendered is written to the shared cache."""
    image = material.place(by_key[source_id])
    if not isinstance(image, Path):
        file = paths.results_root() / ".cache" / "images" / material.name / f"{by_key[source_id]}.png"
        if not file.is_file():
            store.write_bytes(file, image)
        image = file
    return Sample(source_id, (material.reference(by_key[source_id]),), image=str(image.absolute()))


def _graphs(parser: str, texts: Sequence[str]) -> list[SceneGraph]:
    """Scene graphs of texts by a parser and the parsers it depends on."""

    def parse(name: str, inner: Sequence[str]) -> list[Any]:
        with registry.parser(name).session(parse) as session:
            return list(session(inner))

    return [_graph(value) for value in parse(parser, texts)]


def _graph(value: Mapping[str, Any]) -> SceneGraph:
    attributes = {owner: tuple(words) for owner, words in value["attributes"].items()}
    return SceneGraph(objects=tuple(value["objects"]), attributes=attributes)


def extra(name: str, context: RewardContext) -> Callable[[Sequence[str], Sequence[str]], Any]:
    """A reward of the registry as a function of captions and source ids."""
    return partial(registry.reward(name), context=context)
