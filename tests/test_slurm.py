"""``recipes/slurm/caption.sh`` under a stand-in for Slurm, which sets the variables of each task of an array."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.cli import process
from tests.conftest import ROOT

TASKS = 3


def array(results: Path, *options: str) -> list[int]:
    """Run the array, all its tasks at once, as ``sbatch --array=0-2`` does where there is room; exit codes by task."""
    script = ["bash", str(ROOT / "recipes" / "slurm" / "caption.sh"), *options]
    jobs = list[subprocess.Popen[bytes]]()
    for task in range(TASKS):
        variables = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": str(TASKS), "SLURM_JOB_ID": "1"}
        variables |= {"HARNESS_PYTHON": sys.executable, "CIM_RESULTS": str(results)}
        jobs.append(subprocess.Popen(script, cwd=ROOT, env={**os.environ, **variables}))
    return [job.wait() for job in jobs]


def test_an_array_captions_what_one_process_does(tmp_path: Path) -> None:
    """The array twice, as after a time limit, then a command without --shard: the same captions."""
    options = ["--model", "demo-terse"]
    for _ in range(2):
        assert array(tmp_path / "array", *options) == [0] * TASKS
    rows = []
    for name in ("alone", "array"):
        assert process("caption", *options, results=tmp_path / name).wait() == 0
        lines = (tmp_path / name / "demo" / "demo-terse" / "captions.jsonl").read_text().splitlines()
        rows.append(sorted(lines))
    assert rows[0] == rows[1] and len(rows[0]) == 12
    assert not list((tmp_path / "array" / "demo" / "demo-terse" / "shards").glob("*"))


def test_outside_of_an_array_the_script_says_so() -> None:
    variables = {name: text for name, text in os.environ.items() if not name.startswith("SLURM_")}
    script = ["bash", str(ROOT / "recipes" / "slurm" / "caption.sh")]
    refused = subprocess.run(script, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert refused.returncode != 0 and "run me as a job array" in refused.stderr
