"""The retrieve verb: look up each caption of a run in a gallery, and store the retrieved rows.

A row of ``retrievals.jsonl`` holds the retrieved rows with their keys, similarities to the caption, cosines to the
sample's image and the norm of their mean embedding (GRC), and provenance; metric ``cim`` is computed from that alone,
so scoring needs neither gallery nor encoder. The captions of its controls (``runs/controls.py``) are looked up
likewise, into ``retrievals.<control>.jsonl``. Run with ``cim retrieve --model M --task docci500 [--gallery NAME]``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness import store
from harness.errors import CimError, OutageError, SettingsError
from harness.parts import Metric
from harness.resources import data
from harness.runs import controls
from harness.runs.cache import key, settings_key
from harness.runs.run import FEW, Run
from harness.types import Sample, Track, untracked

if TYPE_CHECKING:
    from harness.parts import Vectors
    from harness.retrieval.consistency import SelfPolicy
    from harness.retrieval.gallery import Gallery
    from harness.retrieval.scorer import CimBatch, CimScorer

    Encode = Callable[[str, Sequence[str]], Vectors]

NAME = "retrievals.jsonl"
NEEDED = "gallery"  # annotation that a task must provide for metrics that read retrievals
CHUNK = 256  # captions looked up before their rows are written


def missing(metric: Metric, run: Run) -> str | None:
    """Why the captions of a run cannot be looked up here, or None; also None if all are stored already."""
    if NEEDED not in metric.needs or whole(run):
        return None
    if run.gallery is None:
        return f"task {run.task.name} names no gallery; --gallery NAME"
    from harness.retrieval import gallery, on_disk

    place = gallery.place(run.gallery)
    manifest = on_disk.manifest(place / gallery.MANIFEST, gallery.FORMAT)
    if manifest is None:
        build = f"run `cim gallery build {place.name} --from KIND FILE IMAGES` (docs/cim.md)"
        return f"no gallery {place.name}; {build}, or name another with --gallery"
    try:
        used = [gallery.named_encoder(place.name, manifest, kind) for kind in ("text", "image")]
    except CimError as error:
        return str(error)
    if lacking := [reason for encoder in used if (reason := encoder.missing())]:
        return lacking[0]
    if absent := _absent(run, run.samples):
        return f"{len(absent)} images are not there; run `cim data fetch {run.task.name}`"
    return None


def check(run: Run) -> None:
    """Refuse a gallery or self policy that is named and is not that of the stored rows.

    Raises:
        SettingsError: says which, and what to do.
    """
    how = signature(run)
    named = {"self": run.self_policy, "gallery": run.gallery if run.gallery != run.task.gallery else None}
    stored = {name: how.get(name, "").partition("@")[0] for name in named}
    if how and (differing := [name for name, value in named.items() if value and Path(value).name != stored[name]]):
        lookup = ", ".join(f"{name} {stored[name]}" for name in differing)
        hint = f"leave that option out to keep them, delete {NAME} to look all captions up anew"
        raise SettingsError(f"captions were looked up with {lookup}", where=str(run.folder / NAME), hint=hint)


def _absent(run: Run, samples: Sequence[Sample]) -> list[str]:
    if run.task.draw is not None:
        return []
    folder = run.images
    return [sample.id for sample in samples if not sample.image or not (folder / sample.image).is_file()]


def file_name(control: str) -> str:
    """The file of a run's rows: of its own captions (``""``), or of those of a control."""
    return f"retrievals.{control}.jsonl" if control else NAME


def _texts(run: Run, control: str) -> dict[str, str]:
    """What is looked up for each sample that has a caption; nothing for a control until all have one."""
    captions = {sample.id: run.captions[sample.id].text or "" for sample in run.samples if sample.id in run.captions}
    if not control:
        return captions
    if len(captions) < len(run.samples):
        return {}
    texts = controls.texts(run.samples, run.all_samples, list(captions.values())).get(control)
    return dict(zip(captions, texts, strict=True)) if texts else {}


def _stored(run: Run, control: str = "") -> dict[str, dict[str, Any]]:
    """Rows by sample id, of unchanged captions only; those of a control only if looked up as the captions were."""
    texts, rows = _texts(run, control), run.files.rows(file_name(control))
    stored = {name: row for name, row in rows.items() if name in texts and row["caption"] == key(texts[name])}
    if control:
        how = next((row["how"] for row in run.files.rows(NAME).values()), None)
        return {name: row for name, row in stored.items() if row["how"] == how}
    return stored


def whole(run: Run, control: str = "") -> bool:
    """Is there a row for every sample?"""
    stored = _stored(run, control)
    return bool(stored) and all(sample.id in stored for sample in run.samples)


def _todo(run: Run, metrics: Sequence[Metric], control: str = "") -> list[Sample]:
    """The samples whose captions are to be looked up: none unless a metric reads retrievals."""
    if not any(NEEDED in metric.needs for metric in metrics):
        return []
    texts, stored = _texts(run, control), _stored(run, control)
    return [sample for sample in run.samples if sample.id in texts and sample.id not in stored]


def encode_images(run: Run, metrics: Sequence[Metric], encode: Encode, track: Track = untracked) -> None:
    """Encode the images that ``retrieve`` will want, so that image and text encoder follow one another on a device.

    Raises:
        CimError: no gallery, no images, or an encoder other than the gallery's.
        OutageError: the encoder stopped; finished embeddings are kept.
    """
    todo = _todo(run, metrics)
    if not todo:
        return
    image = _gallery(run, todo).encoder("image")
    chunks = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
    for chunk in track(chunks, "images", len(chunks)):
        encode(image.name, [str(file) for file in _files(run, chunk)])


def _gallery(run: Run, todo: Sequence[Sample]) -> Gallery:
    """The run's gallery; CimError without one, or where images are not there."""
    from harness.retrieval import gallery

    if run.gallery is None:
        raise CimError(f"task {run.task.name} names no gallery", hint="--gallery NAME")
    if absent := _absent(run, todo):
        hint = f"run `cim data fetch {run.task.name}`"
        raise CimError(f"{len(absent)} images are not there: {', '.join(absent[:FEW])}", hint=hint)
    return gallery.open_folder(gallery.place(run.gallery))


def retrieve(run: Run, metrics: Sequence[Metric], encode: Encode, track: Track = untracked) -> int:
    """Look up the captions without a stored row, then those of the controls; returns how many captions.

    Args:
        encode: an encoder's name and n texts, or image paths, to L2-normalised embeddings (n, d).

    Raises:
        CimError: no gallery, no images, or encoders other than the gallery's.
        SettingsError: the stored rows were made with another gallery.
        OutageError: an encoder stopped; finished rows are kept.
    """
    todo = {control: samples for control in ("", *controls.LABELS) if (samples := _todo(run, metrics, control))}
    if not todo:
        return 0
    from harness.retrieval.consistency import EVALUATION
    from harness.retrieval.scorer import CimScorer

    opened = _gallery(run, next(iter(todo.values())))
    policy = cast("SelfPolicy", run.self_policy or signature(run).get("self", EVALUATION.self_policy))
    settings = replace(EVALUATION, self_policy=policy)
    scorer = CimScorer(opened, partial(encode, opened.encoder("text").name), settings)
    for control, samples in todo.items():
        _look_up(run, control, samples, scorer, encode, track)
    return len(todo.get("", ()))


def _look_up(run: Run, control: str, todo: Sequence[Sample], scorer: CimScorer, encode: Encode, track: Track) -> None:
    """Look up what stands for these samples, and store a row for each."""
    from harness.retrieval import gallery

    name, how, wanted = file_name(control), _how(scorer.gallery, scorer), _texts(run, control)
    for row in _stored(run, control).values():
        if row["how"] != how:
            differing = [field for field in how if row["how"].get(field) != how[field]]
            hint = f"delete {name} to look all captions up anew"
            raise SettingsError(f"made with other {', '.join(differing)}", where=str(run.folder / name), hint=hint)
    image = scorer.gallery.encoder("image")
    chunks = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
    with run.files.appending(name) as add:
        for chunk in track(chunks, controls.label(control) if control else "retrievals", len(chunks)):
            texts, files = [wanted[sample.id] for sample in chunk], _files(run, chunk)
            keys = [gallery.key(run.task.name, sample.task_id) for sample in chunk]
            hashes = [data.sha256(file) for file in files]
            vectors = encode(image.name, [str(file) for file in files])
            batch = scorer.score(texts, keys, source_vectors=vectors, source_hashes=hashes)
            for at, (sample, text) in enumerate(zip(chunk, texts, strict=True)):
                row = _row(batch, at, scorer.gallery)
                row["own"] = [_shows(scorer.gallery, number, keys[at], hashes[at]) for number in row["rows"]]
                add({"sample_id": sample.id, "caption": key(text), "how": how, **row})


def _shows(opened: Gallery, row: int, name: str, sha256: str) -> bool:
    """Does a row of the gallery show this image, under its name or as the same bytes under another?"""
    return opened.keys[row] == name or opened.hashes[row] == sha256


def _files(run: Run, samples: Sequence[Sample]) -> list[Path]:
    """Image files of samples; synthetic images are rendered."""
    folder = run.images
    for sample in samples if run.task.draw else ():
        if run.task.draw and not (folder / sample.image).is_file():
            store.write_bytes(folder / sample.image, run.task.draw(sample.task_id))
    return [folder / sample.image for sample in samples]


def _how(opened: Gallery, scorer: Any) -> dict[str, str]:
    """All settings that can change a row; they enter signatures."""
    encoders = {
        kind: f"{(encoder := opened.manifest[f'{kind}_encoder'])['name']}-{settings_key(encoder['settings'])}"
        for kind in ("text", "image")
    }
    return {
        "gallery": f"{opened.name}@{opened.sha[:12]}",
        "rows": str(len(opened)),
        **encoders,
        "k": str(scorer.settings.k),
        "self": scorer.settings.self_policy,
        "empty": scorer.settings.empty,
        "search": scorer.search.label,
    }


def _row(batch: CimBatch, at: int, opened: Gallery) -> dict[str, Any]:
    k = int(batch.k[at])
    rows = batch.rows[at, :k].tolist()
    return {
        "rows": rows,
        "images": [opened.keys[row] for row in rows],
        "similarities": batch.similarities[at, :k].tolist(),
        "cosines": batch.cosines[at, :k].tolist(),
        "grc": float(batch.grc[at]),
        "empty": bool(batch.empty[at]),
    }


def retrievals(run: Run, control: str = "") -> list[dict[str, Any]]:
    """The stored row of each sample, in order; of its own caption, or of a control's.

    Raises:
        OutageError: some are missing; a caption that was not looked up has no score.
    """
    stored = _stored(run, control)
    if lacking := [sample.id for sample in run.samples if sample.id not in stored]:
        hint = f"run `cim retrieve --model {run.model.name} --task {run.task.name}`"
        raise OutageError(f"{len(lacking)} of {len(run.samples)} captions were not looked up", hint=hint)
    return [stored[sample.id] for sample in run.samples]


def signature(run: Run) -> dict[str, str]:
    """How the stored rows were made, field by field; empty without rows."""
    rows = list(_stored(run).values())
    return dict(rows[0]["how"]) if rows else {}
