"""Encoder mpnet: the vectors of sentence-transformers, in order, whatever stands beside a text."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from harness import registry
from harness.encoders import mpnet
from harness.errors import CimError
from harness.stages.encode import Encodings
from tests import tiny_mpnet

TEXTS = [
    "red dog",
    "a",
    "",
    "  the small cat ",
    "Traffic Lights",
    "dog, cat",
    "the red dog " * 300,
    "Ünï 猫 😀",
    "\x00",
    "x",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_mpnet.build(tmp_path_factory.mktemp("models") / "all-mpnet-base-v2")


@pytest.fixture
def models(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CIM_MODELS", str(folder.parent))
    return folder


def test_vectors_are_those_of_sentence_transformers(tmp_path: Path, models: Path) -> None:
    """sentence-transformers 6.2 on the same weights, one text at a time and four as CAPTURE does."""
    library = pytest.importorskip("sentence_transformers")
    oracle = library.SentenceTransformer(str(models), device="cpu")
    vectors = Encodings(tmp_path).encode("mpnet", TEXTS)
    for size in (1, 4):
        expected = oracle.encode(TEXTS, batch_size=size)
        assert vectors == pytest.approx(expected, abs=1e-6)
    assert vectors.dtype == np.float32 and np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)))
    assert np.abs(vectors[0] - vectors[1]).max() > 0.01


def test_texts_come_back_in_order_from_small_windows_and_batches(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Encodings(tmp_path / "whole").encode("mpnet", TEXTS)
    monkeypatch.setattr(mpnet, "WINDOW", 3)
    monkeypatch.setitem(mpnet.ROWS, "cpu", 2)
    assert Encodings(tmp_path / "parts").encode("mpnet", TEXTS) == pytest.approx(whole, abs=1e-6)
    assert Encodings(tmp_path / "parts").encode("mpnet", TEXTS[::-1])[-1] == pytest.approx(whole[0], abs=1e-6)


def test_bfloat16_is_an_encoder_of_its_own_and_nearly_the_same(tmp_path: Path, models: Path) -> None:
    encodings = Encodings(tmp_path)
    exact, near = encodings.encode("mpnet", TEXTS), encodings.encode("mpnet@bf16", TEXTS)
    cosines = (exact * near).sum(axis=1)
    assert near.dtype == np.float32 and np.linalg.norm(near, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)
    assert cosines.min() > 0.99 and cosines.min() < 1 - 1e-7
    settings = [registry.encoder(name).settings() for name in ("mpnet", "mpnet@bf16")]
    assert [row["precision"] for row in settings] == ["float32", "bfloat16"] and settings[0] != settings[1]


def test_half_of_a_surrogate_pair_has_a_vector(tmp_path: Path, models: Path) -> None:
    assert Encodings(tmp_path).encode("mpnet", ["\ud800", "dog\udfff"]).shape == (2, 32)


def test_another_architecture_under_its_name_is_refused(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path(shutil.copytree(folder, tmp_path / folder.name))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    monkeypatch.setenv("CIM_MODELS", str(tmp_path))
    with pytest.raises(CimError, match="is a model of type bert, not mpnet"), registry.encoder("mpnet").session():
        pass


def test_settings_and_what_is_missing(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = registry.encoder("mpnet")
    assert encoder.missing() is None and encoder.settings()["weights"].startswith("sha256:")
    monkeypatch.setenv("CIM_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert "cim data fetch mpnet" in (encoder.missing() or "")
    assert encoder.settings()["weights"] == "sentence-transformers/all-mpnet-base-v2@e8c3b32edf54"
    with pytest.raises(CimError, match="cim data fetch mpnet"), encoder.session():
        pass
