# Never run: verl, its GPUs and the data were not at hand. Settings of the official recipe for verl-project/verl@1dda039b.
# Before: the reward server on this machine (recipes/README.md), rows.jsonl from recipes/prepare.py.
# usage: MODEL=Qwen/Qwen2.5-VL-7B-Instruct ROWS=rows.jsonl GALLERY=<sha256> bash recipes/verl/train.sh [key=value ...]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${MODEL:=Qwen/Qwen2.5-VL-7B-Instruct}" "${ROWS:?rows of recipes/prepare.py verl}" "${GALLERY:?sha256 that the server prints}"
: "${SERVER:=http://127.0.0.1:8737}" "${PROMPT:=1024}" "${RESPONSE:=1024}" "${MICRO:=8}" "${GPUS:=8}"

python3 -m verl.trainer.main_ppo \
  algorithm.adv_estimator=grpo algorithm.use_kl_in_reward=False algorithm.norm_adv_by_std_in_grpo=True \
  data.train_files="$ROWS" data.val_files="$ROWS" data.image_key=images \
  data.train_batch_size=256 data.max_prompt_length="$PROMPT" data.max_response_length="$RESPONSE" \
  data.filter_overlong_prompts=True data.truncation=error \
  actor_rollout_ref.model.path="$MODEL" actor_rollout_ref.model.enable_gradient_checkpointing=True \
  actor_rollout_ref.model.use_remove_padding=True \
  actor_rollout_ref.actor.optim.lr=1e-6 actor_rollout_ref.actor.optim.weight_decay=0.01 \
  actor_rollout_ref.actor.grad_clip=1.0 actor_rollout_ref.actor.ppo_epochs=1 \
  actor_rollout_ref.actor.ppo_mini_batch_size=64 actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu="$MICRO" \
  actor_rollout_ref.actor.clip_ratio=0.2 actor_rollout_ref.actor.clip_ratio_c=3.0 \
  actor_rollout_ref.actor.loss_agg_mode=token-mean actor_rollout_ref.actor.entropy_coeff=0 \
  actor_rollout_ref.actor.use_kl_loss=True actor_rollout_ref.actor.kl_loss_coef=0.001 \
  actor_rollout_ref.actor.kl_loss_type=low_var_kl \
  actor_rollout_ref.rollout.name=vllm actor_rollout_ref.rollout.tensor_model_parallel_size=1 \
  actor_rollout_ref.rollout.n=5 actor_rollout_ref.rollout.temperature=1.0 actor_rollout_ref.rollout.top_p=1 \
  actor_rollout_ref.rollout.top_k=-1 actor_rollout_ref.rollout.gpu_memory_utilization=0.5 \
  actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu="$MICRO" \
  actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu="$MICRO" \
  reward.custom_reward_function.path="$here/cim_reward.py" reward.custom_reward_function.name=compute_score \
  +reward.custom_reward_function.reward_kwargs.server="$SERVER" \
  +reward.custom_reward_function.reward_kwargs.gallery="$GALLERY" \
  trainer.n_gpus_per_node="$GPUS" trainer.nnodes=1 trainer.total_epochs=2 trainer.save_freq=6 trainer.test_freq=-1 \
  trainer.val_before_train=False trainer.project_name=cim trainer.logger='["console"]' "$@"
