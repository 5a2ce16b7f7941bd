"""Merges the parts of a gallery into its files: counts repeats, finds benchmark images, writes the manifest last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import store
from harness.errors import CimError
from harness.resources import data
from harness.retrieval import leaks
from harness.retrieval.gallery import FORMAT, IDS, IMAGE, MANIFEST, TEXT, TEXT_FINE, digest, key
from harness.runs import form

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.parts import Vectors

PART_ROW = {"source": str, "image": str, "caption_sha256": str, "image_sha256": str}


def merge(
    folder: Path,
    parts: Path,
    count: int,
    facts: Mapping[str, Any],
    encode: Callable[[Sequence[str]], Vectors] | None,
) -> None:
    """Write the files of a gallery from its parts.

    Args:
        facts: settings and findings for the manifest.
        encode: image paths to embeddings, to compare with benchmark images; None if there are none here.

    Raises:
        CimError: one id names two images, or a row shows a benchmark's image and ``drop_near`` is off.
    """
    listed, hint = [parts / f"{number:06d}.ids.jsonl" for number in range(count)], "delete it, then the same command"
    rows = [row for path in listed for row in form.rows(path, PART_ROW, hint)]
    counted, repeated = repeats(rows)
    dropped, benchmarks = set(repeated) if facts["dedupe"] else set[int](), dict(facts["benchmarks"])
    if encode is not None:
        leaking, findings = leaks.by_content([row["image_sha256"] for row in rows], _blocks(parts, "I", count), encode)
        for task, lines in leaking.items():
            findings[task] += f", {len(lines)} rows dropped" if lines else ", none found"
            if lines and not facts["drop_near"]:
                first, what = rows[lines[0]], f"{len(lines)} rows show images of {task} or near-duplicates"
                hint = "leave them out of the sources, or drop them with --drop-near"
                raise CimError(f"{what}, first {key(first['source'], first['image'])!r}", hint=hint)
            dropped |= set(lines)
        benchmarks |= {task: f"{benchmarks.get(task, '')}; {text}".lstrip("; ") for task, text in findings.items()}
    keep = np.array([row not in dropped for row in range(len(rows))])
    kinds: dict[str, tuple[str, type[Any]]] = {TEXT: ("T", np.float16), IMAGE: ("I", np.float16)}
    if facts["fine"]:
        kinds[TEXT_FINE] = ("T", np.float32)
    shapes = {name: _matrix(folder / name, parts, kind, count, keep, dtype) for name, (kind, dtype) in kinds.items()}
    kept = [row for row, stays in zip(rows, keep.tolist(), strict=True) if stays]
    store.write_rows(folder / IDS, kept)
    files = {name: data.sha256(folder / name) for name in (*shapes, IDS)}
    contents = {
        "n": len(kept),
        "dims": {"text": shapes[TEXT][1], "image": shapes[IMAGE][1]},
        "repeats": {**counted, "dropped": len(repeated) if facts["dedupe"] else 0},
        "benchmarks": benchmarks,
        "sha256": digest(files),
        "files": files,
    }
    store.write_document(folder / MANIFEST, {"format": FORMAT, **facts, **contents})


def repeats(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, int], list[int]]:
    """How many rows repeat an image, a caption, and both; and the rows that repeat both."""
    images, captions, pairs, ids = set[str](), set[str](), set[tuple[str, str]](), dict[str, str]()
    repeated = list[int]()
    for at, row in enumerate(rows):
        image, caption, name = row["image_sha256"], row["caption_sha256"], key(row["source"], row["image"])
        if ids.setdefault(name, image) != image:
            raise CimError(f"{name!r} names two different images", hint="give each image an id of its own")
        if (image, caption) in pairs:
            repeated.append(at)
        images.add(image)
        captions.add(caption)
        pairs.add((image, caption))
    return {"images": len(rows) - len(images), "captions": len(rows) - len(captions), "pairs": len(repeated)}, repeated


def _blocks(parts: Path, kind: str, count: int) -> Iterator[NDArray[Any]]:
    for number in range(count):
        path = parts / f"{number:06d}.{kind}.npy"
        try:
            yield np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            hint = f"delete {number:06d}.* there, then the same command"
            raise CimError(f"is damaged ({error})", where=str(path), hint=hint) from error


def _matrix(
    path: Path, parts: Path, kind: str, count: int, keep: NDArray[np.bool_], dtype: type[Any]
) -> tuple[int, int]:
    """Write one matrix block by block, the rows of ``keep`` only; its shape."""
    shape = (int(keep.sum()), next(_blocks(parts, kind, count)).shape[1])
    temporary = path.with_name(path.name + ".tmp")
    open_memmap: Any = np.lib.format.open_memmap  # numpy gives it no types
    matrix = open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
    start = read = 0
    for block in _blocks(parts, kind, count):
        stays = block[keep[read : read + len(block)]]
        matrix[start : start + len(stays)] = stays
        start, read = start + len(stays), read + len(block)
    matrix.flush()
    del matrix
    temporary.replace(path)
    return shape
