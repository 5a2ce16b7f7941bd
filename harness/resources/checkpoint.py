"""A checkpoint folder: integrity check and digest.

Every ``*.safetensors`` file is checked against its own header, so a truncated one is found before anything is
loaded or written, and against ``manifest.json`` (``{"files": {name: sha256}}``) where the folder has one.
Pickled weights are never read.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import CimError
from harness.resources import data
from harness.store import regular

MANIFEST = "manifest.json"
ADAPTER, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
INDEX = "model.safetensors.index.json"
# The files that make a model; what training leaves beside them (optimiser, logs) is no part of it.
MAKES_A_MODEL = (
    *("*.safetensors", "config.json", "generation_config.json", INDEX, ADAPTER),
    *("tokenizer*", "vocab.*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model", "*.tiktoken"),
    *("*processor_config.json", "chat_template*", "modeling_*.py", "configuration_*.py", "*process*_*.py"),
)
LONGEST_HEADER = 100_000_000  # bytes; safetensors' own limit


def digest(folder: Path) -> str:
    """Check a checkpoint folder; returns the sha256 over names and contents of the files that make the model.

    Raises:
        CimError: no such folder, no config.json, no weights, a shard missing, a file truncated, or other bytes
            than its manifest names.
    """
    check(folder)
    sums = {path.name: _sha256(path, *_state(path)) for path in files(folder)}
    _compare(folder, sums)
    return digest_of(sums)


def digest_of(sums: Mapping[str, str]) -> str:
    """The digest of a folder from the sha256 of each file that makes its model, by name."""
    listing = "\n".join(f"{sums[name]} {name}" for name in sorted(sums))
    return "sha256:" + hashlib.sha256(listing.encode()).hexdigest()


def adapter_digest(folder: Path) -> str:
    """Check a folder with a LoRA adapter; returns the sha256 over its configuration and weights.

    Raises:
        CimError: no such folder, another kind of adapter, pickled or damaged weights.
    """
    if not (folder / ADAPTER).is_file():
        raise CimError(f"no LoRA adapter: {ADAPTER} is missing", where=str(folder), hint="copy the whole folder")
    if (kind := read_json(folder / ADAPTER).get("peft_type")) != "LORA":
        what, hint = (
            f"is an adapter of type {str(kind)[:40]!r}",
            "LoRA adapters are read; merge it where it was trained",
        )
        raise CimError(what, where=str(folder / ADAPTER), hint=hint)
    weights = folder / ADAPTER_WEIGHTS
    if not weights.is_file():
        hint = "pickled weights are not read: save it with safe_serialization=True"
        raise CimError(f"adapter has no {weights.name}", where=str(folder), hint=hint)
    _tensors(weights)
    sums = [_sha256(path, *_state(path)) for path in (folder / ADAPTER, weights)]
    return "sha256:" + hashlib.sha256("\n".join(sums).encode()).hexdigest()


def check(folder: Path) -> None:
    """CimError unless a folder holds a config.json and whole weights; reads no more than their headers."""
    if not folder.is_dir():
        raise CimError("no checkpoint folder", where=str(folder), hint="key 'checkpoint' is relative to its TOML file")
    _require_config(folder)
    _require_weights(folder)


def parameters(folder: Path) -> int:
    """Number of parameters in a folder's safetensors files, by their headers alone; CimError for a damaged one."""
    return sum(math.prod(shape) for path in folder.glob("*.safetensors") for shape, _ in _tensors(path))


def files(folder: Path) -> list[Path]:
    """The files that make the model, sorted."""
    return sorted({path for pattern in MAKES_A_MODEL for path in folder.glob(pattern) if path.is_file()})


def _state(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_mtime_ns, state.st_size


@functools.lru_cache(maxsize=256)
def _sha256(path: Path, _changed: int, _size: int) -> str:
    return data.sha256(path)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; CimError where it cannot be read."""
    try:
        content = json.loads(regular(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:  # also of a number of 5,000 digits
        raise CimError(f"is not readable JSON ({error})", where=str(path), hint="copy the checkpoint again") from error
    if not isinstance(content, dict):
        raise CimError("is not a JSON object", where=str(path), hint="copy the checkpoint again")
    return content


def _require_config(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise CimError("checkpoint has no config.json", where=str(folder), hint="copy the whole checkpoint folder")
    if not isinstance(read_json(folder / "config.json").get("model_type"), str):
        raise CimError("names no model_type", where=str(folder / "config.json"), hint="copy the checkpoint again")


def _require_weights(folder: Path) -> None:
    tensors = sorted(path for path in folder.glob("*.safetensors") if path.is_file())  # a link may lead nowhere
    wanted = set[str]()
    if (folder / INDEX).is_file():
        wanted = {str(name) for name in dict(read_json(folder / INDEX).get("weight_map", {})).values()}
    if missing := sorted(wanted.difference(path.name for path in tensors)):
        raise CimError(f"checkpoint lacks {', '.join(missing)}", where=str(folder), hint="copy the whole folder")
    if not tensors:
        raise CimError(
            "checkpoint has no *.safetensors weights", where=str(folder), hint="pickled weights are not read"
        )
    for path in tensors:
        _tensors(path)


def _tensors(path: Path) -> list[tuple[list[int], int]]:
    """Shape and bytes of each tensor of a safetensors file, by its header.

    The file is eight bytes of header length, a JSON header, then the tensors.

    Raises:
        CimError: it is truncated, or its header cannot be right.
    """
    size, hint = path.stat().st_size, "copy it again, or the whole folder"
    with path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else LONGEST_HEADER + 1
        if length > LONGEST_HEADER or length > size - 8:
            raise CimError(f"is invalid or truncated ({size} bytes)", where=str(path), hint=hint)
        try:
            header = json.loads(stream.read(length))
            entries = [entry for name, entry in header.items() if name != "__metadata__"]
            tensors = [(_shape(entry), entry["data_offsets"][1] - entry["data_offsets"][0]) for entry in entries]
            expected = 8 + length + max((entry["data_offsets"][1] for entry in entries), default=0)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            raise CimError("has a damaged safetensors header", where=str(path), hint=hint) from error
    # No format has less than a bit a number; what safetensors itself would refuse, or overflow at, is said here.
    if any(math.prod(shape) > 8 * content for shape, content in tensors):
        raise CimError("has a tensor that is larger than its bytes", where=str(path), hint=hint)
    if size != expected:
        what = f"is damaged: {size} bytes, {expected} expected from its header"
        raise CimError(what, where=str(path), hint=hint)
    return tensors


def _shape(entry: Mapping[str, Any]) -> list[int]:
    shape: list[int] = entry["shape"]
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"a shape of {shape}")
    return shape


def _compare(folder: Path, sums: dict[str, str]) -> None:
    """Hold the files against the folder's own manifest; one without a table of files asks for nothing."""
    path = folder / MANIFEST
    listed = read_json(path).get("files") if path.is_file() else None
    if not isinstance(listed, dict):
        return
    for name, entry in listed.items():
        expected = entry.get("sha256") if isinstance(entry, dict) else entry
        actual = sums.get(name) or (data.sha256(folder / name) if (folder / name).is_file() else None)
        if actual is None:
            raise CimError(f"checkpoint lacks {name}, which its {MANIFEST} names", where=str(folder))
        if actual != expected:
            hint = f"{MANIFEST} says {str(expected)[:12]}...; take the file again, or make the weights anew"
            raise CimError(f"has sha256 {actual[:12]}...", where=str(folder / name), hint=hint)
