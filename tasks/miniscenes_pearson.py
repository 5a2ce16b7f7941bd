"""Miniscenes for the correlation study: 3,000 more scenes, to ask whether the reward follows what captions say.

Captions of random detail are looked up, and GRC, QIR and reward compared with how many fine names are right (the
paper's Figure 2). Their captions are written and scored by ``cim study --pearson``, which ``make ablation`` runs.
"""

from dataclasses import replace

from harness.types import DataFile
from tasks.miniscenes import TASK as MINISCENES
from tasks.miniscenes import pearson, world

TASK = replace(
    MINISCENES,
    name="miniscenes_pearson",
    title="Miniscenes, correlation study",
    files=(
        DataFile(
            name=pearson.PIN.name,
            bytes=116,
            sha256="6de2de9eaa72b9ddd3547869526f5ac6e652857b9edaaa78f4beba24721d471e",
        ),
    ),
    count=world.SPLITS[pearson.SPLIT],
    load=pearson.load,
    folder=pearson.PIN.parent,
)
