"""A ``Task`` made from a definition: samples in the order of the references, or of the images' names.

An image belongs to the sample whose row names it, else to the one whose id is its name by a rule of
``forms/ids.py``. Run with ``cim eval --model captions.json --references references.json [--images DIR]``, or
``--task task.toml``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.benchmark import labels
from harness.benchmark.definition import FILES, JUDGEMENTS, PINNED, WHICH, Definition, checked, read
from harness.errors import CimError
from harness.forms import ids, sources, texts
from harness.lines import Lines, mapped
from harness.types import DataFile, Sample, Task

# arXiv 2603.01696 supplement, Figure 6: the prompt of the paper's own benchmarks.
PROMPT = "Caption this image as accurately as possible, without speculation. Describe what you see."
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
JUDGE = "qwen3-8b"
ODD = re.compile(r"[^\w.-]+")  # what the name of a folder had better not hold


def from_file(path: Path) -> Task:
    """The task of a ``task.toml`` or pinned ``task.json``; CimError as ``definition.read`` and ``task``.

    A pinned one whose files have moved or changed since is still known: whoever reads its samples is told what is
    wrong.
    """
    definition = read(path)
    try:
        return task(definition)
    except CimError:
        if path.name != PINNED:
            raise
        return _task(definition, tuple(_pinned_file(definition, name) for name in _used(definition)), [])


def from_options(
    name: str | None = None,
    references: Path | None = None,
    images: Path | None = None,
    samples: Path | None = None,
    prompt: str | None = None,
    keys: tuple[str | None, str | None] = (None, None),
) -> Task:
    """The task of files named on the command line.

    Args:
        name: of the task; the stem of its first file or folder and a hash of the content if None.
        samples: a file of texts of which only the ids are read, in place of references.
        keys: where references, or samples, have ids and texts; guessed if None.

    Raises:
        CimError: not there, not readable, no image.
    """
    tables = dict[str, dict[str, str]]()
    for table, file in (("references", references), ("samples", samples)):
        if file is not None:
            key_names = {"id_key": keys[0], "text_key": keys[1]}
            tables[table] = {"file": str(file), **{key: text for key, text in key_names.items() if text}}
    if images is not None:
        tables["images"] = {"folder": str(images)}
    source = references or samples or images
    assert source is not None, "a benchmark of nothing"
    base = source.absolute().name
    stem = ODD.sub("-", Path(base.removesuffix(".gz")).stem if source.is_file() else base).strip("-.") or "benchmark"
    content = {**tables, **({"prompt": prompt} if prompt else {})}
    if name is None:
        unnamed = checked(stem, content, str(source), Path())
        digests = "".join(_file(unnamed, table).sha256 for table in _used(unnamed))
        name = f"{stem}-{hashlib.sha256(digests.encode()).hexdigest()[:6]}"
    return task(checked(name, content, str(source), Path()))


def task(definition: Definition) -> Task:
    """The task of a definition; its files are read once, to count samples and questions.

    Raises:
        CimError: a file is not there or not readable, has other bytes than its sha256 says, or holds other ids.
    """
    return _task(definition, tuple(_file(definition, name) for name in _used(definition)), _samples(definition))


def _task(definition: Definition, files: tuple[DataFile, ...], samples: Sequence[Sample]) -> Task:
    used = [file.name for file in files]
    n_questions = sum(len(sample.questions) for sample in samples) if "questions" in definition.tables else 0
    provides = {*used, *(["gallery"] if definition.tables.keys() & {"images"} or "gallery" in definition.texts else [])}
    return Task(
        name=definition.name,
        title=definition.texts.get("title", definition.name),
        prompt=definition.texts.get("prompt", PROMPT),
        files=files,
        count=len(samples),
        provides=frozenset(provides - {"images", "samples"}),
        load=lambda _: _samples(definition),
        licence=definition.texts.get("licence", "not stated"),
        source=definition.texts.get("source", "files of the user's own"),
        folder=definition.path(used[0]).parent,
        version=definition.texts.get("version", "1"),
        judge=definition.texts.get("judge", JUDGE) if n_questions else None,
        gallery=definition.texts.get("gallery"),
        questions=n_questions,
        images=definition.path("images") if "images" in definition.tables else None,
        definition=definition.pinned({file.name: file.sha256 for file in files}),
    )


def _used(definition: Definition) -> list[str]:
    """The tables whose files make the benchmark what it is: all texts and annotations, else the images."""
    return [name for name in FILES if name in definition.tables and name != JUDGEMENTS] or ["images"]


def _pinned_file(definition: Definition, name: str) -> DataFile:
    """A file as it was pinned, there or not; its size is not pinned, so that a change is told by its hash."""
    path = definition.path(name)
    size = path.stat().st_size if path.is_file() else 0
    return DataFile(name, size, definition.tables[name].get("sha256", ""), path=path)


def _file(definition: Definition, name: str) -> DataFile:
    path, expected = definition.path(name), definition.tables[name].get("sha256")
    size, sha256 = folder_digest(path, name) if name == "images" or path.is_dir() else _digest(path)
    if expected not in (None, sha256):
        hint = "restore it, or give the benchmark another name or version"
        raise CimError(f"has sha256 {sha256[:16]}..., {str(expected)[:16]}... expected", where=str(path), hint=hint)
    return DataFile(name, size, sha256, path=path)


def _digest(path: Path) -> tuple[int, str]:
    try:
        return path.stat().st_size, sources.digest(path)
    except OSError as error:
        raise CimError(f"cannot be read ({error.strerror})", where=str(path)) from error


def folder_digest(folder: Path, kind: str) -> tuple[int, str]:
    """Bytes of all images of a folder, or of its texts if it is no folder of ``images``; sha256 of names and hashes."""
    names = image_names(folder) if kind == "images" else [path.name for path in sources.texts_in(folder)]
    sizes, lines = 0, list[str]()
    for name in names:
        size, sha256 = _digest(folder / name)
        sizes += size
        lines.append(f"{sha256} {name}")
    return sizes, hashlib.sha256("\n".join(lines).encode()).hexdigest()


def image_names(folder: Path) -> list[str]:
    """Paths of the images below a folder, relative to it, sorted.

    Raises:
        CimError: no folder, or no image in it.
    """
    if not folder.is_dir():
        raise CimError("no such folder", where=str(folder), hint="--images DIR, with the images in it")
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
    if not names:
        raise CimError("no image in this folder", where=str(folder), hint=f"files ending in {' '.join(SUFFIXES)}")
    return names


def _samples(definition: Definition) -> Sequence[Sample]:
    if table := next((name for name in WHICH if name in definition.tables), None):
        samples = _of_texts(definition, table)
    else:
        names = image_names(definition.path("images"))
        stems = [name.rpartition(".")[0] for name in names]
        single = len(set(stems)) == len(stems)
        return [Sample(stem if single else name, (), name) for stem, name in zip(stems, names, strict=True)]
    by_kind = {
        kind: labels.by_id(definition.path(kind), table.get("id_key"), table.get("key"))
        for kind, table in definition.tables.items()
        if kind not in (*WHICH, "images")
    }
    matched = {kind: _by_sample(values, samples, definition.path(kind)) for kind, values in by_kind.items()}
    return mapped(samples, lambda sample: _annotated(sample, matched, definition)) if matched else samples


def _of_texts(definition: Definition, name: str) -> Sequence[Sample]:
    path, table = definition.path(name), definition.tables[name]
    kind = texts.REFERENCES if name == "references" else texts.CAPTIONS
    rows = texts.read(path, kind, table.get("id_key"), table.get("text_key")).rows
    if isinstance(rows, Lines) and kind is texts.REFERENCES and "images" not in definition.tables:
        return rows.mapped(lambda row: Sample(row.id, row.texts, row.image))
    references, files = dict[str, tuple[str, ...]](), dict[str, str]()
    for row in rows:
        references[row.id] = references.get(row.id, ()) + (row.texts if name == "references" else ())
        if row.image:
            files[row.id] = row.image
    if "images" in definition.tables:
        files = _images(list(references), files, definition.path("images"))
    return [Sample(name, of_image, files.get(name, "")) for name, of_image in references.items()]


def _images(names: list[str], named: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The file of each sample's image, relative to the folder; a file that is missed when it is needed otherwise."""
    files = image_names(folder)
    known, base_names = set(files), {Path(name).name: name for name in files}
    images = {}
    _, by_rule = ids.matched(files, names)
    for name in names:
        row = named.get(name, "")
        images[name] = next(
            (file for file in (row, base_names.get(Path(row).name), by_rule.get(name)) if file in known), row or name
        )
    if not known & set(images.values()):
        first, image = names[0], files[0]
        raise CimError(f"no image belongs to an id: {first!r} ..., {image!r} ...", where=str(folder))
    return images


def _by_sample(values: Mapping[str, list[Any]], samples: Sequence[Sample], path: Path) -> dict[str, list[Any]]:
    """Annotations by sample id, ids matched as those of captions are; CimError where none matches."""
    names = [sample.id for sample in samples]
    _, matched = ids.matched(values.keys(), names)
    by_sample = {name: values[matched.get(name, name)] for name in names if matched.get(name, name) in values}
    if not by_sample:
        raise CimError(f"its ids are not those of the references: {min(values, default='none')!r} ...", where=str(path))
    return by_sample


def _annotated(sample: Sample, matched: Mapping[str, Mapping[str, list[Any]]], definition: Definition) -> Sample:
    of_sample = {kind: (values.get(sample.id, []), str(definition.path(kind))) for kind, values in matched.items()}
    return Sample(
        sample.id,
        sample.references,
        sample.image,
        labels.objects(*of_sample["objects"]) if "objects" in of_sample else (),
        labels.attributes(*of_sample["attributes"]) if "attributes" in of_sample else {},
        labels.questions(*of_sample["questions"], definition.tables["questions"]) if "questions" in of_sample else (),
        coco_objects=labels.objects(*of_sample["coco_objects"]) if "coco_objects" in of_sample else (),
    )
