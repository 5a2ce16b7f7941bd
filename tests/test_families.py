"""Every family of models that can be built small, through ``cim eval`` on both engines, on real photographs.

Random weights of about half a million parameters, so that only what is read and how it is continued is compared.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from harness import registry
from harness.command import cli
from harness.errors import CimError
from harness.runs import records
from harness.types import Completion, Request
from tests import pictures, tiny_internvl, tiny_models
from tests.conftest import SHARED
from tests.test_engines import weights, written

PHOTOGRAPHS = SHARED / "captions" / "capeval" / "images"
LACKING = [name for name in ("torch", "transformers", "vllm") if not importlib.util.find_spec(name)]
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(bool(LACKING), reason=f"{', '.join(LACKING)} not installed: make setup-vllm"),
    pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason=f"no photographs: {PHOTOGRAPHS} is an optional folder"),
]


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry is given back after a test."""
    monkeypatch.setattr(registry, "task", registry.task)
    monkeypatch.setattr(registry, "names", registry.names)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in tiny_models.KINDS if kind != "gemma3"])
def test_both_engines_caption_photographs_alike(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Equal prompt lengths, image tokens included, and equal greedy texts of all photographs."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "images").symlink_to(PHOTOGRAPHS)
    pictures.known(tmp_path / "pictures")
    folder = tiny_models.build(tmp_path / "weights", kind)
    more = "[sampling]\nmax_tokens = 12\n[vllm]\nmax_model_len = 1024\n"
    place = pictures.model_folder(tmp_path / "tiny", folder, more=more)
    rows: dict[str, dict[str, Completion]] = {}
    for engine in ("transformers", "vllm"):
        results = tmp_path / engine
        asked = ["--model", str(place), "--engine", engine, "--metrics", "length", "--draws", "0"]
        code = cli.main(["eval", *asked, "--results", str(results), "--json"])  # vLLM wants a real standard output
        assert code == 0, capfd.readouterr().err
        rows[engine] = dict(records.read(results / "pictures" / "tiny"))
    assert len(rows["vllm"]) == len(list(PHOTOGRAPHS.iterdir())) and not any(row.error for row in rows["vllm"].values())
    for name, row in rows["transformers"].items():
        assert rows["vllm"][name] == row, name


@pytest.mark.slow
def test_weights_that_vllm_cannot_read_are_one_line(tmp_path: Path) -> None:
    """A Gemma 3 or LLaVA that transformers 5 saved: vLLM 0.31 knows its vision tower by other names."""
    gemma = weights(tiny_models.build(tmp_path / "gemma3", "gemma3"), max_tokens=8)
    asked = [Request("a", "Describe", next(PHOTOGRAPHS.iterdir()))]
    assert written("transformers", gemma, asked)["a"].completion_tokens
    with pytest.raises(CimError, match=r"no module or parameter named 'vision_tower.*try --engine transformers"):
        written("vllm", gemma, asked)


def test_internvl_in_its_original_layout(tmp_path: Path) -> None:
    """The tokenizer's template with a placeholder; the number of tiles follows an image's shape and ``max_tiles``."""
    folder = tmp_path / "internvl_chat"
    folder.mkdir()
    internvl = replace(weights(tiny_internvl.build(folder), max_tokens=8), vllm={"max_model_len": 512})
    internvl = replace(internvl, image_placeholder="<image>", trust_remote_code=True)
    paths = sorted(PHOTOGRAPHS.iterdir())[:4]
    asked = [Request(path.stem, "Describe", path) for path in paths]
    free = written("vllm", internvl, asked)
    few = written("vllm", replace(internvl, max_tiles=1), asked)
    assert not [completion.error for completion in free.values() if completion.error]
    text = 22 + 4  # tokens of the text and of one tile
    assert {completion.prompt_tokens for completion in few.values()} == {text}
    counts = {int(completion.prompt_tokens or 0) - text for completion in free.values()}
    assert all(count % 4 == 0 for count in counts) and max(counts) > 0
    assert len({completion.text for completion in free.values()}) > 1
