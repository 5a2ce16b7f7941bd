"""Builds a gallery: pairs are encoded in parts, parts are merged; the same command resumes a killed build.

A part is 1,024 pairs in the order of the sources, so that its embeddings do not depend on how many processes share the
work: process ``i`` of ``n`` makes the parts with number ``i`` modulo ``n``; the last to finish merges.
Run with ``cim gallery build NAME --from refinedcaps train_coco6k_sft.json IMAGES [--shard 0/8]``.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import store
from harness.cluster import pool
from harness.encoders import _weights
from harness.errors import CimError, SettingsError
from harness.parts import Encoder
from harness.resources import data
from harness.retrieval import gallery, leaks
from harness.retrieval.gallery import IDS, IMAGE, MANIFEST, TEXT, TEXT_FINE, Encode, key, unit
from harness.retrieval.grouping import PairDigest
from harness.retrieval.merge import PART_ROW, merge
from harness.retrieval.sources import Pair
from harness.runs import form
from harness.types import Track, untracked

if TYPE_CHECKING:
    from numpy.typing import NDArray

PART = 1024
PARTS, PLAN = "parts", "plan.json"


@dataclass(frozen=True, slots=True)
class Plan:
    """A gallery to be built.

    ``pairs`` reads the sources anew; ``sources`` says what they are. ``fine`` also keeps caption embeddings at float32;
    ``dedupe`` drops pairs of equal image bytes and caption; ``drop_near`` drops rows that show a benchmark's image,
    which are an error without it; ``allow_missing`` leaves out pairs whose image file is missing. ``workers`` threads
    read images, which changes no byte.
    """

    folder: Path
    pairs: Callable[[], Iterator[Pair]]
    sources: Sequence[Mapping[str, str]]
    text: Encoder
    image: Encoder
    fine: bool = False
    dedupe: bool = False
    drop_near: bool = False
    allow_missing: bool = False
    workers: int = 1

    def settings(self) -> dict[str, Any]:
        """What identifies the build; one that was started resumes only with equal settings."""
        return {
            "text_encoder": gallery.described(self.text),
            "image_encoder": gallery.described(self.image),
            "sources": [dict(source) for source in self.sources],
            "fine": self.fine,
            "dedupe": self.dedupe,
            "drop_near": self.drop_near,
            "allow_missing": self.allow_missing,
        }


def build(
    plan: Plan, shard: tuple[int, int] = (0, 1), track: Track = untracked, cluster: pool.Cluster | None = None
) -> bool:
    """Make the missing parts of this shard; merges and returns True if all parts of the gallery are there.

    Args:
        cluster: whose actors encode the parts; this process alone writes them.

    Raises:
        CimError: an image is missing, unusable or from a benchmark; the sources changed; an embedding is not finite.
        SettingsError: a gallery of this name was started or built with other settings.
    """
    index, of = shard
    if not 0 <= index < of:
        raise CimError(f"shard {index}/{of}", hint="0/8 to 7/8 for eight processes")
    for kind, encoder in (("text", plan.text), ("image", plan.image)):
        if encoder.kind != kind:
            raise CimError(f"encoder {encoder.name} is of {encoder.kind}s, not of {kind}s", hint="cim list encoders")
    _agree(plan.folder, plan.settings())
    survey = _survey(plan)  # sources that are refused leave nothing behind
    settings = {**plan.settings(), "pairs_sha256": survey.sha256}
    _agree(plan.folder, settings)
    if (plan.folder / MANIFEST).is_file():
        shutil.rmtree(plan.folder / PARTS, ignore_errors=True)  # left by a build that was killed during its clean-up
        return True
    numbers = range(-(-(survey.read - survey.missing) // PART))
    store.write_document(plan.folder / PARTS / PLAN, settings)
    with store.writing(plan.folder / PARTS / f"shard-{index}-of-{of}", "this shard"):
        _make(plan, [number for number in numbers if number % of == index], len(numbers), track, cluster)
    if not all(_ids(plan, number).is_file() for number in numbers):
        return False

    def encode(paths: Sequence[str]) -> Any:  # the model is loaded only if a benchmark's images are on this machine
        with gallery.encoding(plan.image) as session:
            return session(paths)

    with store.writing(plan.folder, "this gallery"):
        if not (plan.folder / MANIFEST).is_file():
            facts = {**settings, "benchmarks": survey.benchmarks, "read": survey.read, "left_out": survey.missing}
            merge(plan.folder, plan.folder / PARTS, len(numbers), facts, encode if survey.known else None)
    shutil.rmtree(plan.folder / PARTS, ignore_errors=True)
    return True


def discard(folder: Path) -> None:
    """Remove a gallery, finished or not, so that it can be built anew; other files of the folder stay."""
    for name in (MANIFEST, TEXT, IMAGE, TEXT_FINE, IDS):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / PARTS, ignore_errors=True)


def _agree(folder: Path, now: Mapping[str, Any]) -> None:
    """Refuse to go on with a gallery, or a build, of other settings or pairs; old ones have no digest of pairs."""
    for path in (folder / MANIFEST, folder / PARTS / PLAN):
        before = store.read_document(path)
        if before is None:
            continue
        before = {"pairs_sha256": now.get("pairs_sha256"), **before}
        if differing := [name for name in now if before.get(name) != now[name]]:
            hint = "give it another name, or begin anew with --fresh"
            named = ", ".join(name.removesuffix("_sha256") for name in differing)
            raise SettingsError(f"made with other {named}", where=str(folder), hint=hint)


def _pairs(plan: Plan) -> Iterator[Pair]:
    return (pair for pair in plan.pairs() if not plan.allow_missing or pair.there())


@dataclass(frozen=True, slots=True)
class _Survey:
    """Pairs read, those without an image, and their digest; whether a benchmark is here, and findings per task."""

    read: int
    missing: int
    sha256: str
    known: bool
    benchmarks: Mapping[str, str]


def _survey(plan: Plan) -> _Survey:
    known, benchmarks = leaks.benchmark_ids()
    ids, read, digest = list[tuple[str, str]](), 0, PairDigest()
    for pair in plan.pairs():
        read += 1
        digest.add(pair)
        if pair.there():
            ids.append((pair.source, pair.image_id))
        elif not plan.allow_missing:
            hint = "bring it, or leave such pairs out with --allow-missing"
            raise CimError("the image is not there", where=pair.place, hint=hint)
    if not ids:
        raise CimError("the sources hold no pair", where=str(plan.folder))
    leaks.check_ids(ids, known)
    findings = {**benchmarks, **dict.fromkeys(known, "ids disjoint")}
    return _Survey(read, read - len(ids), digest.hex(), bool(known), findings)


def _ids(plan: Plan, number: int) -> Path:
    return plan.folder / PARTS / f"{number:06d}.ids.jsonl"


def _identity(pair: Pair) -> dict[str, Any]:
    caption = hashlib.sha256(pair.caption.encode(errors="surrogatepass")).hexdigest()
    return {"source": pair.source, "image": pair.image_id, "caption_sha256": caption}


def _make(plan: Plan, numbers: Sequence[int], count: int, track: Track, cluster: pool.Cluster | None = None) -> None:
    """Encode and write the missing parts of this shard."""
    if cluster is not None:
        absent = [number for number, _ in _absent(plan, numbers, range(count))]
        answers = pool.ordered(cluster, encoding_parts, (plan,), absent, gpu=True)
        for number, answer in zip(absent, track(answers, "gallery parts", len(absent)), strict=True):
            matrices = np.load(BytesIO(base64.b64decode(answer["matrices"])), allow_pickle=False)
            _write(plan, number, _Part(matrices["T"], matrices["I"], answer["rows"]))
        return
    with ExitStack() as sessions:
        sessions.enter_context(_weights.reading(plan.workers))
        encode = dict[str, Encode]()
        for number, part in _absent(plan, numbers, track(range(count), "gallery parts", count)):
            if not encode:
                for encoder in (plan.text, plan.image):
                    encode[encoder.kind] = sessions.enter_context(gallery.encoding(encoder))
            _write(plan, number, _encode(plan, part, encode))


@contextmanager
def encoding_parts(plan: Plan) -> Iterator[Callable[[int], dict[str, Any]]]:
    """A session from a part's number to its embeddings (base64 of .npz) and rows, as a cluster's actor opens it."""
    pairs, at = _pairs(plan), 0
    with ExitStack() as sessions:
        sessions.enter_context(_weights.reading(plan.workers))
        encode: dict[str, Encode] = {
            encoder.kind: sessions.enter_context(gallery.encoding(encoder)) for encoder in (plan.text, plan.image)
        }

        def make(number: int) -> dict[str, Any]:
            nonlocal pairs, at
            if number < at:
                pairs, at = _pairs(plan), 0
            ahead = (number - at) * PART
            part, at = list(islice(pairs, ahead, ahead + PART)), number + 1
            encoded, buffer = _encode(plan, part, encode), BytesIO()
            np.savez(buffer, T=encoded.text, I=encoded.image)
            return {"matrices": base64.b64encode(buffer.getvalue()).decode(), "rows": encoded.rows}

        yield make


def _absent(plan: Plan, numbers: Sequence[int], parts: Iterable[int]) -> Iterator[tuple[int, list[Pair]]]:
    """Those of the parts that are not made, with their pairs; parts that exist must hold the same pairs."""
    pairs, todo = _pairs(plan), set(numbers)
    for number in parts:
        part = list(islice(pairs, PART))
        if number not in todo:
            continue
        stored = form.rows(_ids(plan, number), PART_ROW, "delete it, then the same command")
        if not stored:
            yield number, part
            continue
        identities = [_identity(pair) for pair in part]
        if [{name: row[name] for name in identities[0]} for row in stored] != identities:
            hint = "begin anew with --fresh"
            raise CimError(f"the pairs of part {number} have changed", where=str(plan.folder), hint=hint)


@dataclass(frozen=True, slots=True)
class _Part:
    """L2-normalised embeddings of captions and images, (n, d) each, and n rows of ids."""

    text: NDArray[Any]
    image: NDArray[Any]
    rows: Sequence[Mapping[str, Any]]


def _encode(plan: Plan, part: Sequence[Pair], encode: Mapping[str, Encode]) -> _Part:
    names = [key(pair.source, pair.image_id) for pair in part]
    hashes = list[str]()

    with ThreadPoolExecutor(plan.workers) as pool:
        # Files are hashed ahead; what is read from an archive is read in turn, one in memory at a time.
        ahead = [pool.submit(data.sha256, pair.image) if isinstance(pair.image, Path) else None for pair in part]

        def read(pair: Pair, hashing: Future[str] | None) -> bytes | Path:
            if hashing is not None and isinstance(pair.image, Path):
                hashes.append(hashing.result())
                return pair.image
            content = pair.image() if callable(pair.image) else pair.image
            hashes.append(data.sha256(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest())
            return content

        read_all = map(read, part, ahead)
        vectors = gallery.encode_images(encode["image"], read_all, [pair.place for pair in part])
    image = unit(vectors, "image", names)
    text = unit(encode["text"]([pair.caption for pair in part]), "caption", names)
    rows = [{**_identity(pair), "image_sha256": sha} for pair, sha in zip(part, hashes, strict=True)]
    return _Part(text if plan.fine else text.astype(np.float16), image.astype(np.float16), rows)


def _write(plan: Plan, number: int, part: _Part) -> None:
    for name, matrix in (("T", part.text), ("I", part.image)):
        buffer = BytesIO()
        np.save(buffer, matrix, allow_pickle=False)
        store.write_bytes(plan.folder / PARTS / f"{number:06d}.{name}.npy", buffer.getvalue())
    store.write_rows(_ids(plan, number), part.rows)
