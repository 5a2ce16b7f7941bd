"""A checkpoint or LoRA adapter as a trainer leaves it, without a ``model.toml``: run as its base model is.

TRL, LLaMA-Factory and ms-swift name the base model in ``adapter_config.json``, ``config.json`` or the model card: a hub
id, or a path on the machine that trained. The model file with that checkpoint says the rest: engine, dtype, sampling,
prompt, image limits. What a folder says is data: it chooses among model files here and has no say in what code runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import registry
from harness.errors import CimError
from harness.models import model_file
from harness.resources import checkpoint

CACHED = re.compile(r"models--([^/]+)--([^/]+)/snapshots/([0-9a-f]{40})")  # of the Hugging Face cache
CARD = re.compile(r"^base_model:\s*[\"']?([^\s\"']+)", re.MULTILINE)
OF_THE_HUB = ("revision", "trust_remote_code", "gated")  # keys that say nothing about a folder


def is_model(folder: Path) -> bool:
    """Does a folder hold an adapter or a checkpoint?"""
    return any((folder / name).is_file() for name in (checkpoint.ADAPTER, "config.json"))


def content(folder: Path) -> tuple[dict[str, Any], Path]:
    """What a ``model.toml`` of this folder would say, and the model file of its base, to which paths are relative.

    Raises:
        CimError: no base is named, none or several model files have it, or the adapter is damaged.
    """
    adapter, place = (folder / checkpoint.ADAPTER).is_file(), str(folder.absolute())
    if adapter:
        checkpoint.adapter_digest(folder)
    base = _base(folder, adapter)
    path, stated = _model_file(base, folder, adapter)
    if not adapter:
        return {**_without(stated, OF_THE_HUB), "checkpoint": place}, path
    if path.parent != Path(base).absolute() and Path(base).is_dir() and not CACHED.search(base):
        stated = {**_without(stated, OF_THE_HUB), "checkpoint": str(Path(base).absolute())}  # these bytes were trained
    elif (cached := CACHED.search(base)) and not stated.get("trust_remote_code"):
        stated = {**stated, "revision": cached[3]}
    return {**stated, "adapter": place}, path


def _without(content: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in keys}


def _base(folder: Path, adapter: bool) -> str:
    """The name or path of the base model that the folder's files give."""
    key, name = ("base_model_name_or_path", checkpoint.ADAPTER) if adapter else ("_name_or_path", "config.json")
    base = checkpoint.read_json(folder / name).get(key)
    card = folder / "README.md"
    if not base and card.is_file():
        named = CARD.search(card.read_text(encoding="utf-8", errors="replace"))
        base = named and named[1]
    if not isinstance(base, str) or not base or "\0" in base:
        raise CimError(f"names no base model ({name}: {key})", where=str(folder), hint=_hint("", adapter))
    return base


def _model_file(base: str, folder: Path, adapter: bool) -> tuple[Path, dict[str, Any]]:
    """The one model file whose checkpoint is this base model, and what it says."""
    if (beside := Path(base).absolute() / "model.toml").is_file():
        return beside, model_file.read(beside)
    cached, parts = CACHED.search(base), Path(base).parts
    # ModelScope's cache, which ms-swift uses, writes a dot of a name as three underscores.
    ids = {base, f"{cached[1]}/{cached[2]}" if cached else "/".join(parts[-2:]).replace("___", ".")}
    matching = dict[Path, dict[str, Any]]()
    for path in map(registry.model_file, registry.names("models")):
        stated = registry.stated(path)
        where = str(stated.get("checkpoint"))
        if where in ids or (Path(base).is_dir() and (path.parent / where).resolve() == Path(base).resolve()):
            matching[path] = model_file.read(path)
    if len(matching) == 1:
        return next(iter(matching.items()))
    which = f"{len(matching)} model files have" if matching else "no model file has"
    what = f"{which} its base model {' '.join(base.split())[:120]!r}"
    raise CimError(what, where=str(folder), hint=_hint(base, adapter))


def _hint(base: str, adapter: bool) -> str:
    lines = f'checkpoint = "{base or "THE BASE MODEL"}", adapter = "."' if adapter else 'checkpoint = "."'
    return f'write a model.toml beside it: about = "...", engine = "transformers", {" ".join(lines.split())[:160]}'
