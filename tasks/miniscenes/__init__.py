"""Miniscenes: 500 small rendered scenes with ground-truth graphs, embedded; runs on any machine in seconds.

Objects (family = species, fine name = breed), colours, sizes, textures, places, relations, backgrounds;
five relation questions a scene. Run with ``cim eval --model M --task miniscenes``.
"""

from pathlib import Path

from harness.types import DataFile, Task
from tasks.miniscenes import draw, samples, world

FILE = DataFile(
    name=samples.FILE.name,
    bytes=389582,
    sha256="a3a7cf9304bda28bf98892afbdacdda17b960d4fd4ce7354e440c8e7796fba11",
)


TASK = Task(
    name="miniscenes",
    title="Miniscenes",
    prompt="describe the scene .",
    files=(FILE,),
    count=world.SPLITS["test"],
    provides=frozenset({"references", "graph", "questions", "taxonomy", "gallery"}),
    load=samples.load,
    licence="Apache-2.0",
    source="made by this project",
    folder=Path(__file__).parent,
    draw=draw.picture,
    parser="grammar",
    judge="rule-judge",
    gallery="miniscenes-1000",
)
