# Never run in training; ms-swift 4.6.0 has loaded it, its rewards were called by hand and by a test as ms-swift does.
"""The CIM reward for ms-swift, from the reward server of this project: ``--external_plugins cim_plugin.py``.

ms-swift (modelscope/ms-swift@3602360, 4.6.0.dev0; ``swift/rl_core/grpo_algorithm.py``) makes an object of the class and
calls it with the completions and, by name, every further column of the data; ``source_id`` is the image's gallery key
(``recipes/prepare.py``). ``--reward_funcs cim``, or ``cim_grc cim_qir`` for two terms that are logged apart.
``CIM_SERVER`` is the address of the server, ``CIM_GALLERY`` the sha256 of the gallery that must be served.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import reward_client
from swift.rewards import ORM, orms


def _values(completions: Sequence[str], source_id: Sequence[str], name: str) -> list[float]:
    address = os.environ.get("CIM_SERVER", reward_client.ADDRESS)
    batch = reward_client.score(completions, source_id, address, os.environ.get("CIM_GALLERY"))
    return [float(value) for value in batch[name]]


class Cim(ORM):
    """GRC + QIR."""

    def __call__(self, completions: Sequence[str], source_id: Sequence[str], **_: Any) -> list[float]:
        return _values(completions, source_id, "reward")


class CimGrc(ORM):
    """GRC alone."""

    def __call__(self, completions: Sequence[str], source_id: Sequence[str], **_: Any) -> list[float]:
        return _values(completions, source_id, "grc")


class CimQir(ORM):
    """QIR alone."""

    def __call__(self, completions: Sequence[str], source_id: Sequence[str], **_: Any) -> list[float]:
        return _values(completions, source_id, "qir")


orms.update({"cim": Cim, "cim_grc": CimGrc, "cim_qir": CimQir})
