"""Readers of image-caption pairs for galleries: one per format, each in a fixed order; images are not opened here.

``refinedcaps`` (train_coco6k_sft.json: the reference is ``conversations[1].value``), ``densefusion`` (DenseFusion-1M
jsonl: ``image_path``, ``caption``), ``docci`` (docci_descriptions.jsonlines, its train split), ``jsonl`` (``image``,
``caption``, optionally ``id`` per line), ``folder`` (images, each with a ``.txt`` of the same stem) and ``webdataset``
(uncompressed .tar shards). Texts are UTF-8. The first three have not been run on the real files, which are not public
here; their layout is that of the released code. A synthetic environment yields its scenes with their full captions,
each drawn when it is needed: ``N`` are the first N of its gallery split, ``train:N`` those that training sees first,
for a gallery that holds a policy's own images.
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
from harness.images import SUFFIXES
from harness.store import regular
from harness.worlds import World

SPLITS = ("gallery", "train")  # of a synthetic environment; the first one is the default


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an uncompressed archive, as a byte range of it; a call reads its bytes."""

    archive: Path
    name: str
    offset: int
    size: int

    def __call__(self) -> bytes:
        with self.archive.open("rb") as stream:
            stream.seek(self.offset)
            return stream.read(self.size)

    def __str__(self) -> str:
        return f"{self.archive.name}: {self.name}"


@dataclass(frozen=True, slots=True)
class Pair:
    """One image with one caption: source name, id there, caption, and the image file or a function to its bytes."""

    source: str
    image_id: str
    caption: str
    image: Path | Callable[[], bytes]

    @property
    def place(self) -> str:
        """What messages call the image: its file, or archive and member."""
        return str(self.image) if isinstance(self.image, Path | Member) else f"{self.source}:{self.image_id}"

    def there(self) -> bool:
        """Whether the image can be read; a function always can."""
        return not isinstance(self.image, Path) or self.image.is_file()


Reader = Callable[[Path, Path], Iterator[Pair]]


def _inside(images: Path, name: str, where: str) -> Path:
    path = PurePosixPath(name)
    if ".." in path.parts or not name or (path.is_absolute() and not path.is_relative_to(images.absolute().as_posix())):
        raise CimError(f"the image path {name!r} leads out of {images}", where=where)
    return images / name


def _decoded(content: bytes, where: str) -> str:
    """A text in UTF-8, a byte order mark left out; CimError where it is none, bytes counted from 1."""
    hint = "save it as UTF-8"
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise CimError(f"invalid UTF-8 at byte {error.start + 1}", where=where, hint=hint) from error
    if "\0" in text:  # UTF-16 of Latin letters without a byte order mark is valid UTF-8
        raise CimError(f"a NUL character at byte {content.index(0) + 1}", where=where, hint=hint)
    return text.removeprefix("\ufeff")


def _json(content: bytes, where: str) -> Any:
    try:
        return json.loads(_decoded(content, where))
    except (ValueError, RecursionError) as error:
        raise CimError(f"is not JSON ({error})", where=where) from error


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and content of each line of a JSON-lines file."""
    with regular(path).open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            row = _json(line, where := f"{path}:{number}")
            if not isinstance(row, dict):
                raise CimError("is not a JSON object", where=where)
            yield where, row


def _text(row: dict[str, Any], name: str, where: str) -> str:
    value = row.get(name)
    if isinstance(value, list | dict):
        kind = "a list" if isinstance(value, list) else "an object"
        raise CimError(f"{name} is {kind}: {json.dumps(value)[:60]}", where=where, hint="one string is expected")
    if not isinstance(value, str) or not value.strip():
        raise CimError(f"no text under {name!r}", where=where)
    return value


def _refinedcaps(path: Path, images: Path) -> Iterator[Pair]:
    rows = _json(regular(path).read_bytes(), str(path))
    if not isinstance(rows, list):
        keys = f"; its keys: {', '.join(map(str, rows))[:60]}" if isinstance(rows, dict) else ""
        what = f"is {'an object' if isinstance(rows, dict) else 'a single value'}, not a list of rows{keys}"
        raise CimError(what, where=str(path), hint="write the list alone")
    for number, row in enumerate(rows):
        where = f"{path}: row {number}"
        if not isinstance(row, dict):
            raise CimError("is not a JSON object", where=where)
        turns, name = row.get("conversations"), _image_name(row, path, where)
        if not isinstance(turns, list) or len(turns) < 2 or not isinstance(turns[1], dict):
            raise CimError("no question and answer under 'conversations'", where=where)
        if PurePosixPath(name).is_absolute():  # the file was written on another machine
            name = Path(name).name
        yield Pair("refinedcaps", Path(name).stem, _text(turns[1], "value", where), _inside(images, name, where))


def _image_name(row: dict[str, Any], path: Path, where: str) -> str:
    """What ``image`` names, or the only entry of ``images``."""
    field = "image" if row.get("image") else "images"
    if not (value := row.get(field)):
        hint = f"leave such rows out: jq 'map(select(.image // .images))' {path.name}"
        raise CimError("has no image (text only)", where=where, hint=hint)
    if field == "images" and isinstance(value, list) and len(value) == 1:
        (value,) = value
    return _text({field: value}, field, where)


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
    files = sorted(file for file in path.rglob("*") if not file.is_dir())
    pictures = [file for file in files if file.suffix.lower() in SUFFIXES]
    stems = {file.with_suffix("") for file in pictures}
    if alone := [file for file in files if file.suffix == ".txt" and file.with_suffix("") not in stems]:
        hint = f"images end in {', '.join(SUFFIXES)}; move other texts away"
        raise CimError("has no image of its name beside it", where=str(alone[0]), hint=hint)
    for image in pictures:
        text = image.with_suffix(".txt")
        if not text.is_file():
            raise CimError("has no caption", where=str(image), hint=f"write it to {text.name}")
        caption = _decoded(text.read_bytes(), str(text))
        if not caption.strip():
            raise CimError("is empty", where=str(text), hint="write a caption, or move its image away")
        yield Pair(path.name, str(image.relative_to(path)), caption, image)


def _webdataset(path: Path, images: Path) -> Iterator[Pair]:
    """Pairs of one shard, or of all ``.tar`` below a folder; members of a pair are adjacent and share their folder and
    their name up to its first dot."""
    if packed := sorted(file for end in ("tar.*", "tgz") for file in path.rglob(f"*.{end}")):
        raise CimError("is compressed", where=str(packed[0]), hint="unpack it to .tar: an image is a byte range of it")
    for shard in sorted(path.rglob("*.tar")) if path.is_dir() else [path]:
        known = str(shard.relative_to(path).with_suffix("")) if path.is_dir() else shard.stem
        key, caption, image = "", "", None
        for member in _members(shard):
            name = PurePosixPath(member.name)
            stem, _, suffix = name.name.partition(".")
            if not stem:
                continue
            if str(name.parent / stem) != key:
                yield from _whole(path.stem, known, shard, key, caption, image)
                key, caption, image = str(name.parent / stem), "", None
            kind = suffix.lower()
            if f".{kind}" in SUFFIXES:
                if image is not None:
                    raise CimError(f"a second image beside {image.name}", where=str(member), hint="rename one of them")
                image = member
            elif kind in ("txt", "caption"):
                caption = _decoded(member(), str(member))
            elif kind == "json" and not caption:
                content = _json(member(), str(member))
                caption = str(content.get("caption") or "") if isinstance(content, dict) else ""
        yield from _whole(path.stem, known, shard, key, caption, image)


def _members(shard: Path) -> Iterator[Member]:
    """The files of an uncompressed archive, so that an image is a byte range of it."""
    try:
        with tarfile.open(regular(shard), "r:") as archive:
            for member in archive:
                if member.isfile():
                    yield Member(shard, member.name, member.offset_data, member.size)
    except tarfile.TarError as error:
        raise CimError(f"is not an uncompressed webdataset shard ({error})", where=str(shard)) from error


def _whole(source: str, known: str, shard: Path, key: str, caption: str, image: Member | None) -> Iterator[Pair]:
    if key and (image is None or not caption.strip()):
        raise CimError(f"{key!r} has no {'image' if image is None else 'caption'}", where=str(shard))
    if image is not None:
        yield Pair(source, f"{known}/{key}", caption, image)


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
    if split not in SPLITS or not (count.isascii() and count.isdigit() and len(count) < 8) or int(count) < 1:
        raise CimError(f"--from {name} {scenes[:20]!r}", hint=f"--from {name} N, or {name} train:N, how many scenes")
    samples = world.samples(split, int(count))
    return (Pair(world.name, sample.id, sample.references[0], partial(world.draw, sample.id)) for sample in samples)
