"""Oxford-IIIT Pet: 37 breeds of cats and dogs, for asking whether a caption names species and breed.

The 3,669 images of the official test list: which ones the paper's Figure 2 shows is not released, and a choice of our
own could be turned either way. No reference captions, so metrics that need them do not apply. The annotations stay in
their archive, whose sum is published, and the list is read from it (half a second). Parkhi et al., CVPR 2012. Run with
``cim eval --model M --task pets``.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from harness.types import Archive, DataFile, Sample, Task
from tasks import _sc_captioner

LIST = "annotations/test.txt"
SPECIES = {"1": "cat", "2": "dog"}
_ADDRESS = "https://www.robots.ox.ac.uk/~vgg/data/pets/data"
_LICENCE = "CC BY-SA 4.0 (Visual Geometry Group, Oxford)"
_SOURCE = "www.robots.ox.ac.uk/~vgg/data/pets"
_FILE = DataFile(
    name="annotations.tar.gz",
    bytes=19_173_078,
    sha256="52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
    url=f"{_ADDRESS}/annotations.tar.gz",
)


def breed(stem: str) -> str:
    """``American Bulldog`` of ``american_bulldog_203``: every word capitalised, dogs as the files have cats."""
    return " ".join(word.capitalize() for word in stem.split("_")[:-1])


def _load(folder: Path) -> list[Sample]:
    """Rows of the list are ``<file stem> <class> <species> <breed of the species>``."""
    rows = [line.split() for line in _member(folder / _FILE.name, LIST).splitlines()]
    return [
        Sample(id=stem, references=(), image=f"{stem}.jpg", species=SPECIES[species], breed=breed(stem))
        for stem, _, species, _ in rows
    ]


def _member(archive: Path, name: str) -> str:
    """Text of one file of a .tar.gz, read up to that file."""
    with tarfile.open(archive, "r|gz") as stream:
        for entry in stream:
            if entry.name.removeprefix("./") == name and (member := stream.extractfile(entry)):
                return member.read().decode("ascii")
    return ""


TASK = Task(
    name="pets",
    title="Oxford-IIIT Pet",
    prompt=_sc_captioner.PROMPT,
    files=(_FILE,),
    count=3669,
    provides=frozenset({"taxonomy"}),
    load=_load,
    licence=_LICENCE,
    source=_SOURCE,
    archive=Archive(
        url=f"{_ADDRESS}/images.tar.gz",
        bytes=791_918_971,
        sha256="67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
        member=lambda sample: f"images/{sample.image}",
        licence=_LICENCE,
        source=_SOURCE,
        kept=0.6,
    ),
)
