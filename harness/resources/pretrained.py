"""Published checkpoints that metrics need: by name, pinned to a commit, brought by an explicit command.

Looked for in ``$CIM_MODELS/<last part of the hub id>/`` first, then in the Hugging Face cache at the pinned commit;
nothing here asks the network but ``fetch``. What the hub gave is identified by its commit, which stands for its
bytes (and is what is assumed where the weights are absent, so that stored values keep their names); a folder of
one's own by the sha256 of the files that make the model. Run ``cim data fetch factual,mpnet``.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import store
from harness.errors import CimError
from harness.resources import checkpoint, data, devices, hub, paths

_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_WEIGHTS = ("config.json", "model.safetensors")
_SHA256_DIGITS = 64
_MAJOR = "5"  # of transformers, where none is installed to ask


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A checkpoint on the Hugging Face hub: what it is called here, its id, commit, files and about how large it is."""

    name: str
    hub_id: str
    revision: str
    files: tuple[str, ...]
    megabytes: int
    about: str
    licence: str | None = None

    @property
    def pinned(self) -> str:
        """Hub id and commit in short."""
        return f"{self.hub_id}@{self.revision[:12]}"


FACTUAL = Pretrained(
    "factual",
    "lizhuang144/flan-t5-base-VG-factual-sg",
    "2e01585225e8f7fc20d922cdee9c591ea4cd6ef1",
    (*_WEIGHTS, "generation_config.json", "spiece.model", "added_tokens.json", *_TOKENIZER),
    990,
    "scene-graph parser of FACTUAL (arXiv 2305.17497)",
)
# The commit stands in several public repositories as that of a downloaded snapshot; the hub itself was not asked.
MPNET = Pretrained(
    "mpnet",
    "sentence-transformers/all-mpnet-base-v2",
    "e8c3b32edf5434bc2275fc9bab85f82640a19130",
    (*_WEIGHTS, "vocab.txt", *_TOKENIZER),
    440,
    "phrase encoder",
    "Apache-2.0",
)
ALL = {weights.name: weights for weights in (FACTUAL, MPNET)}


def folder(weights: Pretrained) -> Path | None:
    """Where a checkpoint lies on this machine, or None."""
    places = [] if (chosen := _own(weights)) is None else [chosen]
    return next((place for place in (*places, _snapshot(weights)) if (place / "config.json").is_file()), None)


def missing(weights: Pretrained) -> str | None:
    """Why a checkpoint cannot be loaded here, and the command that brings it; None where it is there."""
    if lacking := [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]:
        return f"{', '.join(lacking)} not installed; run `make setup-models`"
    return absent(weights)


def absent(weights: Pretrained) -> str | None:
    """What of a checkpoint's files is not here or not whole, and the command that brings it; None where all is."""
    there, command = folder(weights), f"run `cim data fetch {weights.name}`"
    if there is None:
        place = f"or set CIM_MODELS to a folder that holds {weights.hub_id.rpartition('/')[2]}/"
        return f"the weights {weights.hub_id} are not on this machine; {command} ({weights.megabytes} MB), {place}"
    try:
        checkpoint.check(there)
    except CimError as error:
        return f"{error}; {command}"
    lacking = [name for name in weights.files if name.startswith("tokenizer") and not (there / name).is_file()]
    return f"{there} lacks {', '.join(lacking)}; {command}" if lacking else None


def identity(weights: Pretrained) -> str:
    """What stands for a checkpoint's bytes in settings: hub id and commit, or the digest of a folder of one's own."""
    there = folder(weights)
    if there is None or there == _snapshot(weights) or absent(weights):
        return weights.pinned
    return _digest(there)


def found(weights: Pretrained) -> Path:
    """The checkpoint's folder; CimError with the command that fetches it if it is missing or truncated."""
    place, reason = folder(weights), absent(weights)
    if place is None or reason:
        raise CimError(reason or "")
    return place


def whole(weights: Pretrained) -> Path:
    """The checkpoint's folder, after its JSON was read and the files that the hub names by their sha256 have it.

    Raises:
        CimError: it is missing, truncated, or holds other bytes.
    """
    place = found(weights)
    for path in checkpoint.files(place):
        if path.suffix == ".json":
            checkpoint.read_json(path)
        # In the hub's cache a large file is a link to one that is named by its sha256.
        blob = path.resolve().name
        if path.is_symlink() and len(blob) == _SHA256_DIGITS and data.sha256(path) != blob:
            hint = f"delete {path.resolve()} and run `cim data fetch {weights.name}`"
            raise CimError("holds other bytes than the hub sent", where=str(path), hint=hint)
    return place


def fetch(weights: Pretrained, say: Callable[[str], None]) -> Path:
    """Bring a checkpoint into the Hugging Face cache, resuming an earlier call; returns its folder.

    Raises:
        CimError: no huggingface_hub here, the hub cannot be reached or lacks the commit.
    """
    if absent(weights) is None:
        return whole(weights)
    try:
        # Named files only: what a repository holds beside them (pickles, other formats) is not brought.
        hub.fetch(source(weights), say)
    except CimError as error:
        place = _own(weights) or f"a folder {weights.hub_id.rpartition('/')[2]} in $CIM_MODELS"
        hint = f"{error.hint}, or put {', '.join(weights.files)} into {place}"
        raise CimError(error.what, where=error.where, hint=hint) from error
    return whole(weights)


def source(weights: Pretrained) -> hub.Source:
    """The checkpoint as the hub knows it."""
    return hub.Source(weights.name, weights.hub_id, weights.revision, weights.files, weights.licence)


@contextlib.contextmanager
def device() -> Iterator[str]:
    """The device of this process (``devices.py``); float32 is multiplied as float32 and transformers quiet meanwhile.

    Without this, TF32 counts on a GPU where somebody else in this process has allowed it.
    """
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield devices.torch_device()
    finally:
        torch.set_float32_matmul_precision(before)


def major() -> str:
    """Major version of transformers, which decides how texts become tokens and back."""
    installed = importlib.util.find_spec("transformers") is not None
    return importlib.metadata.version("transformers").partition(".")[0] if installed else _MAJOR


def readable(text: str) -> str:
    """A text without halves of surrogate pairs, which no tokenizer takes."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _own(weights: Pretrained) -> Path | None:
    models = os.environ.get("CIM_MODELS")
    return Path(models) / weights.hub_id.rpartition("/")[2] if models else None


def _snapshot(weights: Pretrained) -> Path:
    return hub.snapshot(weights.hub_id, weights.revision)


def _digest(place: Path) -> str:
    """The folder's digest, remembered by size and time of its files: a gigabyte is not read at each command."""
    states = {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in checkpoint.files(place)}
    memory = paths.results_root() / ".cache" / "digests.json"
    known = store.read_document(memory) or {}
    entry = known.get(str(place))
    if isinstance(entry, dict) and entry.get("files") == states:
        return str(entry["digest"])
    digest = checkpoint.digest(place)
    with contextlib.suppress(OSError):  # a results folder that cannot be written: read again next time
        store.write_document(memory, {**known, str(place): {"files": states, "digest": digest}})
    return digest
