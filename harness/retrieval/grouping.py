"""Pairs counted and put together: several captions of one image, repeats, and what identifies them all.

The digest covers ids, captions and the sizes of image files in bytes, not their bytes: it is taken anew whenever a
gallery or a training run goes on, and a million images would take an hour to read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import CimError
from harness.retrieval.gallery import key
from harness.retrieval.sources import Member, Pair


class PairDigest:
    """A running sha256 of pairs in their order."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()

    def add(self, pair: Pair) -> None:
        """Include a pair; the size of a missing image or of one that is drawn is -1."""
        size = -1
        if isinstance(pair.image, Member):
            size = pair.image.size
        elif isinstance(pair.image, Path) and pair.image.is_file():
            size = pair.image.stat().st_size
        for text in (pair.source, pair.image_id, pair.caption, str(size)):
            content = text.encode(errors="surrogatepass")
            self._sha.update(b"%d:" % len(content) + content)

    def hex(self) -> str:
        """The digest of what was added."""
        return self._sha.hexdigest()


@dataclass(frozen=True, slots=True)
class Grouped:
    """Images by the key of their first pair, their distinct captions in order, and counts of pairs."""

    first: Mapping[str, Pair]
    captions: Mapping[str, list[str]]
    read: int
    repeated: int
    sha256: str

    @property
    def counted(self) -> str:
        """The counts, as a command prints them."""
        captions = sum(map(len, self.captions.values()))
        repeated = f", {self.repeated} repeat an image and its caption" if self.repeated else ""
        return f"{self.read} pairs read: {len(self.first)} images with {captions} captions{repeated}"


def group(pairs: Iterable[Pair]) -> Grouped:
    """Each image once, with all its captions; an image under several ids is the one of its first id.

    Raises:
        CimError: two images have one key.
    """
    first, captions, keys, digest = dict[str, Pair](), dict[str, list[str]](), dict[object, str](), PairDigest()
    read = repeated = 0
    for pair in pairs:
        read += 1
        digest.add(pair)
        name = key(pair.source, pair.image_id)
        if name in first and first[name].image != pair.image:
            what = f"has the key {name!r} of another image, {first[name].place}"
            raise CimError(what, where=pair.place, hint="rename one of them")
        name = keys.setdefault(pair.image, name)
        first.setdefault(name, pair)
        listed = captions.setdefault(name, [])
        repeated += pair.caption in listed
        listed += [pair.caption] if pair.caption not in listed else []
    return Grouped(first, captions, read, repeated, digest.hex())
