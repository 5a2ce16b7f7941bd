"""Readers of image-caption pairs for galleries: one per format, each in a fixed order; images are not opened here.

``refinedcaps`` (train_coco6k_sft.json: the reference is ``conversations[1].value``), ``densefusion`` (DenseFusion-1M
jsonl: ``image_path``, ``caption``), ``docci`` (docci_descriptions.jsonlines, its train split), ``jsonl`` (``image``,
``caption``, optionally ``id`` per line), ``folder`` (images, each with a ``.txt`` of the same stem) and ``webdataset``
(uncompressed .tar shards). The first three have not been run on the real files, which are not public here; their
layout is that of the released code. A synthetic environment yields its scenes with their full captions, each drawn when
it is needed: ``N`` are the first N of its gallery split, ``train:N`` those that training sees first, for a gallery that
holds a policy's own images.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from harness import registry
from harness.errors import CimError
from harness.types import World

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
SPLITS = ("gallery", "train")  # of a synthetic environment; the first one is the default


@dataclass(frozen=True, slots=True)
class Pair:
    """One image with one caption: source name, id there, caption, and the image file or a function to its bytes."""

    source: str
    image_id: str
    caption: str
    image: Path | Callable[[], bytes]

    def there(self) -> bool:
        """Whether the image can be read; a function always can."""
        return not isinstance(self.image, Path) or self.image.is_file()


Reader = Callable[[Path, Path], Iterator[Pair]]


def _inside(images: Path, name: str, where: str) -> Path:
    path = PurePosixPath(name)
    if ".." in path.parts or not name or (path.is_absolute() and not path.is_relative_to(images.absolute().as_posix())):
        raise CimError(f"the image path {name!r} leads out of {images}", where=where)
    return images / name


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and content of each line of a JSON-lines file."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise CimError(f"is not JSON ({error})", where=f"{path}:{number}") from error
            if not isinstance(row, dict):
                raise CimError("is not a JSON object", where=f"{path}:{number}")
            yield f"{path}:{number}", row


def _text(row: dict[str, Any], name: str, where: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise CimError(f"no text under {name!r}", where=where)
    return value


def _refinedcaps(path: Path, images: Path) -> Iterator[Pair]:
    try:
        rows = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CimError(f"is not JSON ({error})", where=str(path)) from error
    for number, row in enumerate(rows if isinstance(rows, list) else ()):
        where = f"{path}: row {number}"
        if not isinstance(row, dict):
            raise CimError("is not a JSON object", where=where)
        turns, name = row.get("conversations"), row.get("image") or (row.get("images") or [""])[0]
        if not isinstance(turns, list) or len(turns) < 2 or not isinstance(turns[1], dict) or not isinstance(name, str):
            raise CimError("no image and two conversations", where=where)
        if PurePosixPath(name).is_absolute():  # the file was written on another machine
            name = Path(name).name
        yield Pair("refinedcaps", Path(name).stem, _text(turns[1], "value", where), _inside(images, name, where))


def _densefusion(path: Path, images: Path) -> Iterator[Pair]:
    for where, row in _lines(path):
        name = _text(row, "image_path", where)
        yield Pair("densefusion", name, _text(row, "caption", where), _inside(images, name, where))


def _docci(path: Path, images: Path) -> Iterator[Pair]:
    for where, row in _lines(path):
        if row.get("split") == "train":
            file = _inside(images, _text(row, "image_file", where), where)
            yield Pair("docci", _text(row, "example_id", where), _text(row, "description", where), file)


def _jsonl(path: Path, images: Path) -> Iterator[Pair]:
    for where, row in _lines(path):
        name = _text(row, "image", where)
        known = _text(row, "id", where) if "id" in row else name
        yield Pair(path.stem, known, _text(row, "caption", where), _inside(images, name, where))


def _folder(path: Path, images: Path) -> Iterator[Pair]:
    for image in sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES):
        text = image.with_suffix(".txt")
        if not text.is_file():
            raise CimError("has no caption", where=str(image), hint=f"write it to {text.name}")
        yield Pair(path.name, str(image.relative_to(path)), text.read_text(encoding="utf-8"), image)


def _bytes(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as stream:
        stream.seek(offset)
        return stream.read(size)


def _webdataset(path: Path, images: Path) -> Iterator[Pair]:
    """Pairs of one shard, or of all ``.tar`` in a folder; members of a pair are adjacent and share the name up to
    its first dot."""
    for shard in sorted(path.glob("*.tar")) if path.is_dir() else [path]:
        key, caption, image = "", "", None
        try:
            with tarfile.open(shard, "r:") as members:  # uncompressed, so that an image is a byte range of the shard
                for member in members:
                    stem, _, suffix = PurePosixPath(member.name).name.partition(".")
                    if not member.isfile() or not stem:
                        continue
                    if stem != key:
                        yield from _whole(path, shard, key, caption, image)
                        key, caption, image = stem, "", None
                    content = partial(_bytes, shard, member.offset_data, member.size)
                    if f".{suffix.lower()}" in SUFFIXES:
                        image = content
                    elif suffix in ("txt", "caption"):
                        caption = content().decode(errors="replace")
                    elif suffix == "json" and not caption:
                        caption = str(json.loads(content()).get("caption") or "")
        except (tarfile.TarError, ValueError, AttributeError) as error:
            raise CimError(f"is not an uncompressed webdataset shard ({error})", where=str(shard)) from error
        yield from _whole(path, shard, key, caption, image)


def _whole(path: Path, shard: Path, key: str, caption: str, image: Callable[[], bytes] | None) -> Iterator[Pair]:
    if key and (image is None or not caption.strip()):
        raise CimError(f"{key!r} has no {'image' if image is None else 'caption'}", where=str(shard))
    if image is not None:
        yield Pair(path.stem, f"{shard.stem}/{key}", caption, image)


READERS: dict[str, Reader] = {
    "refinedcaps": _refinedcaps,
    "densefusion": _densefusion,
    "docci": _docci,
    "jsonl": _jsonl,
    "folder": _folder,
    "webdataset": _webdataset,
}


def read(kind: str, path: Path, images: Path | None = None) -> Iterator[Pair]:
    """Pairs of a source in its order; ``images`` is where its image paths begin (default: the file's own folder).

    Raises:
        CimError: no such kind or file, or an invalid row; names it.
    """
    if kind not in READERS:
        raise CimError(f"unknown source {kind!r}", hint=f"one of {', '.join(READERS)}")
    if not path.exists():
        raise CimError("is not there", where=str(path))
    return READERS[kind](path, images or path.parent)


def worlds() -> dict[str, World]:
    """The synthetic environments of all trainings, by name."""
    trainings = map(registry.training, registry.names("trainings"))
    return {name: world for training in trainings for name, world in training.worlds.items()}


def read_world(name: str, scenes: str) -> Iterator[Pair]:
    """The first scenes of an environment's split, ``N`` or ``SPLIT:N``.

    Raises:
        CimError: no such split, or no such number.
    """
    world = worlds()[name]
    split, _, count = scenes.rpartition(":")
    split = split or SPLITS[0]
    if split not in SPLITS or not (count.isascii() and count.isdigit()) or int(count) < 1:
        raise CimError(f"--from {name} {scenes[:20]!r}", hint=f"--from {name} N, or {name} train:N, how many scenes")
    samples = world.samples(split, int(count))
    return (Pair(world.name, sample.id, sample.references[0], partial(world.draw, sample.id)) for sample in samples)
