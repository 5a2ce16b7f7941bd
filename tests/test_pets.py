"""Oxford-IIIT Pet from made archives of the official form: fetched, read, captioned, and nothing asked of a network."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from harness import registry
from harness.images import area, open_image
from harness.pages.thumbnail import thumbnail
from harness.resources import data, fetch
from harness.types import DataFile
from tasks import pets
from tests import images
from tests.cli import Cim, captions_file

# As the official list writes them; the last column counts breeds within the species.
ROWS = ("Abyssinian_201 1 1 1", "american_pit_bull_terrier_14 3 2 2", "Egyptian_Mau_139 10 1 5", "beagle_116 5 2 4")
STEMS = [row.split()[0] for row in ROWS]
FORMS = dict(zip(STEMS, ("JPEG", "PNG", "GIF", "BMP"), strict=True))


def packed(files: Mapping[str, bytes]) -> bytes:
    """A .tar.gz of these files."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, body in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body))
    return content.getvalue()


def picture(form: str) -> bytes:
    """A picture of 40 x 30 pixels, of random noise so that a download of several takes more than one piece."""
    content, noise = io.BytesIO(), bytes(range(256)) * 15
    mode = "P" if form == "GIF" else "RGB"
    Image.frombytes("RGB", (40, 30), noise[:3600]).convert(mode).save(content, form)
    return content.getvalue()


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[images.Server]]:
    """Servers of both archives, made small, and the task pointed at them: annotations first, then images."""
    rows = "".join(f"{row}\n" for row in ROWS).encode()
    lists = {"annotations/trimaps/._a.png": b"x", "annotations/list.txt": b"#\n" + rows, "annotations/test.txt": rows}
    annotations = packed({**lists, "annotations/trainval.txt": b"Abyssinian_1 1 1 1\n"})
    pictures = {f"images/{stem}.jpg": picture(form) for stem, form in FORMS.items()}
    pictures = {"images/Abyssinian_1.jpg": b"other", "images/Abyssinian_201.mat": b"x", **pictures}
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("CIM_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(fetch, "PAUSE", 0.001)
    with images.serving(annotations) as first, images.serving(packed(pictures)) as second:
        file = DataFile(
            "annotations.tar.gz", len(annotations), hashlib.sha256(annotations).hexdigest(), f"{first.address}/a"
        )
        archive = replace(second.archive(), member=pets.TASK.archive.member, kept=0.6) if pets.TASK.archive else None
        monkeypatch.setattr(pets, "TASK", replace(pets.TASK, files=(file,), archive=archive, count=len(ROWS)))
        registry.forget()
        yield [first, second]
    registry.forget()


def test_the_official_files_are_pinned() -> None:
    (annotations,), archive = pets.TASK.files, pets.TASK.archive
    assert archive is not None and pets.TASK.count == 3669 and pets.TASK.provides == {"taxonomy"}
    assert (annotations.bytes, annotations.sha256[:8]) == (19_173_078, "52425fb6")
    assert (archive.bytes, (archive.sha256 or "")[:8]) == (791_918_971, "67195c5e")
    assert annotations.url.startswith("https://www.robots.ox.ac.uk/") and archive.url.endswith(
        "/pets/data/images.tar.gz"
    )
    assert pets.TASK.prompt == registry.task("docci500").prompt and "BY-SA" in pets.TASK.licence


def test_breeds_are_written_as_names() -> None:
    names = [pets.breed(stem) for stem in (*STEMS, "shiba_inu_1", "Maine_Coon_10", "pug_7")]
    cats, dogs = (
        ["Abyssinian", "Egyptian Mau", "Maine Coon"],
        ["American Pit Bull Terrier", "Beagle", "Shiba Inu", "Pug"],
    )
    assert names == [cats[0], dogs[0], cats[1], dogs[1], dogs[2], cats[2], dogs[3]]


def test_fetched_once_it_works_without_a_network(servers: list[images.Server], cim: Cim) -> None:
    servers[1].cut = [700]
    told = cim("data", "fetch", "pets")
    assert told.code == 0 and "licence CC BY-SA 4.0" in told.out and "4 images are kept" in told.out
    assert "4 of 4 images, as recorded in images.lock.json" in told.out and servers[1].asked == [None, "bytes=700-"]
    place = data.folder(pets.TASK)
    assert {path.name for path in place.glob("[!.]*")} == {"annotations.tar.gz", "images", fetch.LOCK}
    assert {path.name for path in (place / "images").iterdir()} == {f"{stem}.jpg" for stem in STEMS}
    for server in servers:
        server.asked.clear()
        server.statuses = [503] * 99
    assert cim("data", "fetch", "pets").code == 0 and cim("data", "verify", "pets").code == 0
    samples = data.samples(registry.task("pets"))
    assert [sample.id for sample in samples] == STEMS and not any(sample.references for sample in samples)
    assert [sample.species for sample in samples] == ["cat", "dog", "cat", "dog"]
    assert [server.asked for server in servers] == [[], []]


def test_a_changed_file_is_named(servers: list[images.Server], cim: Cim) -> None:
    assert cim("data", "fetch", "pets").code == 0
    place = data.folder(pets.TASK)
    (place / "images" / "beagle_116.jpg").write_bytes(b"something else")
    told = cim("data", "verify", "pets")
    assert told.code == 1 and "1 not as fetched: beagle_116.jpg" in told.out
    (place / "annotations.tar.gz").write_bytes(b"something else")
    assert cim("data", "verify", "pets").code == 1
    path = captions_file(place / "mine.jsonl", {STEMS[0]: "A cat."})
    assert "annotations.tar.gz: has 14 bytes" in cim.refused("eval", "--model", path, "--task", "pets", "--partial")


def test_pictures_are_read_by_what_they_are(servers: list[images.Server], cim: Cim) -> None:
    """GIF, PNG and BMP called .jpg, as twelve official files are: engines and the report open all of them."""
    assert cim("data", "fetch", "pets").code == 0
    for stem, form in FORMS.items():
        path = data.images(pets.TASK) / f"{stem}.jpg"
        with Image.open(path) as opened:
            assert opened.format == form
        assert (open_image(path).mode, open_image(path).size) == ("RGB", (40, 30))
        assert area(path) == 1200 and thumbnail(path) is not None


def test_the_judge_is_asked_for_species_and_breed(servers: list[images.Server], cim: Cim) -> None:
    assert cim("data", "fetch", "pets", "--annotations-only").code == 0
    asked = registry.judge("taxonomy").prompts(data.samples(registry.task("pets"))[1], "A dog sits.")
    assert list(asked) == ["species", "breed"] and "explicitly mentions any dog." in asked["species"]
    assert "Check if the caption explicitly mentions the dog breed American Pit Bull Terrier." in asked["breed"]


def test_captions_are_scored_and_taxonomy_says_why_not(servers: list[images.Server], cim: Cim, tmp_path: Path) -> None:
    assert cim("data", "fetch", "pets").code == 0
    path = captions_file(tmp_path / "mine.jsonl", dict.fromkeys(STEMS, "A small cat, or a dog."))
    outcome = cim("eval", "--model", path)  # the task is found from the ids
    assert outcome.code == 0 and "pets " in outcome.out and "not computed: taxonomy (" in outcome.out
    scores = json.loads((cim.results / "pets" / "mine" / "scores.json").read_text())["scores"]
    by_metric = {row["metric"]: row for row in scores}
    assert by_metric.keys() == {"length", "taxonomy"} and by_metric["length"]["values"] == {"words": 6}
    assert by_metric["taxonomy"]["values"] == {"species": None, "breed": None}
    assert (cim.results / "pets" / "mine" / "report.html").read_text().count("data:image/png") == 4
    assert "needs references" in cim.refused("eval", "--model", path, "--metrics", "bleu4")
