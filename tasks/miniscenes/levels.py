"""What GRC and QIR pay for: captions that say more or less of the same scenes, and the spread within a scene.

Per level the mean over scenes and draws, and the standard deviation within a scene, root mean square over scenes: the
spread that a group of captions of one image has, which is all that a group-normalised advantage can see. Run with
``python -m tasks.miniscenes.levels --gallery miniscenes``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from harness.errors import CimError
from harness.retrieval.gallery import key
from harness.retrieval.scorer import CimScorer
from tasks.miniscenes import draw, language
from tasks.miniscenes.language import LEVELS, Level
from tasks.miniscenes.world import Dice, Scene, scene

SCENES, DRAWS = 400, 4
FULL = LEVELS["full"]
OBJECTS = Level(1, 0, 0, 0, 0, 0, 0, 0)


def _at(level: Level) -> Callable[[Scene, Scene, Dice], str]:
    return lambda shown, other, dice: language.caption(shown, level, dice)


def _one_object(shown: Scene, _: Scene, dice: Dice) -> str:
    return language.caption(replace(shown, things=(dice.choose(shown.things),)), FULL, dice)


def _of_another(_: Scene, other: Scene, dice: Dice) -> str:
    return language.caption(other, FULL, dice)


CAPTIONS: dict[str, Callable[[Scene, Scene, Dice], str]] = {
    "objects alone": _at(OBJECTS),
    "base: what `mini-base` says": _at(LEVELS["base"]),
    "medium": _at(LEVELS["medium"]),
    "full": _at(FULL),
    "one object in full, and the background": _one_object,
    "the full caption of another scene": _of_another,
}


def table(gallery: str, scenes: int = SCENES, draws: int = DRAWS) -> list[dict[str, Any]]:
    """A row per level: mean and deviation within a scene of GRC and QIR, on the first validation scenes.

    Raises:
        CimError: no gallery, or other encoders than its own.
    """
    drawn_scenes = [scene("validation", number) for number in range(scenes)]
    pairs = list(zip(drawn_scenes, [*drawn_scenes[1:], *drawn_scenes[:1]], strict=True))
    images = {key("miniscenes", each.id): partial(draw.picture, each.id) for each in drawn_scenes}
    rows = []
    with CimScorer.from_gallery(gallery, "safe") as scorer:
        scorer.add_images(images)
        for level, write in CAPTIONS.items():
            drawn = [
                scorer.score(
                    [write(mine, other, Dice(f"levels/{level}/{mine.id}/{k}")) for mine, other in pairs], list(images)
                )
                for k in range(draws)
            ]
            values = {term: np.stack([getattr(batch, term) for batch in drawn]) for term in ("grc", "qir")}
            rows.append(
                {
                    "level": level,
                    **{term: float(array.mean()) for term, array in values.items()},
                    **{
                        f"{term}_within": float(np.sqrt(array.var(axis=0, ddof=1).mean()))
                        for term, array in values.items()
                    },
                }
            )
    return rows


def main(arguments: Sequence[str] | None = None, say: Callable[[str], Any] = sys.stdout.write) -> int:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m tasks.miniscenes.levels", description=__doc__)
    parser.add_argument("--gallery", default="miniscenes")
    parser.add_argument("--scenes", type=int, default=SCENES)
    args = parser.parse_args(arguments)
    try:
        rows = table(args.gallery, args.scenes)
    except CimError as error:
        sys.stderr.write(f"cim: {error}\n")
        return 2
    say("| caption | GRC | within a scene | QIR | within a scene |\n| --- | --- | --- | --- | --- |\n")
    for row in rows:
        cells = " | ".join(f"{row[name]:.3f}" for name in ("grc", "grc_within", "qir", "qir_within"))
        say(f"| {row['level']} | {cells} |\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
