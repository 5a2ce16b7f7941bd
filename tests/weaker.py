"""Captioners of the embedded world, made worse or noisier on purpose: objects dropped from captions, other seeds."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from pathlib import Path

from tasks.miniscenes.language import FAMILY_OF
from tasks.miniscenes.reading import read
from tests.conftest import ROOT

WEIGHTS = ROOT / "tasks" / "miniscenes" / "weights" / "mini-detailed"
PHRASE = re.compile(rf"\ban? (?:[a-z]+ )*?({'|'.join(FAMILY_OF)})\b(?: in the [a-z]+ [a-z]+)?")
SAMPLED = """about = "mini-detailed at a temperature, of one seed"
engine = "transformers"
checkpoint = "{folder}"
dtype = "float32"
tasks = ["miniscenes"]
[sampling]
temperature = {temperature}
max_tokens = 64
seed = {seed}
"""


def drop_objects(captions: Mapping[str, str], share: float, seed: int = 0) -> dict[str, str]:
    """Captions that no longer name this share of their objects: the objects' phrases are taken out.

    An object is a family that a caption names; which ones go is drawn from all captions together.
    """
    named = [(key, family) for key, text in captions.items() for family in read(text).objects]
    gone = set(random.Random(seed).sample(named, round(share * len(named))))
    return {
        key: _without(text, {family for family in FAMILY_OF.values() if (key, family) in gone})
        for key, text in captions.items()
    }


def _without(text: str, families: set[str]) -> str:
    if not families:
        return text
    listed, *statements = text.removesuffix(" .").split(" . ")
    matches = list(PHRASE.finditer(listed))
    kept = [item[0] for item in matches if FAMILY_OF[item[1]] not in families]
    before, after = listed[: matches[0].start()], listed[matches[-1].end() :]
    phrases = " and ".join(filter(None, (" , ".join(kept[:-1]), *kept[-1:])))
    remaining = [item for item in statements if not families & {FAMILY_OF.get(word, "") for word in item.split()}]
    return " . ".join([f"{before}{phrases}{after}", *remaining]) + " ."


def sampled(folder: Path, seed: int, temperature: float = 0.3) -> str:
    """The name of a model in ``folder`` (for ``$CIM_MODELS``): mini-detailed that draws its words."""
    name = f"mini-detailed-seed-{seed:02d}"
    folder.mkdir(parents=True, exist_ok=True)
    content = SAMPLED.format(folder=WEIGHTS, temperature=temperature, seed=seed)
    (folder / f"{name}.toml").write_text(content)
    return name
