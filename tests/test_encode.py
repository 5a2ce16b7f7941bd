"""Vectors of texts: made once, kept whole, read back in order; parses that a run keeps for itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from harness import registry
from harness.errors import CimError, OutageError
from harness.parts import Encoder
from harness.stages import encode
from harness.stages.encode import Encodings


class Fake:
    """A fake encoder that counts what it is asked; a vector is (length, first letter) and unit length."""

    def __init__(self, stop: int = 10**9) -> None:
        self.asked, self.stop = list[str](), stop
        self.encoder = Encoder("fake", lambda: {"v": "1"}, lambda: nullcontext(self._encode))

    def _encode(self, texts: Sequence[str]) -> Iterator[np.ndarray]:
        for text in texts:
            if len(self.asked) == self.stop:
                return
            self.asked.append(text)
            yield vector(text)


def vector(text: str) -> np.ndarray:
    """What the fake encoder makes of a text."""
    encoded = np.array([len(text) + 1, ord(text[0]) if text else 0], dtype=np.float32)
    return encoded / np.linalg.norm(encoded)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    stand_in = Fake()
    monkeypatch.setattr(registry, "encoder", lambda _: stand_in.encoder)
    return stand_in


def test_vectors_are_made_once_and_come_in_order(tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "PART", 2)
    texts = ["red dog", "a", "", "red dog", "ü\ud800"]
    first = Encodings(tmp_path)
    assert (first.encode("fake", texts) == np.stack([vector(text) for text in texts])).all()
    assert fake.asked == ["red dog", "a", "", "ü\ud800"]
    mixed = ["a", "new", "red dog"]
    assert (Encodings(tmp_path).encode("fake", mixed) == np.stack([vector(text) for text in mixed])).all()
    assert fake.asked[4:] == ["new"] and (first.encode("fake", []).shape) == (0, 0)


def test_an_encoder_that_stops_is_an_outage_and_goes_on(
    tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encode, "PART", 2)
    fake.stop = 3
    with pytest.raises(OutageError, match="encoder fake gave 3 of 5 embeddings"):
        Encodings(tmp_path).encode("fake", list("abcde"))
    fake.stop = 10**9
    assert len(Encodings(tmp_path).encode("fake", list("abcde"))) == 5 and fake.asked == list("abcde")


def test_a_part_without_keys_is_not_there_and_a_damaged_one_is_named(tmp_path: Path, fake: Fake) -> None:
    Encodings(tmp_path).encode("fake", ["a", "b"])
    (keys,) = (tmp_path / ".cache" / "vectors").rglob("*.keys.npy")
    whole = keys.read_bytes()
    keys.unlink()  # as after a kill between the two files
    Encodings(tmp_path).encode("fake", ["a"])
    assert fake.asked == ["a", "b", "a"]
    keys.write_bytes(whole[:-3])
    with pytest.raises(CimError, match=r"keys.npy: is damaged .*delete its two files"):
        Encodings(tmp_path).encode("fake", ["a"])
