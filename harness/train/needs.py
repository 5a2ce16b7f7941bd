"""What rewards need beside captions, and whether a run has it; asked before anything is written or loaded."""

from __future__ import annotations

from collections.abc import Iterable

from harness import registry
from harness.errors import CimError
from harness.parts import RewardContext
from harness.retrieval.gallery import Gallery
from harness.train.examples import Material


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
