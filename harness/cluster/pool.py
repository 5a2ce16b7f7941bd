"""Shares of work on a Ray cluster: Ray Data streams them through actors, each with a model of its own, in order.

An actor opens its session at its first share. Answers come back in the order of the shares: those that are ready early
wait in Ray's object store, whose size bounds them. The command alone writes files, so that they do not depend on who
did what. An actor that dies ends its stream, and a new one goes on from the first share without an answer, with as many
actors as the cluster then holds. Ray's own restarts are off: after the loss of a machine they would wait for another.
Run with ``cim caption --model M --on ray``.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import CimError, OutageError

DEATHS = 3  # in turn, without an answer between them
PAUSE = 2.0  # seconds until Ray has noticed that a machine is gone
BLOCK, PER_ACTOR = 16, 64  # shares of a block at most; blocks an actor sees at least, where there are so many shares
STORE = 256 * 2**20  # bytes of the object store of a cluster of our own
THREADS = "OMP_NUM_THREADS"

Say = Callable[[str], None]
Open = Callable[..., AbstractContextManager[Callable[[Any], Any]]]
"""A module's function from arguments to a session: a function from a share to its answer, both JSON."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What ``--on ray`` was told: address (None: a cluster for this command), actors at most, GPUs of each."""

    address: str | None = None
    actors: int | None = None
    gpus: float | None = None
    say: Say = lambda _: None

    def __str__(self) -> str:
        actors = "as many actors as fit" if self.actors is None else f"at most {self.actors} actors"
        gpus = "a GPU each if there are any" if self.gpus is None else f"{self.gpus:g} GPUs each"
        return f"ray at {self.address or 'a local cluster, started and stopped'}: {actors}, {gpus}"


@contextmanager
def using(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster for the time of a command; it is connected at the first work, and left at the end.

    Raises:
        CimError: Ray is not installed, or the address is of a kind that Ray Data cannot use.
    """
    if importlib.util.find_spec("ray") is None:
        raise CimError(
            "Ray is not installed", where="--on ray", hint="make setup-ray, or pip install 'cim-harness[ray]'"
        )
    if cluster.address is not None and "://" in cluster.address:
        raise CimError(f"{cluster.address!r} is no HOST:PORT", where="--ray-address", hint="6379 is Ray's usual port")
    try:
        yield cluster
    finally:
        if "ray" in sys.modules:
            sys.modules["ray"].shutdown()


def ordered(
    cluster: Cluster, opened: Open, arguments: Sequence[Any], shares: Sequence[Any], gpu: bool
) -> Iterator[Any]:
    """The answer to each share, in order, as they become known.

    Args:
        gpu: a session uses a GPU where there is one.

    Raises:
        CimError: a session cannot be opened, or refuses a share.
        OutageError: actors died again and again; what had arrived before is kept by the caller.
    """
    at, deaths = 0, 0
    while at < len(shares):
        try:
            for answer in _stream(cluster, opened, arguments, shares[at:], gpu):
                if "failed" in answer:
                    raise (OutageError if answer["outage"] else CimError)(answer["failed"])
                yield answer["answer"]
                at, deaths = at + 1, 0
            return
        except _lost() as error:
            deaths += 1
            reason = _reason(error)
            if deaths == DEATHS:
                what = f"actors died {DEATHS} times without an answer ({reason})"
                raise OutageError(what, where="--on ray", hint="the same command goes on") from error
            cluster.say(f"an actor died ({reason}); going on from share {at + 1} of {len(shares)}")
            time.sleep(PAUSE)


class Actor:
    """Answers shares, one after another; what a user can mend comes back as an answer."""

    def __init__(self, opened: Open, arguments: Sequence[Any], folder: str, threads: str | None) -> None:
        # Ray gives an actor one thread; sums of a matrix product may depend on their number.
        os.environ.pop(THREADS, None)
        if threads is not None:
            os.environ[THREADS] = threads
        if Path(folder).is_dir():
            os.chdir(folder)
        self._opened, self._arguments = opened, arguments
        self._stack = ExitStack()
        self._session: Callable[[Any], Any] | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        return {"answer": [json.dumps(self._answer(json.loads(share))) for share in batch["share"]]}

    def _answer(self, share: Any) -> dict[str, Any]:
        try:
            if self._session is None:
                self._session = self._stack.enter_context(self._opened(*self._arguments))
            return {"answer": self._session(share)}
        except CimError as error:
            return {"failed": str(error), "outage": isinstance(error, OutageError)}


def _stream(
    cluster: Cluster, opened: Open, arguments: Sequence[Any], shares: Sequence[Any], gpu: bool
) -> Iterator[dict[str, Any]]:
    ray = _connected(cluster)
    size, gpus = _size(cluster, ray.cluster_resources(), gpu)
    size = min(size, len(shares))
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    blocks = -(-len(shares) // max(1, min(BLOCK, len(shares) // (size * PER_ACTOR))))
    rows = [{"share": json.dumps(share)} for share in shares]
    folder, threads = os.getcwd(), os.environ.get(THREADS)  # noqa: PTH109
    warnings.filterwarnings(
        "ignore", category=DeprecationWarning, message=".*ray_remote_args"
    )  # no other way to say it
    answers = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
        Actor,
        fn_constructor_args=(opened, list(arguments), folder, threads),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=size, initial_size=size),
        num_cpus=1,
        num_gpus=gpus,
        max_restarts=0,
        max_task_retries=0,
    )
    for row in answers.iter_rows():
        yield json.loads(row["answer"])


def _size(cluster: Cluster, resources: dict[str, float], gpu: bool) -> tuple[int, float]:
    """How many actors the cluster holds, and the GPUs of each."""
    here = resources.get("GPU", 0)
    gpus = (1.0 if gpu and here else 0.0) if cluster.gpus is None or not gpu else cluster.gpus
    size = int(resources.get("CPU", 0) if not gpus else min(resources.get("CPU", 0), here / gpus))
    if size < 1:
        what = (
            f"no room for an actor of 1 CPU and {gpus:g} GPUs: the cluster has {resources.get('CPU', 0):g} and {here:g}"
        )
        raise OutageError(what, where="--on ray", hint="the same command goes on once there is")
    return min(size, cluster.actors or size), gpus


def _connected(cluster: Cluster) -> Any:
    """Ray, connected; CimError where the address does not answer."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    import ray.data

    if ray.is_initialized():
        return ray
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what it logs as an error is raised as well
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    quiet["runtime_env"] = {"env_vars": _environment()}
    if cluster.address is None:
        cluster.say("ray: starting a local cluster")
        ray.init(address="local", include_dashboard=False, object_store_memory=STORE, **quiet)
        return ray
    hint = "the address that `ray start --head` printed, or no --ray-address for a local cluster"
    host, colon, port = cluster.address.rpartition(":")
    try:
        if colon:
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=cluster.address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        what = f"no Ray cluster answers ({' '.join(str(error).split())[:200]})"
        raise CimError(what, where=f"--ray-address {cluster.address}", hint=hint) from error
    return ray


def _environment() -> dict[str, str]:
    """What an actor needs to import this code and find data; no secrets, which a cluster would show to others."""
    passed = {name: text for name, text in os.environ.items() if name.startswith(("CIM_", "HF_"))}
    passed = {name: text for name, text in passed.items() if "TOKEN" not in name and "KEY" not in name}
    return {**passed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _lost() -> tuple[type[BaseException], ...]:
    """What Ray raises where an actor, or a machine with its answers, is gone."""
    from ray import exceptions

    return (
        exceptions.RayActorError,
        exceptions.ObjectLostError,
        exceptions.WorkerCrashedError,
        exceptions.NodeDiedError,
        exceptions.OutOfMemoryError,
        exceptions.OwnerDiedError,
    )


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__
