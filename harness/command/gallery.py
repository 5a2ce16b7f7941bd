"""Command line of ``cim gallery``: build, join, index, fetch, verify and show a gallery."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.command.places import show_rows
from harness.errors import CimError

if TYPE_CHECKING:
    from harness.retrieval.build import Plan
    from harness.retrieval.sources import Pair


def gallery_verb(args: argparse.Namespace) -> int:
    """Build, join, index, fetch, verify or show a gallery; exit 1 if verification fails."""
    from harness.retrieval import gallery

    if args.action == "build":
        return _build(args, gallery.home(args.name))
    if args.action == "fetch":
        from harness.retrieval import published

        published.bring(gallery.home(args.name), args.url, args.sha256, lambda line: print(line, file=sys.stderr))
        return 0
    if args.action == "join":
        from harness.retrieval import join

        manifest = join.join(gallery.home(args.name), [gallery.place(part) for part in args.parts])
        print(f"{manifest['n']} rows in {len(manifest['parts'])} parts, sha256 {manifest['sha256']}")
        return 0
    folder = gallery.place(args.name)
    if args.action == "index":
        return _index(args, folder)
    if args.action == "verify":
        return show_rows(args, (folder.name, "state", "detail"), gallery.verify(folder))
    opened = gallery.open_folder(folder)
    if args.json:
        print(json.dumps({"folder": str(folder), **opened.manifest}, indent=1))
        return 0
    facts = {name: value for name, value in opened.manifest.items() if name not in ("format", "files")}
    for name, value in {"folder": str(folder), **facts, "first rows": ", ".join(opened.keys[:3])}.items():
        print(f"{name}: {value if isinstance(value, str | int) else json.dumps(value)}")
    return 0


def _index(args: argparse.Namespace, folder: Path) -> int:
    from harness.retrieval import gallery, stored_index

    opened = gallery.open_folder(folder)
    about = stored_index.build(args.search, opened, lambda line: print(line, file=sys.stderr), fresh=args.fresh)
    if args.json:
        print(json.dumps(about, indent=1))
        return 0
    recall = f"recall at {about['recall_at']} {about['recall']:.3f} on {about['recall_queries']} rows as queries"
    print(f"{args.search} of {opened.name}: {about['bytes'] / 1e9:.3f} GB, {recall}, {about['seconds']} s")
    return 0


def _plan(args: argparse.Namespace, folder: Path) -> Plan:
    from functools import partial
    from itertools import chain

    from harness import registry
    from harness.retrieval import build, sources

    readers, worlds = list[Callable[[], Iterator[sources.Pair]]](), sorted(sources.worlds())
    for kind, *rest in args.source:
        if not 1 <= len(rest) <= (1 if kind in worlds else 2):
            raise CimError(f"--from {' '.join([kind, *rest])}", hint=f"--from KIND FILE [IMAGES], or {worlds[0]} N")
        readers.append(partial(sources.read_world, kind, rest[0]) if kind in worlds else partial(_read, kind, rest))
    return build.Plan(
        folder=folder,
        pairs=lambda: chain.from_iterable(reader() for reader in readers),
        sources=[{"kind": kind, "file": Path(path).name} for kind, path, *_ in args.source],
        text=registry.encoder(args.text_encoder),
        image=registry.encoder(args.image_encoder),
        fine=args.fine,
        dedupe=args.dedupe,
        drop_near=args.drop_near,
        allow_missing=args.allow_missing,
        workers=args.workers or min(16, os.cpu_count() or 1),
    )


def _read(kind: str, paths: Sequence[str]) -> Iterator[Pair]:
    from harness.retrieval import sources

    return sources.read(kind, *map(Path, paths))


def _build(args: argparse.Namespace, folder: Path) -> int:
    from harness.command import cluster, terminal
    from harness.retrieval import build, gallery

    chosen_cluster = cluster.chosen(args)
    index, slash, of = args.shard.partition("/")
    if not (slash and all(x.isascii() and x.isdigit() and len(x) < 7 for x in (index, of))):
        raise CimError(f"--shard {args.shard[:20]!r}", hint="--shard 0/8")
    plan = _plan(args, folder)
    for encoder in (plan.text, plan.image):
        if reason := encoder.missing():
            raise CimError(f"encoder {encoder.name} cannot run here: {reason}")
    if args.fresh:
        build.discard(folder)
    with cluster.using(chosen_cluster) as ray:
        done = build.build(plan, (int(index), int(of)), terminal.track, ray)
    if not done:
        print(f"shard {args.shard} of {folder} is made; the last one to end puts them together", file=sys.stderr)
        return 0
    built = gallery.open_folder(folder)
    if args.json:
        print(json.dumps({"folder": str(folder), **built.manifest}, indent=1))
    else:
        print(f"{len(built)} rows in {folder}, sha256 {built.sha}")
        if {"read", "left_out"} <= built.manifest.keys():  # not in galleries from before pairs were counted
            print(_counted(built.manifest))
    return 0


def _counted(manifest: Mapping[str, Any]) -> str:
    """What became of the pairs that were read."""
    read, missing, repeats = manifest["read"], manifest["left_out"], manifest.get("repeats") or {}
    near = read - missing - repeats.get("dropped", 0) - manifest["n"]
    return (
        f"{read} pairs read, left out: {missing} without an image file, {repeats.get('dropped', 0)} repeated, "
        f"{near} of a benchmark; of those kept or repeated, {repeats.get('images', 0)} show an image again"
    )
