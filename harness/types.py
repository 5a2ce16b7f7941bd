"""Shared data types of the harness: what tasks, engines, parsers and metrics (``harness/parts.py``) exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.weights import Price, Server, Weights

Track = Callable[[Iterable[Any], str, int], Iterator[Any]]  # track(items, title, total) yields the items


def untracked(items: Iterable[Any], title: str, total: int) -> Iterator[Any]:
    """A progress display that shows nothing."""
    yield from items


@dataclass(frozen=True, slots=True)
class Question:
    """A relation question about one image and its gold answer (bytes of the file, defects included)."""

    text: str
    answer: str


@dataclass(frozen=True, slots=True)
class Fact:
    """What a caption may say right, say wrong or not say of a sample's image; ``id`` is unique within the sample.

    ``answer`` is the right verdict on a statement, or the letter of the right one of a question's ``choices`` in the
    order shown. ``kind`` and ``tag`` are the benchmark's classes of it.
    """

    id: str
    text: str
    answer: str
    kind: str = ""
    tag: str = ""
    choices: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """A judge's verdict on a question about a caption, as people may label it.

    ``right``: what the judge reads in the caption equals the key; None where its reply is unreadable. ``expected`` is
    the answer that equals it, ``yes``, ``no`` or ``n/a`` (empty: none does), ``kind`` what the judge's errors may
    depend on.
    """

    question: str
    kind: str
    expected: str
    right: bool | None


@dataclass(frozen=True, slots=True)
class SceneGraph:
    """Objects, fine-grained category by object, attribute words by object, and relation triples of a text or image."""

    objects: tuple[str, ...] = ()
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    relations: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with its annotations.

    ``image`` is the file name under ``$CIM_DATA/<task>/images``; ``image_id`` says whose image it is where an image has
    several captions; ``objects`` and ``attributes`` (owner to words) are annotations that precision also accepts;
    ``coco_objects`` all of COCO's categories in the image, ``decoys`` objects that models like to invent for it;
    ``domain`` is its part of the benchmark, ``graph`` the truth of a synthetic image; taxonomy uses the rest.
    """

    id: str
    references: tuple[str, ...]
    image: str = ""
    objects: tuple[str, ...] = ()
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    questions: tuple[Question, ...] = ()
    graph: SceneGraph | None = None
    species: str = ""
    breed: str = ""
    image_id: str = ""
    facts: tuple[Fact, ...] = ()
    domain: str = ""
    coco_objects: tuple[str, ...] = ()
    decoys: tuple[str, ...] = ()

    @property
    def task_id(self) -> str:
        """Its id among the samples of its task, where it is one of several captions of an image."""
        return self.image_id or self.id

    @property
    def image_key(self) -> str:
        """What samples of the same image share."""
        return self.image or self.image_id or self.id


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of a benchmark: name inside its folder, size in bytes, sha256, address.

    ``path`` is where it lies if not under its name in the benchmark's folder; ``name`` then says what it holds. A
    folder of images counts as a file: its hash is that of their names and hashes. ``by_hand`` says how a user brings
    one without ``url``; without ``sha256`` it may have any bytes, and they name the data of a run.
    """

    name: str
    bytes: int
    sha256: str
    url: str = ""
    path: Path | None = None
    by_hand: str = ""


@dataclass(frozen=True, slots=True)
class Archive:
    """Where images come from: a ``.zip``, ``.tar`` or ``.tar.gz``; ``member`` names a sample's image in it.

    ``bytes`` is its size, about that where ``sha256`` is None: what arrives first is recorded then; ``kept`` bounds the
    share of it that the images take.
    """

    url: str
    bytes: int
    sha256: str | None
    member: Callable[[Sample], str]
    licence: str
    source: str
    kept: float = 0.1


@dataclass(frozen=True, slots=True)
class Task:
    """A benchmark, its caption prompt and what its samples hold.

    ``provides`` names the annotations a metric may ask for. ``folder`` is set for data that ships with the project;
    otherwise the files lie in ``$CIM_DATA/<name>``. ``images`` is set where the images lie elsewhere. ``load`` turns
    that folder into samples, in the order that defines "the first N" and "the next image". ``archive`` brings the
    images, or ``draw`` renders the PNG bytes of a synthetic sample; ``parser`` names what reads its captions as scene
    graphs, ``judge`` the model that answers its judges' questions, and ``gallery`` where metric ``cim`` looks captions
    up (``provides`` then has ``gallery``, too). ``questions`` is how many questions and facts all samples hold
    together; it and ``count`` are checked when the files are read, unless None. ``definition`` is what a benchmark
    without code was made from (``harness/benchmark/``), as JSON.
    """

    name: str
    title: str
    prompt: str
    files: tuple[DataFile, ...]
    count: int | None
    provides: frozenset[str]
    load: Callable[[Path], Sequence[Sample]]
    licence: str
    source: str
    folder: Path | None = None
    archive: Archive | None = None
    version: str = "1"
    draw: Callable[[str], bytes] | None = None
    parser: str | None = None
    judge: str | None = None
    gallery: str | None = None
    questions: int | None = None
    images: Path | None = None
    definition: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One request to generate: prompt, image file if the model needs it, system prompt in place of the model's own."""

    sample_id: str
    prompt: str
    image: Path | None = None
    system: str | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """Who answered for a server: the model and fingerprint it names, and neutral sampling fields it does not know."""

    model: str | None
    fingerprint: str | None = None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """What an engine wrote for one request; ``text`` is None exactly when ``error`` says why.

    ``outage``: the engine did not answer; the request is no failed caption and is repeated on resume. An error without
    a ``finish_reason`` is a failure that the same command asks again; with one (``content_filter``, ``refusal``) it is
    final: the server refused. ``reasoning`` are thoughts split off ``text``, ``served`` is the model a server named.
    """

    sample_id: str
    text: str | None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    error: str | None = None
    outage: bool = False
    reasoning: str | None = None
    served: Served | None = field(default=None, compare=False)

    @property
    def final(self) -> bool:
        """Is this what the model or server answered for good?"""
        return self.text is not None or self.finish_reason is not None


@dataclass(frozen=True, slots=True)
class Model:
    """Something that captions: a TOML file, a captions file or a stored run.

    ``settings`` is what identifies it in a manifest (engine, revision, sha256, sampling as the engine receives it); two
    runs of one name must agree on it. ``tasks`` are what it is run on by default (empty: found from its captions),
    ``limit`` what a stored run was limited to. ``weights`` are set for a model that is loaded here and writes,
    ``server`` for one that a server runs, ``price`` is what its provider asks. ``file_ids`` are ids of a captions file
    by sample id, where they are not the same.
    """

    name: str
    engine: str
    source: Path | None
    settings: Mapping[str, Any]
    tasks: tuple[str, ...] = ()
    limit: int | None = None
    weights: Weights | None = None
    server: Server | None = None
    file_ids: Mapping[str, str] = field(default_factory=dict)
    price: Price | None = None


@dataclass(frozen=True, slots=True)
class Element:
    """What a report lists, and marks in the texts.

    ``kind`` is ``object``, ``attribute``, ``relation`` or ``fine name``; ``state`` is ``matched`` (both texts say it),
    ``missed`` (only the reference) or ``invented`` (only the caption). ``marks`` are the ways it may stand in a text,
    ``text`` itself when empty; with words in ``near`` only the place closest to one of them is marked.
    """

    kind: str
    text: str
    state: str
    marks: tuple[str, ...] = ()
    near: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Score:
    """One metric of one run: values with 95 % intervals, controls, counts of the whole run, signature.

    ``values`` are percentages but for ``cider`` (0 to 1000), ``cim`` and ``length``; None with a reason in
    ``not_computed``, and ``outage`` where something stopped answering, so that the same command may do better.
    """

    metric: str
    values: Mapping[str, float | None]
    ci95: Mapping[str, tuple[float | None, float | None]]
    n: int
    n_failed: int
    signature: str | None
    controls: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    counts: Mapping[str, float] = field(default_factory=dict)
    not_computed: str | None = None
    outage: bool = False


class Share(float):
    """A ratio among the counts of a measurement; ``weight`` is its denominator, by which several are averaged."""

    weight: float

    def __new__(cls, value: float, weight: float) -> Share:
        share = super().__new__(cls, value)
        share.weight = weight
        return share
