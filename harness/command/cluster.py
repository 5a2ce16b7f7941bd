"""The options of ``--on ray``."""

from __future__ import annotations

import argparse
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from harness.errors import CimError

if TYPE_CHECKING:
    from harness.cluster.pool import Cluster


def chosen(args: argparse.Namespace) -> Cluster | None:
    """The cluster that a command was told to use; CimError where options contradict each other."""
    from harness.cluster import pool

    if args.on is None:
        if args.verb in ("caption", "parse", "gallery"):
            options = {
                "--ray-address": args.ray_address,
                "--actors": args.actors,
                "--gpus-per-actor": args.gpus_per_actor,
            }
            if named := [name for name, value in options.items() if value is not None]:
                raise CimError(f"{named[0]} without --on ray")
        return None
    if args.shard not in (None, "0/1"):
        raise CimError("--shard with --on ray", hint="Ray hands out the work itself")
    if args.verb != "gallery" and args.workers > 1:
        raise CimError("--workers with --on ray", hint="--actors N")
    return pool.Cluster(args.ray_address, args.actors, args.gpus_per_actor, _say)


def using(cluster: Cluster | None) -> AbstractContextManager[Cluster | None]:
    """The cluster for the time of a command."""
    from harness.cluster import pool

    return nullcontext() if cluster is None else pool.using(cluster)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
