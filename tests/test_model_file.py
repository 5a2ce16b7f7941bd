"""Model files and checkpoint folders: every mistake is one line with file, key and line, and nothing is written."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import CimError
from harness.models import model_file
from harness.resources import checkpoint
from harness.stages import model
from tests.cli import Cim

HEAD = 'about = "x"\nengine = "transformers"\ncheckpoint = "ckpt"\n'
SERVED = 'about = "x"\nengine = "openai"\n[openai]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "m"\n'
BAD = {
    f"{HEAD}colour = 3\n": "m.toml:4: unknown key 'colour'",
    f"{HEAD}dtype = 16\n": "m.toml:4: key 'dtype' must be str, found int",
    f'{HEAD}dtype = "float8"\n': "m.toml:4: key 'dtype' must be one of auto, float32, bfloat16, float16, found",
    f"{HEAD}trust_remote_code = 1\n": "m.toml:4: key 'trust_remote_code' must be bool, found int",
    f"{HEAD}sampling = 1\n": "m.toml:4: 'sampling' must be a table, found int",
    f"{HEAD}[sampling]\nseed = 1\ntemprature = 0\n": "m.toml:6: unknown key 'sampling.temprature'",
    f"{HEAD}[sampling]\ntemperature = -1\n": "m.toml:5: key 'sampling.temperature' must be 0 or more and at most 100",
    f"{HEAD}[sampling]\ntemperature = nan\n": "m.toml:5: key 'sampling.temperature' must be 0 or more",
    f"{HEAD}[sampling]\ntemperature = true\n": "m.toml:5: key 'sampling.temperature' must be float, found bool",
    f"{HEAD}[sampling]\ntop_p = 0\n": "m.toml:5: key 'sampling.top_p' must be above 0 and at most 1, found 0",
    f"{HEAD}[sampling]\nmax_tokens = 1.5\n": "m.toml:5: key 'sampling.max_tokens' must be int, found float",
    f"{HEAD}[image]\nmax_pixels = 0\n": "m.toml:5: key 'image.max_pixels' must be 1 or more, found 0",
    f"{HEAD}[image]\nmin_pixels = 9\nmax_pixels = 4\n": "m.toml:5: key 'image.min_pixels' is above image.max_pixels",
    f"{HEAD}[image]\nmin_tiles = 9\nmax_tiles = 4\n": "m.toml:5: key 'image.min_tiles' is above image.max_tiles",
    f'{HEAD}[image]\nbackend = "cv2"\n': "m.toml:5: key 'image.backend' must be one of pil, torchvision, found 'cv2'",
    f'{HEAD}image_placeholder = " <image>"\n': "m.toml:4: key 'image_placeholder' must match",
    f'{HEAD}image_placeholder = "<image>"\n': "engine transformers has no processor for its images (key 'image_place",
    f'{HEAD}[vllm]\nquantization = "fp8"\n': "engine transformers does not know key 'vllm.quantization', which changes",
    f'{HEAD}revision = "main"\ntrust_remote_code = true\n': "m.toml:5: key 'trust_remote_code' needs a pinned revision",
    f'{HEAD}revision = "{40 * "a"}"\ntrust_remote_code = true\n': "'trust_remote_code' does not go with a checkpoint f",
    f'{HEAD}unavailable = "gone; take another"\n': "model m: cannot run here: gone; take another",
    f"{HEAD}memory_gb = 0\n": "m.toml:4: key 'memory_gb' must be above 0",
    f"{HEAD}[vllm]\n# seed = 1\nenforce_eager = 0\n": "m.toml:6: key 'vllm.enforce_eager' must be bool, found int",
    f"{HEAD}[vllm]\ngpu_memory_utilization = 2\n": "m.toml:5: key 'vllm.gpu_memory_utilization' must be above 0",
    f"{HEAD}sampling.top_k = -1\n": "m.toml:4: key 'sampling.top_k' must be 0 or more, found -1",
    f"{HEAD}sampling = {{ seed = 1, top_k = -1 }}\n": "m.toml:4: key 'sampling.top_k' must be 0 or more, found -1",
    f'{HEAD}tasks = ["docci500", 5]\n': "m.toml:4: key 'tasks' must be a list of texts",
    f'{HEAD}tasks = ["docci50"]\n': "unknown task 'docci50'; did you mean docci500?",
    f'{HEAD}captions = "x.jsonl"\n': "m.toml:3: key 'checkpoint' does not go with 'captions'",
    'about = "x"\nengine = "transformers"\n': "m.toml: key 'checkpoint' is missing; a hub id, or a folder",
    f'{SERVED}omit = ["temprature"]\n': "m.toml:6: key 'openai.omit' must be one of temperature, top_p,",
    f'{SERVED}omit = ["seed"]\n[sampling]\nseed = 1\n': "m.toml:8: key 'sampling.seed' is set and left out by",
    f'{SERVED}max_tokens_field = "tokens"\n': "m.toml:6: key 'openai.max_tokens_field' must be one of max_tokens, max_",
    HEAD.replace("transformers", "transformer"): "unknown engine 'transformer'; did you mean transformers?",
    f"{HEAD}[sampling\n": "m.toml: is not a readable TOML file",
    f"{HEAD}[sampling]\nseed = {'9' * 5000}\n": "m.toml: is not a readable TOML file (Exceeds the limit",
    f"{HEAD}a = {'[' * 100_000}": "m.toml: is not a readable TOML file (",
    **{
        SERVED.replace("127.0.0.1:9", host): "m.toml:4: key 'openai.base_url' is no address ("
        for host in ("[::1", "a:b:c", "a:99999999", "....", "[zz]", "a" * 64 + ".com", "\u2100.com", "a\\\\b")
    },
}


def safetensors(path: Path, size: int = 8) -> None:
    """A file of one tensor of ``size`` bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with ``m.toml`` and a checkpoint that is whole, though of no known architecture."""
    (tmp_path / "ckpt").mkdir()
    (tmp_path / "ckpt" / "config.json").write_text('{"model_type": "none_such"}')
    safetensors(tmp_path / "ckpt" / "model.safetensors")
    (tmp_path / "m.toml").write_text(HEAD, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("text", BAD, ids=list(BAD.values()))
def test_a_bad_file_names_key_and_line(text: str, folder: Path, cim: Cim, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "m.toml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("CIM_MODELS", str(folder))
    assert BAD[text] in cim.refused("caption", "--model", "m", "--task", "docci500")
    assert not cim.results.exists()


def test_settings_hold_every_default(folder: Path) -> None:
    (folder / "m.toml").write_text(f"{HEAD}[sampling]\ntemperature = 1\n", encoding="utf-8")
    settings = dict(model.from_toml(folder / "m.toml").settings)
    assert str(settings.pop("checkpoint")).startswith("sha256:")
    assert settings == {
        "engine": "transformers",
        "revision": None,
        "dtype": "auto",
        "system": None,
        "sampling": {
            "temperature": 1.0,
            "top_p": 1.0,
            "top_k": 0,
            "max_tokens": 1024,
            "seed": 0,
            "repetition_penalty": 1.0,
        },
        "image": {"min_pixels": None, "max_pixels": None},
    }
    assert model.from_toml(folder / "m.toml", "vllm").settings["engine"] == "vllm"
    json.dumps(dict(settings))


def test_a_new_setting_is_named_where_it_is_set(folder: Path) -> None:
    """And only there, so that runs from before it existed are the same runs."""
    before = model.from_toml(folder / "m.toml", "vllm").settings
    more = 'image_placeholder = "<image>"\n[image]\nmax_tiles = 6\nbackend = "pil"\n'
    (folder / "m.toml").write_text(f'{HEAD}{more}[vllm]\nkv_cache_dtype = "fp8"\npipeline_parallel_size = 2\n')
    after = dict(model.from_toml(folder / "m.toml", "vllm").settings)
    assert (after.pop("image_placeholder"), after.pop("kv_cache_dtype")) == ("<image>", "fp8")
    assert after == before | {"image": {**before["image"], "max_tiles": 6, "backend": "pil"}}


def test_code_of_the_hub_runs_at_a_pinned_revision_only(folder: Path) -> None:
    """And never by the word of a folder that may come from anybody."""
    text = HEAD.replace('"ckpt"', '"some/model"') + f'revision = "{40 * "a"}"\ntrust_remote_code = true\n'
    (folder / "m.toml").write_text(text, encoding="utf-8")
    weights = model.from_toml(folder / "m.toml").weights
    assert weights is not None and weights.trust_remote_code and not weights.local
    (folder / "model.toml").write_text(text, encoding="utf-8")
    with pytest.raises(CimError, match="'trust_remote_code' does not go with a checkpoint folder"):
        model.from_toml(folder / "model.toml")


def test_a_field_that_is_not_sent_is_no_setting(folder: Path) -> None:
    (folder / "m.toml").write_text(SERVED, encoding="utf-8")
    every = model.from_toml(folder / "m.toml").settings["sampling"]
    more = 'omit = ["temperature", "seed"]\nmax_tokens_field = "max_completion_tokens"\n'
    (folder / "m.toml").write_text(SERVED + more, encoding="utf-8")
    read = model.from_toml(folder / "m.toml")
    assert read.settings["sampling"] == {key: every[key] for key in every if key not in ("temperature", "seed")}
    assert read.server is not None and read.server.omit == ("temperature", "seed")
    assert read.server.max_tokens_field == "max_completion_tokens"


def test_the_digest_is_of_what_makes_the_model(folder: Path) -> None:
    place = folder / "ckpt"
    before = checkpoint.digest(place)
    (place / "optimizer.pt").write_text("no part of the model")
    assert checkpoint.digest(place) == before
    (place / "chat_template.jinja").write_text("{{ messages }}")
    assert checkpoint.digest(place) != before


def _cut(place: Path) -> None:
    path = place / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-3])


def _shards(place: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "w": "model.safetensors"}}
    (place / "model.safetensors.index.json").write_text(json.dumps(index))


def _manifest(place: Path) -> None:
    (place / "manifest.json").write_text(json.dumps({"files": {"model.safetensors": "0" * 64}}))


def _header(shape: str, offsets: str = "[0, 4]") -> Callable[[Path], object]:
    """Writes weights of one tensor with this shape over four bytes."""
    header = f'{{"w": {{"dtype": "F32", "shape": {shape}, "data_offsets": {offsets}}}}}'.encode()
    content = struct.pack("<Q", len(header)) + header + bytes(4)
    return lambda place: (place / "model.safetensors").write_bytes(content)


DAMAGED = "a damaged safetensors header"
HEADERS = {
    "shape beyond its bytes": (_header("[4611686018427387904, 4611686018427387904]"), "a tensor that is larger"),
    "shape below zero": (_header("[-1]"), DAMAGED),
    "shape of words": (_header('["x"]'), DAMAGED),
    "shape of 5,000 digits": (_header(f"[{'9' * 5000}]"), DAMAGED),
    "shape is a number": (_header("7"), DAMAGED),
    "offsets are words": (_header("[1]", '["a", "b"]'), DAMAGED),
    "nested shape": (_header("[" * 100_000), DAMAGED),
}
BROKEN = {
    "no config": (lambda place: (place / "config.json").unlink(), "checkpoint has no config.json"),
    "config is cut": (lambda place: (place / "config.json").write_text("{"), "config.json: is not readable JSON"),
    "no model_type": (lambda place: (place / "config.json").write_text("{}"), "config.json: names no model_type"),
    "no weights": (lambda place: (place / "model.safetensors").unlink(), "checkpoint has no *.safetensors weights"),
    "weights are cut": (_cut, "model.safetensors: is damaged: "),
    "weights are a page": (
        lambda place: (place / "model.safetensors").write_text("<html>not found</html>"),
        "model.safetensors: is invalid or truncated",
    ),
    **{name: (header, f"model.safetensors: has {line}") for name, (header, line) in HEADERS.items()},
    "a number of 5,000 digits": (
        lambda place: (place / "config.json").write_text('{"model_type": ' + "9" * 5000 + "}"),
        "config.json: is not readable JSON",
    ),
    "a shard is missing": (_shards, "checkpoint lacks model-1.safetensors"),
    "other bytes": (_manifest, "model.safetensors: has sha256 "),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_checkpoint_is_one_line(case: str, folder: Path, cim: Cim, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil, line = BROKEN[case]
    spoil(folder / "ckpt")
    monkeypatch.setenv("CIM_MODELS", str(folder))
    assert line in cim.refused("caption", "--model", "m", "--task", "docci500")
    assert not cim.results.exists()


def test_a_manifest_that_agrees_is_accepted(folder: Path) -> None:
    path = folder / "ckpt" / "model.safetensors"
    entry = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
    (folder / "ckpt" / "manifest.json").write_text(json.dumps({"seed": 1, "files": {"model.safetensors": entry}}))
    assert checkpoint.digest(folder / "ckpt").startswith("sha256:")


def test_no_folder_of_that_name(folder: Path) -> None:
    (folder / "m.toml").write_text(HEAD.replace("ckpt", "./gone"), encoding="utf-8")
    with pytest.raises(CimError, match=r"gone: no checkpoint folder; key 'checkpoint' is relative to its TOML file"):
        model.from_toml(folder / "m.toml")


def test_engine_is_for_models_with_a_checkpoint(cim: Cim, tmp_path: Path) -> None:
    for given in ("demo-detailed", str(tmp_path / "x.jsonl")):
        line = cim.refused("eval", "--model", given, "--engine", "transformers")
        assert "cannot be run by engine 'transformers'; --engine is for models with a checkpoint" in line


def test_the_real_model_reads_as_cim_ran_it() -> None:
    qwen = model.from_toml(model.registry.model_file("qwen2.5-vl-7b"))
    assert qwen.weights is not None and not qwen.weights.local
    assert (qwen.engine, qwen.tasks) == ("vllm", ("coco_ln500", "docci500"))
    assert qwen.weights.sampling.temperature == 0 and qwen.weights.sampling.max_tokens == 1024


def test_what_every_model_of_the_project_says(cim: Cim) -> None:
    """Code of the hub is pinned or the model says why it cannot run, in the list and in one line when asked."""
    listed = cim("list", "models", "--json").json["models"]
    for name, facts in listed.items():
        content = model_file.read(model.registry.model_file(name))
        if facts["unavailable"]:
            assert facts["unavailable"] in cim("list", "models").out
            assert facts["unavailable"] in cim.refused("eval", "--model", name, "--task", "docci500")
        elif (weights := model.from_toml(model.registry.model_file(name)).weights) and not weights.local:
            assert weights.dtype != "float32" and facts["memory_gb"], name
        assert content.get("gated", False) == bool(facts["gated"])
    assert {"internvl2-8b", "llava-1.5-7b", "cim-qwen2.5-vl-7b", "claude-3.7", "gemini-1.5"} <= listed.keys()


def test_lines_are_found_however_a_key_is_written() -> None:
    text = '[image]\n\n"max_pixels" = 1\n[sampling]\n# seed = 2\n seed = 1\n'
    assert model_file.line(text, "max_pixels", "image") == 3
    assert model_file.line(text, "seed", "sampling") == 6
