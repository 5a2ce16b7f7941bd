"""Time and memory of a large evaluation: made-up captions and references in JSON lines, word metrics, controls.

Texts are 30 to 60 made-up words whose frequencies fall as 1/rank over a vocabulary of 20,000.
``make bench ARGS="--parts scale --limit 1000000"`` needs about 6 GB of disk and 40 minutes of one core.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

CAPTIONS, WORDS, KEPT = 100_000, 20_000, 0.6
METRICS = "length,bleu4,rouge_l,cider"


def write(folder: Path, n: int) -> tuple[Path, Path]:
    """A captions file and its references; about ``KEPT`` of the words of a caption are those of its reference."""
    rng = random.Random(0)
    words = ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 9))) for _ in range(WORDS)]
    weights = list(itertools.accumulate(1 / rank for rank in range(1, WORDS + 1)))
    captions, references = folder / "captions.jsonl", folder / "references.jsonl"
    with captions.open("w") as theirs, references.open("w") as truth:
        for number in range(n):
            text = rng.choices(words, cum_weights=weights, k=rng.randint(30, 60))
            other = [word if rng.random() < KEPT else rng.choices(words, cum_weights=weights)[0] for word in text]
            name = f"image-{number:07d}"
            theirs.write(json.dumps({"sample_id": name, "caption": " ".join(text) + "."}) + "\n")
            truth.write(json.dumps({"sample_id": name, "references": [" ".join(other) + "."]}) + "\n")
    return captions, references


def evaluated(n: int) -> dict[str, float]:
    """CPU and wall seconds of ``cim eval`` on n captions, and the largest memory in MB of its processes together."""
    with tempfile.TemporaryDirectory() as name:
        captions, references = write(Path(name), n)
        command = [sys.executable, "-m", "harness", "eval", "--model", str(captions), "--references", str(references)]
        command += ["--metrics", METRICS, "--json", "--results", f"{name}/results"]
        start, peak = time.monotonic(), 0
        running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        while (ended := os.wait4(running.pid, os.WNOHANG))[0] == 0:
            peak = max(peak, _resident(running.pid))
            time.sleep(0.2)
        _, status, usage = ended
        assert status == 0, "the evaluation failed"
        return {"cpu": usage.ru_utime + usage.ru_stime, "wall": time.monotonic() - start, "peak": peak / 1e6}


def _resident(pid: int) -> int:
    """Bytes of memory that a process and its children hold."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, IndexError):  # it has ended meanwhile
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(_resident(int(child)) for child in children)


def scale(say: Callable[[str], None], limit: int | None) -> dict[str, Any]:
    """A run and one of a tenth of it."""
    n = limit or CAPTIONS
    rows = {count: evaluated(count) for count in (max(1, n // 10), n)}
    say(f"many captions: {METRICS} with intervals and controls, empty caches")
    for count, row in rows.items():
        each = f"{1000 * row['cpu'] / count:6.3f} ms each"
        say(f"  {count:>9} captions {row['cpu']:8.1f} CPU s {row['wall']:8.1f} s {row['peak']:6.0f} MB {each}")
    say("  target: 1,000,000 captions in 1,000 MB, CPU time linear within 10 % from 100,000 on")
    return {str(count): row for count, row in rows.items()}
