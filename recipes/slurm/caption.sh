# Never run under Slurm: no cluster was at hand. Jobs of an array caption a share each, without speaking to each other;
# the same array again goes on, and a command without --shard makes one run of it and scores it, wherever it runs.
# usage: array=$(sbatch --parsable --array=0-3 --gpus=1 --time=04:00:00 recipes/slurm/caption.sh --model qwen2.5-vl-7b)
#   sbatch --dependency=afterany:$array --gpus=1 --wrap '.venv/bin/cim eval --model qwen2.5-vl-7b'
set -euo pipefail
exec "${HARNESS_PYTHON:-.venv/bin/python}" -m harness caption "$@" \
  --shard "${SLURM_ARRAY_TASK_ID:?run me as a job array}/${SLURM_ARRAY_TASK_COUNT:?}"
