"""How captions are scored by CIM: settings that enter signatures and manifests, and the named presets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.errors import CimError
from harness.retrieval import consistency, filters


@dataclass(frozen=True, slots=True)
class CimSettings:
    """How captions are scored; all of it enters signatures and manifests.

    ``self_policy``: ``include`` keeps the image's own row in the gallery (as the released code), ``exclude`` drops
    it, ``exclude_near`` also drops images of equal bytes or with a cosine of at least ``near`` to it.
    ``empty``: a blank caption is encoded like any other, or gets zero. ``dedupe_images`` keeps the best row of
    each image. ``strict``: fewer than K rows left is an error; else K shrinks for that caption. ``refuse_constant``:
    no K = 1 while GRC, which is 1 then, has weight.
    """

    k: int = 3
    w_g: float = 1.0
    w_q: float = 1.0
    rank_weights: consistency.RankWeights = "halving"
    normalize_qir: bool = False
    self_policy: Literal["include", "exclude", "exclude_near"] = "include"
    near: float = 0.98
    empty: Literal["encode", "zero"] = "encode"
    dedupe_images: bool = False
    strict: bool = True
    refuse_constant: bool = False

    def check(self) -> None:
        """CimError where a value is out of range."""
        options = (
            ("rank_weights", self.rank_weights, ("halving", "uniform")),
            ("self_policy", self.self_policy, filters.POLICIES),
            ("empty", self.empty, ("encode", "zero")),
        )
        for name, value, allowed in options:
            if value not in allowed:
                raise CimError(f"{name} is {value!r}", hint=f"one of {', '.join(allowed)}")
        if self.k < 1 or (self.refuse_constant and self.k < 2 and self.w_g):
            why = "GRC is then 1 for every caption" if self.k == 1 else "it counts the retrieved images"
            raise CimError(f"k is {self.k}: {why}", hint="k of 2 or more")
        if not np.isfinite([self.w_g, self.w_q, self.near]).all():
            raise CimError(f"w_g {self.w_g}, w_q {self.w_q} and near {self.near} must be finite")


PAPER = CimSettings()
SAFE = CimSettings(self_policy="exclude", empty="zero", refuse_constant=True)
EVALUATION = CimSettings(empty="zero", strict=False)  # the paper's, but fewer than K remaining rows are no error
PRESETS = {"paper": PAPER, "safe": SAFE, "evaluation": EVALUATION}


def named(settings: CimSettings | str) -> CimSettings:
    """Settings by name (``PRESETS``); CimError for an unknown one."""
    if isinstance(settings, str) and settings not in PRESETS:
        raise CimError(f"unknown settings {settings!r}", hint=f"one of {', '.join(PRESETS)}")
    return PRESETS[settings] if isinstance(settings, str) else settings
