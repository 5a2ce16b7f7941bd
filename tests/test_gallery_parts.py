"""Galleries in parts are searched as the merged one, to the bit; stored indexes fit their gallery or are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import CimError
from harness.retrieval import build, gallery, index, stored_index
from harness.retrieval.consistency import PAPER, SAFE, CimSettings
from harness.retrieval.scorer import CimScorer
from harness.retrieval.sources import Pair
from tests.cli import Cim
from tests.test_gallery import Fake, pairs, plan, small

__all__ = ["small"]


def cut(folder: Path, start: int, end: int, **changes: Any) -> Path:
    """A gallery of some of the pairs."""

    def some() -> Iterator[Pair]:
        return islice(pairs(), start, end)

    assert build.build(plan(folder, pairs=some, **changes))
    return folder


@pytest.fixture
def parts(tmp_path: Path, small: None) -> list[Path]:
    """A gallery of all pairs, and three of a cut of them each."""
    whole = cut(tmp_path / "whole", 0, 27, fine=True)
    cuts = ((0, 8), (8, 9), (9, 27))
    return [whole, *(cut(tmp_path / f"part{at}", *some, fine=True) for at, some in enumerate(cuts))]


def scored(folder: Path, settings: CimSettings) -> Any:
    """Captions of every part scored."""
    fake, texts = Fake("text", 8), [f"caption {number}" for number in (0, 3, 8, 20)]
    scorer = CimScorer(gallery.open_folder(folder), lambda some: np.stack(list(fake._encode(some))), settings)
    return scorer.score(texts, ["made:0", "made:3", "made:8", "made:20"])


def test_joined_galleries_are_the_merged_one_and_nothing_is_copied(parts: list[Path], tmp_path: Path, cim: Cim) -> None:
    whole, *cuts = parts
    assert cim("gallery", "join", tmp_path / "all", *cuts).code == 0
    merged, joined = gallery.open_folder(whole), gallery.open_folder(tmp_path / "all")
    assert joined.sha == merged.sha and joined.keys == merged.keys and joined.rows == merged.rows
    for name in ("n", "repeats", "files", "dims", "read", "left_out", "sha256"):
        assert joined.manifest[name] == merged.manifest[name], name
    for settings in (PAPER, SAFE):
        ours, theirs = scored(tmp_path / "all", settings), scored(whole, settings)
        for name in ours.__slots__:
            assert np.array_equal(getattr(ours, name), getattr(theirs, name), equal_nan=True), name
    assert {path.name for path in (tmp_path / "all").iterdir()} <= {gallery.MANIFEST, ".lock"}
    assert cim("gallery", "verify", tmp_path / "all").code == 0
    shutil.copytree(tmp_path, tmp_path.with_name("moved"))  # parts are named from the folder of the joined one
    assert gallery.open_folder(tmp_path.with_name("moved") / "all").sha == merged.sha
    shutil.rmtree(tmp_path.with_name("moved"))


def test_parts_that_do_not_fit_are_refused(parts: list[Path], tmp_path: Path, cim: Cim, small: None) -> None:
    _, first, second, third = parts
    other = cut(tmp_path / "other", 9, 12, fine=True, text=Fake("text", 5))
    assert "was built with other dims than" in cim.refused("gallery", "join", tmp_path / "all", first, other)
    half = cut(tmp_path / "half", 9, 12)
    assert "was built with other fine, files" in cim.refused("gallery", "join", tmp_path / "all", first, half)
    assert "1 part" in cim.refused("gallery", "join", tmp_path / "all", first)
    assert not (tmp_path / "all").exists()
    assert cim("gallery", "join", tmp_path / "all", first, third).code == 0
    assert "is in parts itself" in cim.refused("gallery", "join", tmp_path / "more", tmp_path / "all", second)
    assert "another gallery is here" in cim.refused("gallery", "join", tmp_path / "all", first, second)
    shutil.move(third, tmp_path / "away")
    with pytest.raises(CimError, match="no finished gallery here"):
        gallery.open_folder(tmp_path / "all")
    shutil.copytree(second, third)
    with pytest.raises(CimError, match="is not the part that was joined"):
        gallery.open_folder(tmp_path / "all")
    deduped = [cut(tmp_path / f"d{at}", *some, dedupe=True) for at, some in enumerate(((0, 8), (8, 27)))]
    assert "1 pairs of one part are in another" in cim.refused("gallery", "join", tmp_path / "g", *deduped)


def test_one_id_for_two_images_in_two_parts_is_refused(tmp_path: Path, small: None, cim: Cim) -> None:
    def other() -> Iterator[Pair]:
        yield Pair("made", "1", "caption", b"other pixels")

    first = cut(tmp_path / "first", 0, 3)
    assert build.build(plan(tmp_path / "second", pairs=other))
    assert "'made:1' names two different" in cim.refused("gallery", "join", tmp_path / "g", first, tmp_path / "second")


def test_an_index_is_kept_with_its_recall_and_refused_where_it_does_not_fit(
    parts: list[Path], tmp_path: Path, cim: Cim, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    whole, first, *_ = parts
    outcome = cim("gallery", "index", whole, "--search", "faiss-hnsw", "--json")
    assert "about 0.000 GB" in outcome.err and 0 <= outcome.json["recall"] <= 1 and outcome.json["recall_at"] == 3
    assert outcome.json["bytes"] == (whole / "indexes" / "faiss-hnsw.faiss").stat().st_size
    monkeypatch.setattr(index, "built", lambda *_: pytest.fail("built again"))
    monkeypatch.setattr(stored_index, "built", lambda *_: pytest.fail("built again"))
    opened = gallery.open_folder(whole)
    search = stored_index.of_gallery("faiss-hnsw", opened)
    assert search.label == f"faiss-hnsw approximate recall {outcome.json['recall']:.3f}"
    assert (search.find(np.asarray(opened.text[:5], np.float32), 1)[1][:, 0] == range(5)).all()
    assert cim("gallery", "index", whole, "--search", "faiss-hnsw", "--json").json == outcome.json
    shutil.copytree(whole / "indexes", first / "indexes")
    with pytest.raises(CimError, match="was made of another gallery"):
        stored_index.of_gallery("faiss-hnsw", gallery.open_folder(first))
    about = json.loads((whole / "indexes" / "faiss-hnsw.json").read_text())
    (whole / "indexes" / "faiss-hnsw.json").write_text(json.dumps({**about, "recall": "1"}))
    with pytest.raises(CimError, match="has the recall '1'"):
        stored_index.of_gallery("faiss-hnsw", opened)
    with (whole / "indexes" / "faiss-hnsw.faiss").open("r+b") as stream:
        stream.write(b"x")
    with pytest.raises(CimError, match="is not the index that was stored"):
        stored_index.of_gallery("faiss-hnsw", opened)


def test_the_estimate_of_memory_is_that_of_the_index() -> None:
    faiss = pytest.importorskip("faiss")
    drawn = np.random.default_rng(0).normal(size=(4000, 64)).astype(np.float32)
    for name in ("faiss-flat", "faiss-ivf", "faiss-hnsw"):
        size = faiss.serialize_index(index.built(name, drawn)).nbytes
        assert abs(index.memory(name, 4000, 64) / size - 1) < 0.05, name
