"""Stored runs that the tests of the board change: synthetic ones, and some that somebody unfriendly wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import store
from harness.runs import records, stored_run
from harness.types import Completion
from tests import synthetic_runs
from tests.test_report import HOSTILE

EVIL = "<img src=x onerror=alert(1)>\"'&\u202e\u200fevil {{ 7*7 }}"


def make(results: Path) -> Path:
    """Five synthetic systems on both benchmarks, 60 images each."""
    synthetic_runs.make(results, models=5, n=60)
    return results


def edit(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change every row of a run's scores."""
    document = store.read_document(run / stored_run.SCORES) or {}
    for row in document["scores"]:
        change(row)
    store.write_document(run / stored_run.SCORES, document)


def hostile(results: Path) -> Path:
    """Make two runs whose captions, names, manifests, signatures and reasons are written by somebody unfriendly."""
    task = results / "docci500"
    texts = list(HOSTILE.values())
    for at, name in enumerate((EVIL.replace("/", ""), "-".join(["x" * 60] * 4))):
        run = task / name
        (task / f"system-0{at}").rename(run)
        completions = list(records.read(run))
        captions = [texts[0 if n % 2 else n // 2 % len(texts)] for n in range(len(completions))]
        lines = [Completion(*pair) for pair in zip(completions, captions, strict=True)]
        lines[::5] = [Completion(line.sample_id, None, error=EVIL) for line in lines[::5]]
        store.write_rows(run / records.NAME, map(records.row, lines))
        digest = records.digest(records.read(run))
        stored = store.read_document(run / "manifest.json") or {}
        stored["settings"]["model"]["engine"] = EVIL
        stored |= {"prompt": EVIL, "started": EVIL, EVIL: {EVIL: EVIL}, "origin": "/secret/place/x.toml"}
        stored["made_by"] = ["not", "a", "mapping"] if at else stored["made_by"]
        stored["half"], stored["large"] = "\ud800 of a pair", 10**400
        (run / "manifest.json").write_text(json.dumps(stored))
        document = store.read_document(run / stored_run.SCORES) or {}
        document["captions"] = digest
        for row in document["scores"]:
            row["signature"] += f"|{EVIL.replace('|', '')}:{EVIL}"
            row["n_failed"] = len(lines[::5])
            row["counts"] = {EVIL: EVIL, "large": 10**400} if at else []
            row["controls"] = {EVIL: {"values": dict.fromkeys(row["values"], 1), "ci95": EVIL}}
        absent = {"metric": EVIL, "values": {}, "ci95": {}, "n": 0, "n_failed": 0, "signature": None, "controls": {}}
        document["scores"].append(absent | {"not_computed": EVIL})
        store.write_document(run / stored_run.SCORES, document)
    (task / f"left-{EVIL}".replace("/", "")).mkdir()
    (task / f"left-{EVIL}".replace("/", "") / "manifest.json").write_text("{}")
    return results
