"""A checkpoint's files are somebody's: templates that do not end or refuse, JSON of another form, are one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.engines import _template, _weights, transformers
from harness.errors import CimError
from harness.types import Request
from harness.weights import Weights
from tests.conftest import ROOT

pytest.importorskip("torch")
pytest.importorskip("transformers")

MINI = ROOT / "tasks/miniscenes/weights/mini-base"
DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the embedded captioner."""
    return shutil.copytree(MINI, tmp_path / "checkpoint", ignore=shutil.ignore_patterns("manifest.json"))


def weights(folder: Path, **settings: Any) -> Weights:
    return Weights(str(folder), digest="sha256:0", **settings)


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'a' * 9000000000 }}",
        "{{ 'a' * 2000000 }}",
        "{% set x = namespace(y='a') %}{% for a in range(60) %}{% set x.y = x.y ~ x.y %}{% endfor %}",
    ],
    ids=["a loop", "memory", "a long prompt", "doubling"],
)
def test_a_template_without_end_is_refused(template: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_template, "SECONDS", 1)
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(CimError, match="checkpoint: its chat template needs over 1 s, 4 GB or 1048576 letters"):
        _weights.load_processor(weights(folder))


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('System role\\nnot supported') }}", "TemplateError: System role not supported"),
        ("{% if %}", "TemplateSyntaxError: Expected an expression"),
        ("{{ a.b.c }}", "UndefinedError: 'a' is undefined"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError: access to attribute '__class__'"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{{ messages[0].content + 1 }}", "TypeError"),
    ],
)
def test_a_template_that_refuses_or_fails_is_one_line(template: str, reason: str, folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(template)
    processor = _weights.load_processor(weights(folder))
    with pytest.raises(CimError, match=rf"checkpoint: its chat template refuses a message \({reason}"):
        _weights.render(weights(folder, system="Be brief."), processor, Request("a", "Describe it."))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", "9" * 5000),
        ("config.json", DEEP),
        *(("tokenizer.json", text) for text in (DEEP, "[" * 100_000, "{}", "[]", '{"version": 0}')),
        ("tokenizer_config.json", DEEP),
        ("tokenizer_config.json", "[1]"),
        ("processor_config.json", DEEP),
        ("generation_config.json", DEEP),
        ("generation_config.json", "[1]"),
        ("generation_config.json", '{"eos_token_id": "x"}'),
    ],
)
def test_json_of_another_form_is_one_line(file: str, content: str, folder: Path) -> None:
    (folder / file).write_text(content)
    with pytest.raises(CimError, match="checkpoint"):
        transformers.load(weights(folder))


@pytest.mark.parametrize("place", ["normalizer", "pre_tokenizer", "post_processor", "decoder", "model", "added_tokens"])
def test_a_tokenizer_of_another_form_is_one_line(place: str, folder: Path) -> None:
    """tokenizers raises exceptions of no kind."""
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), place: "x"}))
    with pytest.raises(CimError, match="processor cannot be loaded"):
        _weights.load_processor(weights(folder))


@pytest.mark.parametrize("place", ["architectures", "image_token_id", "text_config"])
def test_a_config_of_another_form_is_one_line(place: str, folder: Path) -> None:
    """transformers checks its fields with exceptions of huggingface_hub's."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), place: "x"}))
    with pytest.raises(CimError, match="checkpoint"):
        transformers.load(weights(folder))
