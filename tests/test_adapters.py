"""A LoRA adapter, or a checkpoint without a model.toml, is a model: it runs as its base does, or says why not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import registry
from harness.errors import CimError
from harness.stages import model
from harness.types import Request
from tests import pictures, tiny_models
from tests.test_engines import NO_VLLM, written

for name in ("torch", "transformers", "peft"):
    pytest.importorskip(name, reason=f"{name} is not installed: run `make setup-train`")

BASE = """about = "Tiny."
engine = "transformers"
checkpoint = "./weights"
dtype = "float32"
system = "Look."

[sampling]
temperature = 0
max_tokens = 12

[image]
max_pixels = 6272

[vllm]
max_model_len = 1024
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``models/`` (a tiny base model and its file) and ``adapter/``, whose captions differ from its."""
    import torch
    from peft import get_peft_model

    from harness.train import checkpoints

    folder = tmp_path_factory.mktemp("trained")
    start = tiny_models.build(folder / "models" / "weights", "qwen2_vl")
    (folder / "models" / "tiny-base.toml").write_text(BASE)
    adapted = get_peft_model(model_ := checkpoints.load(str(start), str(start), "float32"), checkpoints.adapter(model_))
    torch.manual_seed(1)
    for parameter in (value for name, value in adapted.named_parameters() if "lora_B" in name):
        torch.nn.init.normal_(parameter, std=0.5)
    adapted.save_pretrained(folder / "adapter")
    pictures.draw(folder / "images", 3)
    return folder


@pytest.fixture
def adapter(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the adapter's folder; the model file of its base is known."""
    monkeypatch.setenv("CIM_MODELS", str(trained / "models"))
    monkeypatch.setenv("CIM_RESULTS", str(tmp_path / "results"))
    registry.forget()
    shutil.copytree(trained / "adapter", tmp_path / "mine")
    yield tmp_path / "mine"
    registry.forget()


def state(folder: Path, **changes: Any) -> Path:
    """The adapter's configuration with other values."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def resolved(folder: Path, engine: str | None = None) -> Any:
    (adapted,) = model.resolve(str(folder), folder.parent, engine=engine)
    return adapted


def requests(trained: Path) -> list[Request]:
    return [Request(path.stem, "Describe", path) for path in sorted((trained / "images" / "images").iterdir())]


def test_an_adapter_runs_as_its_base_does(adapter: Path, trained: Path) -> None:
    """Settings are the base's, the captions those of the merged weights; its bytes are part of what it is."""
    from harness.train import checkpoints

    base = model.from_toml(trained / "models" / "tiny-base.toml")
    adapted = resolved(adapter)
    assert adapted.name == "mine" and adapted.settings == {**base.settings, "adapter": adapted.weights.adapter_digest}
    checkpoints.merge(base.weights, "float32", adapter)
    texts = written("transformers", adapted.weights, requests(trained))
    (adapter / "merged" / "model.toml").write_text(BASE.replace("./weights", "."))
    merged = written("transformers", model.from_toml(adapter / "merged" / "model.toml").weights, requests(trained))
    assert texts == merged and texts != written("transformers", base.weights, requests(trained))
    assert resolved(state(adapter, r=32)).settings != adapted.settings


@pytest.mark.vllm
@pytest.mark.skipif(NO_VLLM, reason="vllm is not installed: make setup-vllm")
def test_both_engines_merge_alike(adapter: Path, trained: Path) -> None:
    """vLLM reads the merged folder, which is made once."""
    adapted = resolved(adapter, "vllm")
    assert written("vllm", adapted.weights, requests(trained)) == written(
        "transformers", adapted.weights, requests(trained)
    )
    (place,) = (adapter.parent / "results" / ".cache" / "merged").glob("*/model.safetensors")
    before = place.stat().st_mtime_ns
    from harness.engines import _adapter, _weights

    again = _adapter.folder(adapted.weights, _weights.load_processor(adapted.weights), "float32", None)
    assert Path(again) == place.parent and place.stat().st_mtime_ns == before


def _pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def _cut(folder: Path) -> None:
    place = folder / "adapter_model.safetensors"
    place.write_bytes(place.read_bytes()[:-1])


def _nameless(folder: Path) -> None:
    state(folder, base_model_name_or_path=None)
    (folder / "README.md").unlink()


def _card(folder: Path) -> None:
    state(folder, base_model_name_or_path=None)
    (folder / "README.md").write_text("---\nbase_model: someone/else\n---\n")


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "pickled": (_pickled, "adapter has no adapter_model.safetensors; pickled weights are not read"),
    "cut": (_cut, "is damaged: "),
    "another kind": (lambda place: state(place, peft_type="IA3"), "is an adapter of type 'IA3'"),
    "no base": (_nameless, "names no base model"),
    "a number": (lambda place: state(place, base_model_name_or_path=3), "names no base model"),
    "a foreign path": (
        lambda place: state(place, base_model_name_or_path="/root/gone"),
        r"no model file has its base model '/root/gone'; write a model.toml beside it: .*adapter = \"\.\"",
    ),
    "a relative path": (lambda place: state(place, base_model_name_or_path="../../x"), "no model file has its base"),
    "the model card": (_card, "no model file has its base model 'someone/else'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_folder_that_cannot_run_is_one_line(case: str, adapter: Path) -> None:
    change, line = REFUSED[case]
    change(adapter)
    with pytest.raises(CimError, match=line):
        resolved(adapter)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"megatron_config": {"x": 1}}, "adapter uses megatron_config; merge it where it was trained"),
        ({"target_modules": ["nowhere"]}, "adapter does not fit its base model"),
        ({"target_modules": ["q_proj"]}, r"\d+ tensors of the adapter and weights of its base do not meet"),
        ({"r": 7}, "adapter does not fit its base model"),
    ],
)
def test_an_adapter_that_does_not_fit_is_not_left_out(changes: dict[str, Any], line: str, adapter: Path) -> None:
    adapted = resolved(state(adapter, **changes))
    from harness.engines import transformers

    with pytest.raises(CimError, match=line):
        transformers.load(adapted.weights)


COMMIT = "cc594898137f460bfe9f0759e9844b3ce807cfb6"
SNAPSHOT = f"/home/x/.cache/huggingface/hub/models--Qwen--Qwen2.5-VL-7B-Instruct/snapshots/{COMMIT}"


@pytest.mark.parametrize(
    ("base", "revision"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", None),
        ("/root/.cache/modelscope/hub/models/Qwen/Qwen2___5-VL-7B-Instruct", None),
        (SNAPSHOT, COMMIT),
    ],
)
def test_the_base_is_known_by_its_name_on_the_hub(base: str, revision: str | None, adapter: Path) -> None:
    """Also by where another machine kept it; the revision of a cached one is the one that was trained."""
    known = model.from_toml(registry.model_file("qwen2.5-vl-7b"))
    adapted = resolved(state(adapter, base_model_name_or_path=base))
    assert (adapted.engine, adapted.tasks) == ("vllm", known.tasks)
    expected = {"revision": revision or known.weights.revision, "adapter": adapted.weights.adapter_digest}
    assert adapted.settings == {**known.settings, **expected}


def test_names_of_tensors_that_another_transformers_gave(adapter: Path, trained: Path) -> None:
    """Qwen2-VL's language model lay one level higher in transformers 4: the same captions, not those of the base."""
    from safetensors.torch import load_file, save_file

    now = written("transformers", resolved(adapter).weights, requests(trained))
    place = adapter / "adapter_model.safetensors"
    tensors = load_file(place)
    save_file({name.replace("model.language_model.", "model."): value for name, value in tensors.items()}, place)
    assert not tensors.keys() & load_file(place).keys()
    then = state(adapter, target_modules=["up_proj", "down_proj", "gate_proj", "q_proj", "k_proj", "v_proj", "o_proj"])
    assert written("transformers", resolved(then).weights, requests(trained)) == now


def test_a_checkpoint_without_a_model_file(adapter: Path, trained: Path) -> None:
    folder = adapter.parent / "full"
    shutil.copytree(trained / "models" / "weights", folder)
    with pytest.raises(CimError, match=r"names no base model \(config.json: _name_or_path\); write a model.toml"):
        resolved(folder)
    (folder / "README.md").write_text(f"---\nbase_model: {trained}/models/weights\n---\n")
    base = model.from_toml(trained / "models" / "tiny-base.toml")
    assert resolved(folder).settings == base.settings and resolved(folder).name == "full"
