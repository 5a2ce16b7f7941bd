"""How a reward looks captions up: precision, search and device. No GPU: torch.cuda is a fake that only answers."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness import registry
from harness.errors import CimError
from harness.resources import devices, machine
from harness.retrieval import gallery, index, sources
from harness.train import plan as planning
from harness.train import reward
from tests.training import tiny

torch = pytest.importorskip("torch", reason="torch is not installed: run `make setup-models`")


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake: four GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(machine, "gpus", lambda: (machine.Gpu("fake", "999.0", 80.0),))


def test_bfloat16_retrieves_what_float32_does() -> None:
    """Top 3 of 400 captions in 1,000 rows: 99.7 % of the rows, where two rows are closer than bfloat16 tells apart."""
    pytest.importorskip("transformers", reason="transformers is not installed: run `make setup-models`")
    rows = gallery.open_folder(gallery.place("miniscenes-1000"))
    captions = [pair.caption for pair in islice(sources.read_world("miniscenes", "train:400"), 400)]
    vectors, nearest = dict[str, Any](), dict[str, Any]()
    for precision in devices.PRECISIONS:
        with gallery.encoding(rows.encoder("text"), precision) as encode:
            vectors[precision] = gallery.unit(encode(captions), "caption")
        nearest[precision] = index.by_name("exact", rows.text).find(vectors[precision], 3)[1]
    assert not np.array_equal(vectors["bfloat16"], vectors["float32"]), "the precision reached the encoder"
    assert (vectors["bfloat16"] * vectors["float32"]).sum(axis=1).min() > 0.9999
    same = [
        len({*left} & {*right}) / 3 for left, right in zip(*(nearest[name].tolist() for name in nearest), strict=True)
    ]
    assert np.mean(same) > 0.99


@pytest.mark.usefixtures("cards")
def test_each_process_of_a_launch_has_a_card_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert devices.torch_device() == "cuda"
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert devices.torch_device() == "cuda:2"
    asked = list[Any]()
    monkeypatch.setattr(index, "exact", lambda *_, device: asked.append(device))
    index.by_name("exact-cuda", np.eye(3, dtype=np.float32))
    index.by_name("exact", np.eye(3, dtype=np.float32))
    assert asked == ["cuda:2", None]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # a launcher that shows each process one card
    assert devices.torch_device() == "cuda:0"


@pytest.mark.usefixtures("cards")
def test_an_image_tower_is_loaded_onto_that_card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed: run `make setup-models`")
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setenv("CIM_MODELS", str(tmp_path))
    folder = tmp_path / "CLIP-ViT-H-14-laion2B-s32B-b79K"
    folder.mkdir()
    for name in ("open_clip_model.safetensors", "open_clip_config.json"):
        (folder / name).touch()
    asked = list[str]()

    def create(*_: Any, device: str, **__: Any) -> Any:
        asked.append(device)
        return SimpleNamespace(eval=lambda: None), None, None

    monkeypatch.setattr(open_clip, "create_model_and_transforms", create)
    with registry.encoder("vit_h_14").session():
        assert asked == ["cuda:3"]


def test_the_choice_is_named_where_it_is_not_the_default(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Manifests of a CPU stay as they were; those of a GPU name what changes numbers."""
    monkeypatch.setattr(machine, "gpus", lambda: ())
    assert reward.lookup(None, None) == reward.Lookup() and reward.Lookup().changes() == {}
    assert "lookup" not in planning.settings(tiny(tmp_path, tmp_path))["training"]
    forced = tiny(tmp_path, tmp_path, search="exact-cpu", precision="bfloat16")
    assert planning.settings(forced)["training"]["lookup"] == {"search": "exact-cpu", "precision": "bfloat16"}
    for search, line in (("exact-gpu", "unknown search"), ("exact-cuda", "finds no GPU that torch can use")):
        with pytest.raises(CimError, match=line):
            reward.lookup(search, None)
    request.getfixturevalue("cards")
    assert reward.lookup(None, None) == reward.Lookup("exact-cuda", "bfloat16")
    assert reward.lookup("exact", "float32").changes() == {}
