"""Runs the steps one after the other, stores a row per step, and prints them as the table of a page."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.gpu_check import places, steps

RESERVE = 10.0  # seconds; a step is not begun with less left


def nvidia(query: str) -> list[str]:
    """What ``nvidia-smi`` says of the first device; nothing where there is none."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "-i", "0", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    answer = subprocess.run(command, capture_output=True, text=True)
    return [part.strip() for part in answer.stdout.split(",")] if answer.returncode == 0 else []


def machine() -> dict[str, Any]:
    """Device, driver and commit: what a row was measured on."""
    device, driver = (*nvidia("name,driver_version"), None, None)[:2]
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return {"device": device or "CPU", "driver": driver, "commit": commit.stdout.strip() or None}


class Peak(threading.Thread):
    """The highest use of the device's memory while a step runs, all processes together, asked twice per second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.mib, self._ended = 0, threading.Event()

    def run(self) -> None:
        """Ask until ``end``."""
        while nvidia("memory.used") and not self._ended.wait(0.5):
            self.mib = max(self.mib, *map(int, nvidia("memory.used")))

    def end(self) -> int | None:
        """MiB, None without a device."""
        self._ended.set()
        self.join()
        return self.mib or None


def step(name: str, place: places.Place, limit: float) -> dict[str, Any]:
    """Run one step as a process of its own; killed with all its children when its time is over."""
    command = [sys.executable, "-m", "tests.gpu_check.steps", name, str(place.folder), place.size]
    start, peak = time.monotonic(), Peak()
    peak.start()
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=place.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as child:
        try:
            said, wrong = child.communicate(timeout=limit)
            why = None if child.returncode == 0 else (wrong.strip().splitlines() or ["no message"])[-1][:600]
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            said, why = child.communicate()[0], f"not finished in {limit:.0f} s"
    values = {} if why else json.loads(said.splitlines()[-1])
    facts = {"seconds": round(time.monotonic() - start, 1), "peak_device_mib": peak.end()}
    return {"step": name, "ok": why is None, "why": why, **facts, "values": values}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| step | device | size | result | seconds | device MiB | values |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        values = "; ".join(f"{name} {value}" for name, value in row["values"].items()).replace("|", "\\|")
        result = "ok" if row["ok"] else f"failed: {row['why']}".replace("|", "\\|")
        lines.append(
            f"| {row['step']} | {row['device']} | {row['size']} | {result} | {row['seconds']} "
            f"| {row['peak_device_mib'] or '-'} | {values} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Exit code 1 where a step failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu_check", description=__doc__)
    parser.add_argument("--size", choices=places.SIZES, default="full", help="small: every step on a CPU")
    parser.add_argument("--steps", help=f"with commas, from {', '.join(steps.STEPS)}")
    parser.add_argument("--budget", type=float, default=1800, metavar="SECONDS", help="in all (default 1800)")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "gpu-check", help="rows.jsonl and the models")
    parser.add_argument("--again", action="store_true", help="also what passed before")
    options = parser.parse_args()
    chosen = options.steps.split(",") if options.steps else list(steps.STEPS)
    if unknown := [name for name in chosen if name not in steps.STEPS]:
        parser.error(f"unknown step {unknown[0]!r}; steps: {', '.join(steps.STEPS)}")
    place = places.Place((options.out / options.size).absolute(), options.size)
    for part in ("models", "results", "data"):
        (place.folder / part).mkdir(parents=True, exist_ok=True)
    place.task()
    log, known = place.folder / "rows.jsonl", {**machine(), "size": options.size}
    stored = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    changed = options.again or str(known["commit"]).endswith("-dirty")  # then a row does not say of which code it is
    done = {row["step"] for row in stored if row["ok"] and known.items() <= row.items() and not changed}
    end, measured = time.monotonic() + options.budget, list[dict[str, Any]]()
    for name in chosen:
        left = end - time.monotonic()
        if name in done or left < RESERVE:
            print(f"{name}: {'passed before' if name in done else 'no time left'}", file=sys.stderr)
            continue
        print(f"{name}: at most {min(left, 60 * steps.STEPS[name][1]):.0f} s", file=sys.stderr)
        row = {**step(name, place, min(left, 60 * steps.STEPS[name][1])), **known}
        measured.append({**row, "date": datetime.now(UTC).isoformat(timespec="seconds")})
        with log.open("a") as file:
            file.write(json.dumps(measured[-1]) + "\n")
    print(table(measured))
    return int(not all(row["ok"] for row in measured))


if __name__ == "__main__":
    sys.exit(main())
