"""Galleries: built whole, in shards or after a kill alike; benchmark images refused; damage named; sources read."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import registry
from harness.errors import CimError, OutageError, SettingsError
from harness.images import open_image
from harness.parts import Encoder
from harness.resources import data
from harness.retrieval import build, gallery, leaks, sources
from harness.retrieval.scorer import CimScorer
from harness.retrieval.sources import Pair
from harness.types import Archive, Sample, Task
from tests.cli import Cim
from tests.images import noise


class Fake:
    """A fake encoder of texts or of the bytes of files, that counts and may stop; equal input, equal vector."""

    def __init__(self, kind: Any, width: int, stop: int = 10**9) -> None:
        self.asked, self.stop, self.width, self.kind = 0, stop, width, kind
        self.encoder = Encoder(f"fake_{kind}", lambda: {"v": "1"}, lambda: nullcontext(self._encode), kind=kind)

    def _encode(self, texts: Sequence[str]) -> Iterator[Any]:
        for text in texts:
            if self.asked == self.stop:
                return
            self.asked += 1
            yield self.vector(Path(text).read_bytes() if self.kind == "image" else text.encode())

    def vector(self, content: bytes) -> Any:
        """What the encoder makes of these bytes; those that begin alike by nine letters are near copies."""
        seed, near = (int.from_bytes(hashlib.sha256(part).digest()[:4], "big") for part in (content[:9], content))
        drawn = np.random.default_rng(seed).normal(size=self.width)
        drawn = drawn + 1e-3 * np.random.default_rng(near).normal(size=self.width)
        return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def pairs(n: int = 25) -> Iterator[Pair]:
    """A fake source: image and caption repeat once, and a second caption of one image."""
    for number in range(n):
        yield Pair("made", f"{number}", f"caption {number}", partial(bytes, f"{number:09d} pixels", "ascii"))
    yield Pair("made", "0 again", "caption 0", partial(bytes, f"{0:09d} pixels", "ascii"))
    yield Pair("made", "0", "other words", partial(bytes, f"{0:09d} pixels", "ascii"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of four pairs, and no benchmark to compare with."""
    monkeypatch.setattr(build, "PART", 4)
    monkeypatch.setattr(leaks, "benchmark_ids", lambda: ({}, {"docci500": "not checked: no data"}))


def plan(folder: Path, text: Fake | None = None, image: Fake | None = None, **changes: Any) -> build.Plan:
    """A plan with fake encoders."""
    chosen = (text or Fake("text", 8)).encoder, (image or Fake("image", 6)).encoder
    planned = build.Plan(folder, pairs, [{"kind": "made", "file": "-"}], *chosen)
    return replace(planned, **changes)


def content(folder: Path) -> dict[str, bytes]:
    """Every finished file of a gallery."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != ".lock"}


def test_a_gallery_is_built_opened_and_scored_with(tmp_path: Path, small: None) -> None:
    assert build.build(plan(tmp_path / "g", fine=True))
    opened = gallery.open_folder(tmp_path / "g")
    assert len(opened) == 27 and opened.text.dtype == np.float16 and opened.image.shape == (27, 6)
    assert opened.manifest["repeats"] == {"images": 2, "captions": 1, "pairs": 1, "dropped": 0}
    assert opened.manifest["text_encoder"] == {"name": "fake_text", "settings": {"v": "1"}}
    assert opened.manifest["benchmarks"] == {"docci500": "not checked: no data"}
    assert opened.rows["made:0"] == [0, 26] and not (tmp_path / "g" / "parts").exists()
    fake = Fake("text", 8)
    scorer = CimScorer(opened, lambda texts: np.stack(list(fake._encode(texts))))
    batch = scorer.score(["caption 3", "caption 0"], ["made:3", "made:0"])
    assert batch.rows[0, 0] == 3 and batch.rows[1, :2].tolist() == [0, 25] and batch.self_hit_1.all()
    assert batch.grc.max() <= 1 + 1e-12
    assert all(state == "ok" for _, state, _ in gallery.verify(tmp_path / "g"))


def test_shards_and_a_killed_build_end_with_the_same_bytes(tmp_path: Path, small: None) -> None:
    assert build.build(plan(tmp_path / "whole"))
    for shard in (2, 0):
        assert not build.build(plan(tmp_path / "shards"), (shard, 3))
    assert build.build(plan(tmp_path / "shards"), (1, 3))
    text = Fake("text", 8)
    with pytest.raises(OutageError, match="encoder fake_image gave 1 of 4 embeddings"):
        build.build(plan(tmp_path / "killed", text, Fake("image", 6, stop=13)))
    assert text.asked == 12 and not (tmp_path / "killed" / gallery.MANIFEST).exists()
    with pytest.raises(CimError, match="no finished gallery here"):
        gallery.open_folder(tmp_path / "killed")
    again = Fake("text", 8)
    assert build.build(plan(tmp_path / "killed", again)) and again.asked == 27 - 12
    assert content(tmp_path / "whole") == content(tmp_path / "shards") == content(tmp_path / "killed")
    idle = Fake("text", 8)
    assert build.build(plan(tmp_path / "whole", idle)) and idle.asked == 0


def test_other_settings_and_changed_sources_are_refused(tmp_path: Path, small: None) -> None:
    assert not build.build(plan(tmp_path / "g"), (0, 2))
    with pytest.raises(SettingsError, match="made with other fine, dedupe"):
        build.build(plan(tmp_path / "g", fine=True, dedupe=True))
    changed = plan(tmp_path / "g", pairs=lambda: (replace(pair, caption=pair.caption + "!") for pair in pairs()))
    with pytest.raises(SettingsError, match="made with other pairs; give it another name, or begin anew with --fresh"):
        build.build(changed)
    build.discard(tmp_path / "g")
    assert build.build(replace(changed, dedupe=True))
    with pytest.raises(SettingsError, match="made with other pairs"):
        build.build(plan(tmp_path / "g", dedupe=True))
    opened = gallery.open_folder(tmp_path / "g")
    assert len(opened) == 26 and opened.manifest["repeats"]["dropped"] == 1 and "made:0 again" not in opened.rows
    with pytest.raises(CimError, match="encoder fake_image is of images, not of texts"):
        build.build(plan(tmp_path / "h", Fake("image", 6)))


def test_a_finished_gallery_of_other_images_is_refused(tmp_path: Path, small: None) -> None:
    """The same names and captions, one image replaced; every pair that was read is accounted for."""
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(bytes([number]) * 20)

    def read() -> Iterator[Pair]:
        for number in (0, 1, 2, 2, 3):
            yield Pair("made", f"{number}", f"caption {number}", tmp_path / f"{number}.png")

    planned = plan(tmp_path / "g", pairs=read, allow_missing=True, dedupe=True)
    assert build.build(planned) and build.build(planned)
    manifest = gallery.open_folder(tmp_path / "g").manifest
    counts = manifest["read"], manifest["n"], manifest["left_out"], manifest["repeats"]["dropped"]
    assert counts == (5, 3, 1, 1) and len(manifest["pairs_sha256"]) == 64
    (tmp_path / "1.png").write_bytes(b"another picture")
    with pytest.raises(SettingsError, match="made with other pairs"):
        build.build(planned)
    path = tmp_path / "g" / gallery.MANIFEST  # of a gallery from before pairs were digested
    path.write_text(json.dumps({name: value for name, value in manifest.items() if name != "pairs_sha256"}))
    assert build.build(planned)


def test_unusable_pairs_are_named(tmp_path: Path, small: None) -> None:
    def broken(*extra: Pair) -> build.Plan:
        return plan(tmp_path / "g", pairs=lambda: iter([*pairs(), *extra]))

    absent = Pair("made", "x", "words", tmp_path / "absent.png")
    with pytest.raises(CimError, match=r"absent.png: the image is not there.*--allow-missing"):
        build.build(broken(absent))
    assert not (tmp_path / "g").exists()  # other sources may be built under that name
    assert build.build(replace(broken(absent), allow_missing=True))
    assert gallery.open_folder(tmp_path / "g").manifest["left_out"] == 1
    build.discard(tmp_path / "g")
    with pytest.raises(CimError, match="'made:3' names two different images"):
        build.build(broken(Pair("made", "3", "words", partial(bytes, b"else"))))
    build.discard(tmp_path / "g")
    with pytest.raises(CimError, match="the sources hold no pair"):
        build.build(plan(tmp_path / "g", pairs=lambda: iter(())))
    nothing = Encoder("fake_text", lambda: {"v": "1"}, lambda: nullcontext(lambda texts: (np.zeros(8) for _ in texts)))
    build.discard(tmp_path / "g")
    with pytest.raises(CimError, match="caption embedding 'made:0' is zero or not finite"):
        build.build(plan(tmp_path / "g", text=type("T", (), {"encoder": nothing})()))  # type: ignore[arg-type]


def test_damage_is_found(tmp_path: Path, small: None, cim: Cim) -> None:
    folder = tmp_path / "g"
    build.build(plan(folder))
    whole = (folder / gallery.IMAGE).read_bytes()
    (folder / gallery.IMAGE).write_bytes(whole[:-12] + b"\x00" * 12)
    checked = cim("gallery", "verify", folder, "--json")
    assert checked.code == 1
    failed = {row[str(next(iter(row)))] for row in checked.json if row["state"] == "failed"}
    assert failed == {gallery.IMAGE, f"{gallery.IMAGE} rows"}
    (folder / gallery.IMAGE).write_bytes(whole[:50])
    assert "I.f16.npy: cannot be read" in cim.refused("gallery", "verify", folder)
    (folder / gallery.IMAGE).write_bytes(whole)
    (folder / gallery.IDS).write_text("\n".join((folder / gallery.IDS).read_text().splitlines()[:-1]) + "\n")
    assert "for 26 ids" in cim.refused("gallery", "show", folder)


def test_another_encoder_is_refused(tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    build.build(plan(tmp_path / "g"))
    opened = gallery.open_folder(tmp_path / "g")
    here = Fake("text", 8).encoder
    monkeypatch.setattr(registry, "encoder", lambda _: here)
    assert opened.encoder("text") is here
    other = replace(here, settings=lambda: {"v": "2", "more": "x"})
    monkeypatch.setattr(registry, "encoder", lambda _: other)
    with pytest.raises(CimError, match="text encoder fake_text differs from the gallery's in v, more"):
        opened.encoder("text")


# --- benchmarks ----------------------------------------------------------------------------------


def test_a_benchmark_id_is_an_error_before_anything_is_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"coco_ln500": frozenset({"000000000139"}), "docci500": frozenset({"test_00000"})}
    monkeypatch.setattr(leaks, "benchmark_ids", lambda: (known, {}))
    text = Fake("text", 8)
    held = [Pair("docci", "test_00000", "words", partial(bytes, b"x"))]
    with pytest.raises(CimError, match="1 images are samples of docci500, first 'docci:test_00000'"):
        build.build(plan(tmp_path / "g", text, pairs=lambda: iter(held)))
    assert text.asked == 0
    leaks.check_ids(
        [("shards", "000000000139"), ("docci", "train_00000")], known
    )  # a bare number of another collection
    with pytest.raises(CimError, match="samples of coco_ln500"):
        leaks.check_ids([("refinedcaps", "train2017/000000000139.jpg")], known)


def test_real_benchmark_ids_are_read(benchmarks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIM_DATA", str(benchmarks))
    ids, _ = leaks.benchmark_ids()
    scene = data.samples(registry.task("miniscenes"))[0].id
    with pytest.raises(CimError, match=f"1 images are samples of miniscenes, first 'miniscenes:{scene}'"):
        leaks.check_ids([("miniscenes", "gallery_0"), ("mine", scene), ("miniscenes", scene)], ids)
    sample = data.samples(registry.task("coco_ln500"))[0]
    with pytest.raises(CimError, match="samples of coco_ln500"):
        leaks.check_ids([("refinedcaps", sample.image)], ids)


@pytest.mark.parametrize("copy", ["same bytes", "near copy", "same bytes of a task of one's own"])
def test_a_benchmark_image_is_an_error_or_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copy: str, small: None
) -> None:
    archive = Archive("https://x/x.zip", 1, None, lambda sample: sample.image, "-", "-")
    task = Task(
        "held", "Held", "-", (), 1, frozenset(), lambda _: [Sample("s", ("r",), image="s.png")], "-", "-",
        folder=tmp_path, archive=None if copy.endswith("own") else archive,
    )  # fmt: skip
    monkeypatch.setattr(registry, "names", lambda kind: ["held"])
    monkeypatch.setattr(registry, "task", lambda name: task)
    monkeypatch.setattr(leaks, "benchmark_ids", lambda: ({"held": frozenset({"s"})}, {}))
    assert build.build(plan(tmp_path / "before"))
    told = gallery.open_folder(tmp_path / "before").manifest["benchmarks"]
    assert told == {"held": "ids disjoint; images not compared: they are not on this machine"}
    (tmp_path / "held" / "images").mkdir(parents=True)
    (tmp_path / "held" / "images" / "s.png").write_bytes(
        b"000000007 pixels" + (b" and more" if copy == "near copy" else b"")
    )
    with pytest.raises(CimError, match="1 rows show images of held or near-duplicates, first 'made:7'"):
        build.build(plan(tmp_path / "g"))
    build.discard(tmp_path / "g")
    assert build.build(plan(tmp_path / "g", drop_near=True))
    opened = gallery.open_folder(tmp_path / "g")
    assert "made:7" not in opened.rows and len(opened) == 26
    wanted = "ids disjoint; 1 of 1 images compared by sha256 and cosine 0.98, 1 rows dropped"
    assert opened.manifest["benchmarks"] == {"held": wanted}


# --- sources -------------------------------------------------------------------------------------


def test_every_source_is_read_in_order(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "Describe."}, {"from": "gpt", "value": "A dog."}]
    rows = [
        {"image": "train2017/1.jpg", "conversations": turns},
        {"images": ["/home/them/2.jpg"], "conversations": turns},
    ]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    (tmp_path / "fusion.jsonl").write_text('{"image_path": "a/b.jpg", "caption": "A cat."}\n\n')
    docci = [
        {"example_id": f"{part}_0", "split": part, "image_file": "x.jpg", "description": "A."}
        for part in ("test", "train")
    ]
    (tmp_path / "docci.jsonlines").write_text("".join(json.dumps(row) + "\n" for row in docci))
    (tmp_path / "mine.jsonl").write_text(
        '{"image": "i.png", "caption": "C.", "id": "7"}\n{"image": "j.png", "caption": "D."}\n'
    )
    folder = tmp_path / "folder" / "sub"
    folder.mkdir(parents=True)
    (folder / "b.PNG").write_bytes(b"b")
    (folder / "b.txt").write_text("words of b")
    shards = tmp_path / "shards"
    shards.mkdir()
    members = {"a.jpg": b"A", "a.txt": b"one", "b.json": b'{"caption": "two"}', "b.png": b"B" * 600}
    shard_of(shards / "0.tar", {f"x/{name}": raw for name, raw in members.items()})

    def read(kind: str, name: str, images: Path | None = None) -> list[tuple[str, str, str]]:
        return [(pair.source, pair.image_id, pair.caption) for pair in sources.read(kind, tmp_path / name, images)]

    assert read("refinedcaps", "train.json") == [("refinedcaps", "1", "A dog."), ("refinedcaps", "2", "A dog.")]
    assert read("densefusion", "fusion.jsonl") == [("densefusion", "a/b.jpg", "A cat.")]
    assert read("docci", "docci.jsonlines") == [("docci", "train_0", "A.")]
    assert read("jsonl", "mine.jsonl") == [("mine", "7", "C."), ("mine", "j.png", "D.")]
    assert read("folder", "folder") == [("folder", "sub/b.PNG", "words of b")]
    assert read("webdataset", "shards") == [("shards", "0/x/a", "one"), ("shards", "0/x/b", "two")]
    images = [pair.image for pair in sources.read("webdataset", shards)]
    assert [image() for image in images if callable(image)] == [b"A", b"B" * 600]
    both = sources.read("refinedcaps", tmp_path / "train.json", Path("/coco"))
    assert [pair.image for pair in both] == [Path("/coco/train2017/1.jpg"), Path("/coco/2.jpg")]
    (pair,) = sources.read("densefusion", tmp_path / "fusion.jsonl", Path("/elsewhere"))
    assert pair.image == Path("/elsewhere/a/b.jpg")


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("jsonl", '{"image": "../../etc/x", "caption": "C."}', "leads out of"),
        ("jsonl", '{"image": "/etc/x", "caption": "C."}', "leads out of"),
        ("jsonl", '{"image": "x", "caption": ""}', "f:1: no text under 'caption'"),
        ("jsonl", "{", "f:1: is not JSON"),
        ("jsonl", "[]", "f:1: is not a JSON object"),
        ("refinedcaps", "[[]]", "row 0: is not a JSON object"),
        ("refinedcaps", '[{"image": "x", "conversations": []}]', "row 0: no question and answer under"),
        ("refinedcaps", "{", "is not JSON"),
        ("webdataset", "not a tar", "is not an uncompressed webdataset shard"),
        ("other", "", "unknown source 'other'"),
        ("refinedcaps", '{"data": [], "n": 1}', "f: is an object, not a list of rows; its keys: data, n"),
        ("refinedcaps", '[{"conversations": []}]', "row 0: has no image .text only.; leave such rows out: jq"),
        ("refinedcaps", '[{"image": ["a.png"]}]', r"row 0: image is a list: \["),
        ("refinedcaps", '[{"images": ["a.png", "b.png"]}]', r"row 0: images is a list: \["),
        ("jsonl", '{"image": {"bytes": ""}, "caption": "C."}', "f:1: image is an object: "),
        ("jsonl", '{"image": "x", "caption": "caf\udce9"}', "f:1: invalid UTF-8 at byte 31; save it as UTF-8"),
    ],
)
def test_bad_sources_are_named(tmp_path: Path, kind: str, text: str, message: str) -> None:
    (tmp_path / "f").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CimError, match=message):
        list(sources.read(kind, tmp_path / "f"))
    with pytest.raises(CimError, match="is not there"):
        sources.read("jsonl", tmp_path / "none")


def shard_of(path: Path, files: dict[str, bytes]) -> Path:
    """An uncompressed archive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as shard:
        for name, raw in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(raw)
            shard.addfile(entry, io.BytesIO(raw))
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a café".encode(), "a café"),
        (b"\xef\xbb\xbfa dog", "a dog"),
        (b"a dog\x92s", "invalid UTF-8 at byte 6; save it as UTF-8"),
        ("a dog".encode("utf-16"), "invalid UTF-8 at byte 1"),
        ("a dog".encode("utf-16-le"), "a NUL character at byte 2"),
    ],
)
def test_captions_are_utf_8(tmp_path: Path, text: bytes, expected: str) -> None:
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "im1.png").touch()
    (tmp_path / "pics" / "im1.txt").write_bytes(text)
    shard = shard_of(tmp_path / "s0.tar", {"1/im1.png": b"", "1/im1.txt": text})
    for kind, path, where in (
        ("folder", tmp_path / "pics", "pics/im1.txt"),
        ("webdataset", shard, "s0.tar: 1/im1.txt"),
    ):
        if " at byte " not in expected:
            assert [pair.caption for pair in sources.read(kind, path)] == [expected]
            continue
        with pytest.raises(CimError, match=f"{where}: {expected}"):
            list(sources.read(kind, path))


def test_members_of_one_name_in_two_folders_are_two_pairs(tmp_path: Path) -> None:
    files = {f"{part}/im.{kind}": f"{part}".encode() for part in ("a", "b/a", ".") for kind in ("png", "txt")}
    pairs = list(sources.read("webdataset", shard_of(tmp_path / "s0.tar", files)))
    assert [pair.image_id for pair in pairs] == ["s0/a/im", "s0/b/a/im", "s0/im"]
    assert [(pair.caption, pair.place) for pair in pairs][1] == ("b/a", "s0.tar: b/a/im.png")


def test_members_that_are_no_pair_are_named(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "s0.tar", {"a.png": b"", "a.json": b"{"})
    with pytest.raises(CimError, match=r"^s0.tar: a.json: is not JSON"):
        list(sources.read("webdataset", shard))
    shard_of(shard, {"a.png": b"", "a.jpg": b"", "a.TXT": b"A."})
    with pytest.raises(CimError, match=r"^s0.tar: a.jpg: a second image beside a.png"):
        list(sources.read("webdataset", shard))


def test_no_file_of_a_folder_is_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "pics"
    folder.mkdir()
    (folder / "a.png").touch()
    (folder / "a.txt").write_text(" ")
    with pytest.raises(CimError, match=r"a.txt: is empty; write a caption"):
        list(sources.read("folder", folder))
    (folder / "a.txt").write_text("A.")
    (folder / "b.heic").touch()
    (folder / "b.txt").write_text("B.")
    with pytest.raises(CimError, match=r"b.txt: has no image of its name beside it; images end in \.avif"):
        list(sources.read("folder", folder))


def test_shards_below_a_folder_are_all_read(tmp_path: Path) -> None:
    """Of one name in two folders, too; a compressed one is named, not left out."""
    for part in ("x", "y"):
        shard_of(tmp_path / "set" / part / "0.tar", {"a.png": part.encode(), "a.txt": part.encode()})
    pairs = list(sources.read("webdataset", tmp_path / "set"))
    assert [(pair.image_id, pair.caption) for pair in pairs] == [("x/0/a", "x"), ("y/0/a", "y")]
    (tmp_path / "set" / "1.tar.gz").touch()
    with pytest.raises(CimError, match=r"1.tar.gz: is compressed"):
        list(sources.read("webdataset", tmp_path / "set"))


def test_captions_of_one_image_are_all_kept(tmp_path: Path) -> None:
    """Five captions each, one repeated, one image under two ids: an image once, each caption once, all counted."""
    from harness.retrieval import grouping

    def read(last: str = "a.png") -> Iterator[Pair]:
        for name in ("a.png", "b.png"):
            for number in range(5):
                yield Pair("made", name, f"{name} {number}", tmp_path / name)
        yield Pair("made", "a.png", "a.png 0", tmp_path / "a.png")
        yield Pair("made", "another id", "again", tmp_path / last)

    grouped = grouping.group(read())
    assert list(grouped.first) == ["made:a.png", "made:b.png"]
    assert grouped.captions["made:a.png"] == [f"a.png {number}" for number in range(5)] + ["again"]
    assert grouped.counted == "12 pairs read: 2 images with 11 captions, 1 repeat an image and its caption"
    assert grouping.group(read()).sha256 == grouped.sha256 and len(grouping.group(read("c.png")).first) == 3
    (tmp_path / "b.png").write_bytes(b"now it is there")
    assert grouping.group(read()).sha256 != grouped.sha256


def test_a_damaged_image_is_named_by_its_file_or_archive_member(tmp_path: Path, small: None) -> None:
    class Looking(Fake):
        def _encode(self, given: Any) -> Any:
            for path in given:
                open_image(Path(path), path)
                yield np.ones(self.width, dtype=np.float32)

    whole = noise("x")
    shard = shard_of(tmp_path / "s0.tar", {"a.png": whole, "a.txt": b"A.", "b.png": whole[:200], "b.txt": b"B."})
    folder = tmp_path / "pics"
    (folder / "x.jpg").mkdir(parents=True)  # a folder is no image, whatever it is called
    (folder / "im1.png").write_bytes(b"<html>")
    (folder / "im1.txt").write_text("A.")
    for kind, path, message in (
        ("webdataset", shard, r"^s0.tar: b.png: image cannot be read \(truncated\)$"),
        ("folder", folder, r"pics/im1.png: is no image that can be read \(HTML page\)$"),
    ):
        planned = plan(tmp_path / kind, image=Looking("image", 6), pairs=partial(sources.read, kind, path))
        with pytest.raises(CimError, match=message):
            build.build(planned)
    pytest.importorskip("datasets", reason="datasets is not installed: run `make setup-train`")
    from harness.train import examples

    trained = examples.of_pairs([["webdataset", str(shard)]], registry.training("cim_rl"), 0)
    opener = examples.Pictures(trained.place, None, trained.shown)
    assert opener.open("s0:s0/a").size == (60, 50)
    with pytest.raises(CimError, match=r"^s0.tar: b.png: image cannot be read \(truncated\)$"):
        opener.open("s0:s0/b")
    shard_of(tmp_path / "other" / "s0.tar", {"a.png": whole, "a.txt": b"A."})
    both = [["webdataset", str(path)] for path in (shard, tmp_path / "other" / "s0.tar")]
    with pytest.raises(CimError, match="has the key 's0:s0/a' of another image"):
        examples.of_pairs(both, registry.training("cim_rl"), 0)


def test_the_command_builds_and_shows(tmp_path: Path, cim: Cim, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "images").mkdir()
    for number in range(5):
        (tmp_path / "images" / f"{number}.png").write_bytes(f"{number:09d}".encode())
        (tmp_path / "images" / f"{number}.txt").write_text(f"caption {number}")
    fakes = {"fake_text": Fake("text", 8).encoder, "fake_image": Fake("image", 6).encoder}
    monkeypatch.setattr(registry, "encoder", lambda name: fakes[name])
    monkeypatch.setenv("CIM_DATA", str(tmp_path / "data"))
    command = ("gallery", "build", "mine", "--from", "folder", tmp_path / "images")
    command += ("--text-encoder", "fake_text", "--image-encoder", "fake_image")
    assert cim(*command, "--shard", "1/2").code == 0
    report = cim(*command, "--shard", "0/2", "--json").json
    assert report["n"] == 5 and report["folder"] == str(tmp_path / "data" / "galleries" / "mine")
    assert cim("gallery", "verify", "mine").code == 0
    assert "images:1.png" in cim("gallery", "show", "mine").out
    assert "--from KIND FILE" in cim.refused(*command[:4], "folder")
    assert "--shard 'x'" in cim.refused(*command, "--shard", "x")
    assert "made with other dedupe" in cim.refused(*command, "--dedupe")
    assert cim(*command, "--dedupe", "--fresh").code == 0


# --- OpenCLIP --------------------------------------------------------------------------------------


def test_open_clip_towers_give_unit_vectors_of_one_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_clip, torch = pytest.importorskip("open_clip"), pytest.importorskip("torch")
    from PIL import Image
    from safetensors.torch import save_file

    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
    }
    folder = tmp_path / "CLIP-ViT-H-14-laion2B-s32B-b79K"
    folder.mkdir()
    torch.manual_seed(0)
    model = open_clip.CLIP(**config)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    monkeypatch.setenv("CIM_MODELS", str(tmp_path))
    image, text = registry.encoder("vit_h_14"), registry.encoder("vit_h_14_text")
    assert image.missing() is None and image.kind == "image" and image.settings() == text.settings()
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for path, mode in zip(paths, ("RGB", "L"), strict=True):
        Image.new(mode, (50, 40), 77).save(path)
    with gallery.encoding(image) as encode:
        seen = encode([str(path) for path in paths])
        paths[0].write_bytes(b"no image")
        with pytest.raises(CimError, match=r"a.png: is no image that can be read"):
            encode([str(paths[0])])
    with gallery.encoding(text) as encode:
        read = encode(["a dog", "a cat", "a dog"])
    assert seen.shape == (2, 16) and read.shape == (3, 16) and np.allclose(read[0], read[2], atol=1e-6)
    assert np.allclose(np.linalg.norm(np.vstack([seen, read]), axis=1), 1, atol=1e-5)
    (folder / "open_clip_config.json").unlink()
    assert "are not on this machine" in str(image.missing())
