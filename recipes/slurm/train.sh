# Never run: no Slurm cluster was at hand. On one node: the reward server, then the trainer of recipes/verl or swift beside it.
# usage: GALLERY_FOLDER=/shared/galleries/refinedcaps ROWS=/shared/rows.jsonl \
#   sbatch --nodes=1 --gpus-per-node=8 --cpus-per-task=64 --time=04:00:00 --wrap 'bash recipes/slurm/train.sh verl'
set -euo pipefail
: "${GALLERY_FOLDER:?folder of a gallery}" "${HARNESS_PYTHON:=.venv/bin/python}"
log=reward-server-${SLURM_JOB_ID:-0}.log
"$HARNESS_PYTHON" -u -m harness.train.reward_server --gallery "$GALLERY_FOLDER" --preset paper >"$log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT
until grep -q '^http' "$log"; do kill -0 "$server" || { cat "$log" >&2; exit 1; }; sleep 2; done
GALLERY=$(sed -n 's/.* gallery \([0-9a-f]\{64\}\) .*/\1/p' "$log") bash "recipes/$1/train.sh"
