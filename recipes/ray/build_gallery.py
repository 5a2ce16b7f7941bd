# Never run: written for a Ray cluster with a shared file system, which was not at hand.
"""Build a gallery of millions of images on a Ray cluster: Ray Data hands the shards of ``cim gallery build`` to GPUs.

Each task runs one shard as a process of its own; parts land on the shared file system, the last shard to end merges,
and a cluster that died goes on with the same command. Run with
``python recipes/ray/build_gallery.py 64 /shared/galleries/big --from webdataset /shared/shards``.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import ray


def shard(row: dict[str, Any]) -> dict[str, Any]:
    """Make one shard; Ray has set CUDA_VISIBLE_DEVICES to the GPU of this task."""
    command = [sys.executable, "-m", "harness", "gallery", "build", *row["arguments"], "--shard", row["shard"]]
    done = subprocess.run(command, capture_output=True, text=True)
    return {"shard": row["shard"], "code": done.returncode, "told": done.stderr[-2000:]}


def main() -> int:
    """Run all shards; 1 if one failed, whose message is printed."""
    count, arguments = int(sys.argv[1]), sys.argv[2:]
    rows = [{"shard": f"{index}/{count}", "arguments": arguments} for index in range(count)]
    made = ray.data.from_items(rows, override_num_blocks=count).map(shard, num_gpus=1).take_all()
    failed = [row for row in made if row["code"]]
    for row in failed:
        sys.stderr.write(f"shard {row['shard']}: {row['told']}\n")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
